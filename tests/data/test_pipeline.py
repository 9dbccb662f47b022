"""Segments: starts, completeness of an epoch, and the order after a resume."""

import dataclasses
import itertools

import numpy as np
import pytest

from genre_jax.data import pipeline, prepared, shards
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.registry import open_source
from genre_jax.data.splits import assign_splits

FRONTEND = FrontendConfig(n_mels=16, num_frames=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """12 clips of 6 to 39 frames; frame t of clip i is filled with 100 i + t."""
  root = tmp_path_factory.mktemp("archive")
  names = [f"{genre}.{i:05d}" for genre in ("blues", "rock") for i in range(6)]
  level = np.zeros((12, 16, 39), np.uint8)
  np.savez(root / "archive.npz", log_mel=level, names=np.array(names))
  source = open_source(
    "mel_archive",
    str(root / "archive.npz"),
    "all",
    groups="",
    clip_seconds=39 / 12.9,
    frontend=FRONTEND,
  )

  class Ramp:
    @staticmethod
    def log_mel(clip, frontend):
      return (100 * clip.index + np.arange(39 - 3 * clip.index)[:, None] + np.zeros(16)).astype(
        np.float32
      )

  clips = tuple(
    dataclasses.replace(clip, group=clip.track, index=i) for i, clip in enumerate(source.clips)
  )
  source = dataclasses.replace(source, clips=clips, reader=Ramp)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shards, "CLIPS_PER_SHARD", 5)  # several shards, as in large sets
    return prepared.prepare(source, FRONTEND, root / "prepared", workers=1)


@pytest.fixture(scope="module")
def assignment(made):
  return assign_splits(made.clips, name="random_tracks", num_folds=3, fold=0, seed=0)


def _take(made, assignment, count, **changes):
  settings = dict(batch_size=5, per_track=2, random=True, seed=0) | changes
  batches, steps = pipeline.train_batches(made, assignment, **settings)
  return list(itertools.islice(batches, count)), steps


def _same(one, two):
  for a, b in zip(one, two, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize(
  ("frames", "length", "count", "expected"),
  [
    (30, 10, 3, [0, 10, 20]),
    (30, 10, 0, [0, 10, 20]),
    (35, 10, 0, [0, 12, 25]),
    (30, 10, 1, [10]),
    (10, 10, 4, [0]),
    (4, 10, 3, [0]),
    (12, 10, 5, [0, 1, 2]),
    (12, 10, 10**13, [0, 1, 2]),
  ],
)
def test_segments_are_evenly_spaced(frames, length, count, expected):
  assert pipeline.segment_starts(frames, length, count).tolist() == expected


def test_a_segment_contains_consecutive_frames_of_the_clip(made, assignment):
  batches, _ = _take(made, assignment, 6)
  for batch in batches:
    for row in range(5):
      track, num_frames = batch["track_index"][row], batch["num_frames"][row]
      segment = batch["log_mel"][row, :, 0, 0]
      assert num_frames == min(10, made.num_frames[track])
      np.testing.assert_array_equal(np.diff(segment[:num_frames]), 1)
      assert (
        100 * track <= segment[0] and segment[num_frames - 1] < 100 * track + made.num_frames[track]
      )
      assert (segment[num_frames:] == 100 * track).all()  # the minimum of the clip
      assert assignment.splits[made.clips[track].track] == "train"
      np.testing.assert_array_equal(
        batch["labels"][row], [c in made.clips[track].labels for c in made.classes]
      )


def test_an_epoch_contains_every_segment(made, assignment):
  batches, steps = _take(made, assignment, 100, random=False, per_track=3)
  plan = pipeline.plan_segments(made, assignment, "train", 3)
  expected = {(int(i), int(k)) for i, k in np.argwhere(plan >= 0)}
  assert steps == -(-len(expected) // 5)
  for epoch in range(3):
    seen = {
      (int(i), int(k))
      for batch in batches[epoch * steps : (epoch + 1) * steps]
      for i, k in zip(batch["track_index"], batch["segment"], strict=True)
    }
    assert seen == expected


def test_epochs_differ_in_order_and_in_starts(made, assignment):
  batches, steps = _take(made, assignment, 100)
  first, second = batches[0], batches[steps]
  assert (first["track_index"] != second["track_index"]).any()
  places = {batch["log_mel"][row, 0, 0, 0] for batch in batches for row in range(5)}
  assert len(places) > 2 * len(made.clips)


@pytest.mark.parametrize("start", [1, 3, 4, 11])
def test_a_resumed_order_is_the_same_order(made, assignment, start):
  whole, _ = _take(made, assignment, 20)
  rest, _ = _take(made, assignment, 20 - start, start_step=start)
  _same(whole[start:], rest)


def test_order_depends_on_the_seed_alone(made, assignment):
  one, _ = _take(made, assignment, 4)
  two, _ = _take(made, assignment, 4)
  _same(one, two)
  other, _ = _take(made, assignment, 4, seed=1)
  assert any((a["track_index"] != b["track_index"]).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("batch_size", [4, 7, 100])
def test_evaluation_uses_every_segment_once(made, assignment, batch_size):
  plan = pipeline.plan_segments(made, assignment, "validation", 0)
  batches_of = pipeline.EvalBatches(
    made, assignment, "validation", batch_size=batch_size, per_track=0
  )
  batches = list(batches_of)
  _same(batches, list(batches_of))
  assert all(len(batch["mask"]) == batch_size for batch in batches)
  seen = [
    (int(i), int(k))
    for batch in batches
    for i, k, real in zip(batch["track_index"], batch["segment"], batch["mask"], strict=True)
    if real
  ]
  assert seen == [(int(i), int(k)) for i, k in np.argwhere(plan >= 0)]


def test_an_empty_split_has_no_batches(made, assignment):
  nobody = dataclasses.replace(assignment, splits={})
  assert not list(pipeline.EvalBatches(made, nobody, "test", batch_size=4, per_track=0))


def test_leaky_segments_of_one_track_are_in_several_splits(made):
  leaky = assign_splits(
    made.clips, name="leaky_segments", num_folds=3, fold=0, seed=0, segments_per_track=5
  )
  assert leaky.leaky
  plans = [
    pipeline.plan_segments(made, leaky, split, 5) >= 0 for split in ("train", "validation", "test")
  ]
  assert (sum(plan.astype(int) for plan in plans) <= 1).all()
  assert (plans[0].any(1) & plans[2].any(1)).any()
