"""Test that the best and the last two checkpoints are kept, and that damaged ones are skipped."""

import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.training import checkpoints
from genre_jax.training.steps import TrainState

METADATA = {
  **dict.fromkeys(checkpoints.REQUIRED_METADATA, ""),
  "classes": ["a", "b"],
  "frontend": {"n_mels": 8},
}


def _state(step):
  return TrainState(jnp.asarray(step, jnp.int32), {"w": jnp.full(3, float(step))}, {}, (), {})


def _fill(folder, accuracies, metric="accuracy"):
  checkpointer = checkpoints.Checkpointer(folder / "checkpoints", metric)
  for step, accuracy in enumerate(accuracies, 1):
    metrics = None if accuracy is None else {"accuracy": accuracy, "nll": 1 - accuracy}
    checkpointer.save(_state(step), metrics, METADATA)
  return checkpointer


def _damage(folder, pattern="*"):
  for path in folder.rglob(pattern):
    if path.is_file() and path.stat().st_size:
      path.write_bytes(b"damaged")


def test_best_and_last_two_are_kept(tmp_path):
  checkpointer = _fill(tmp_path, [0.1, 0.9, 0.5, 0.6, 0.7, 0.2])
  assert checkpointer.steps() == [2, 5, 6]
  assert checkpointer.best_step() == 2
  checkpointer.close()
  assert checkpoints.locate(str(tmp_path)).name == "2"
  assert checkpoints.metadata(tmp_path / "checkpoints" / "2") == METADATA


def test_ties_in_accuracy_go_to_the_lower_nll(tmp_path):
  checkpointer = checkpoints.Checkpointer(tmp_path / "checkpoints", "accuracy")
  for step, nll in ((1, 0.5), (2, 0.3), (3, 0.4)):
    checkpointer.save(_state(step), {"accuracy": 0.8, "nll": nll}, METADATA)
  assert checkpointer.best_step() == 2
  checkpointer.close()


def test_with_the_metric_last_the_last_is_best(tmp_path):
  checkpointer = _fill(tmp_path, [0.9, 0.1, 0.5, 0.4], metric="last")
  assert checkpointer.best_step() == 4
  checkpointer.close()


def test_without_validation_the_last_is_best(tmp_path):
  checkpointer = _fill(tmp_path, [None, None, None])
  assert checkpointer.best_step() == 3
  checkpointer.close()


def test_state_comes_back_as_it_was(tmp_path):
  checkpointer = _fill(tmp_path, [0.1, 0.2])
  restored = checkpointer.restore_newest(_state(0))
  assert int(restored.step) == 2
  np.testing.assert_array_equal(restored.params["w"], np.full(3, 2.0))
  checkpointer.close()


# orbax leaves coroutines behind if a file is damaged.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
  "pattern", ["*", "_CHECKPOINT_METADATA", "metrics", "*ocdbt*", "_METADATA"]
)
def test_a_damaged_newest_checkpoint_is_replaced_by_the_one_before(tmp_path, capsys, pattern):
  _fill(tmp_path, [0.1, 0.2, 0.3]).close()
  _damage(tmp_path / "checkpoints" / "3", pattern)
  checkpointer = checkpoints.Checkpointer(tmp_path / "checkpoints", "accuracy")
  assert int(checkpointer.restore_newest(_state(0)).step) == 2
  assert "3.damaged" in capsys.readouterr().out
  checkpointer.save(_state(3), {"accuracy": 0.3, "nll": 0.7}, METADATA)
  assert checkpointer.steps() == [2, 3]
  checkpointer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_all_damaged_is_an_error(tmp_path):
  _fill(tmp_path, [0.1, 0.2]).close()
  for step in (1, 2):
    _damage(tmp_path / "checkpoints" / str(step))
  checkpointer = checkpoints.Checkpointer(tmp_path / "checkpoints", "accuracy")
  with pytest.raises(UserError, match="no checkpoint in"):
    checkpointer.restore_newest(_state(0))
  checkpointer.close()


@pytest.mark.parametrize("text", ["{", '{"custom_metadata": {}}'])
def test_damaged_metadata_is_an_error(tmp_path, text):
  _fill(tmp_path, [0.1]).close()
  folder = tmp_path / "checkpoints" / "1"
  (folder / "_CHECKPOINT_METADATA").write_text(text)
  with pytest.raises(UserError, match="cannot be read as a checkpoint"):
    checkpoints.metadata(folder)


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
  with pytest.raises(UserError, match="no checkpoint here"):
    checkpoints.locate(str(tmp_path / "absent"))
