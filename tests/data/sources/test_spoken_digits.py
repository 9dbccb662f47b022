"""Spoken digits and Speech Commands: labels of files, splits by take and by speaker."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared import prepare
from genre_jax.data.sources.registry import open_source, source_names
from genre_jax.data.split_assignment import check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from tests.conftest import DATA

FRONTEND = FrontendConfig(
  sample_rate=8000,
  n_fft=512,
  win_length=256,
  hop_length=64,
  n_mels=64,
  fmax=4000.0,
  frame_stride=1.0,
  num_frames=96,
)


@pytest.fixture
def digits(tmp_path, tone):
  """Two digits by three speakers, takes 3 to 11, one level below, next to other files."""
  folder = tmp_path / "fsdd" / "recordings"
  folder.mkdir(parents=True)
  for digit in (0, 7):
    for speaker in ("anna", "bert", "c_d"):
      for take in range(3, 12):
        soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", tone[: 2000 + 100 * take], 8000)
  (folder.parent / "README.md").write_text("x")
  return folder.parent


def test_digits(digits):
  source = open_source("spoken_digits", str(digits))
  assert source.classes == ("0", "7") and len(source.clips) == 54
  clip = {clip.track: clip for clip in source.clips}["7_c_d_10"]
  assert (clip.group, clip.labels, clip.split) == ("c_d", ("7",), "train")
  assert source.notes == ("1 other files left out",)
  assert open_source("spoken_digits", str(digits / "recordings"), "7").classes == ("7",)
  with pytest.raises(UserError, match="0_jackson_0.wav"):
    open_source("spoken_digits", str(digits.parent / "fsdd" / "README.md"))


@pytest.mark.slow
def test_takes_evaluate_known_speakers(digits, tmp_path):
  clips = prepare(open_source("spoken_digits", str(digits)), FRONTEND, tmp_path / "p").clips
  assignment = assign_splits(clips, name="takes")
  assert Counter(assignment.splits.values()) == {"test": 12, "validation": 30, "train": 12}
  assert assignment.splits["0_anna_4"] == "test" and assignment.splits["0_anna_9"] == "validation"
  assert assignment.known_groups == ("validation", "test") and "(12 clips)" in assignment.notes[0]
  check_groups_apart(assignment, clips)


def test_speaker_kfold_leaves_each_speaker_out_once(digits):
  clips = open_source("spoken_digits", str(digits)).clips
  tested = Counter()
  for fold in range(3):
    assignment = assign_splits(clips, name="speaker_kfold", num_folds=3, fold=fold)
    check_groups_apart(assignment, clips)
    splits = {
      split: {clip.group for clip in clips if assignment.splits[clip.track] == split}
      for split in ("train", "validation", "test")
    }
    assert len(splits["test"]) == 1 and not splits["test"] & (
      splits["train"] | splits["validation"]
    )
    tested.update(track for track, split in assignment.splits.items() if split == "test")
  assert set(tested.values()) == {1} and len(tested) == 54
  with pytest.raises(UserError, match="num_folds=5.*one of the 3 speakers.*give 3"):
    assign_splits(clips, name="speaker_kfold", num_folds=5)
  with pytest.raises(UserError, match="fold=3: with 3 speakers give 0 to 2"):
    assign_splits(clips, name="speaker_kfold", num_folds=3, fold=3)


def test_a_test_speaker_in_training_is_found(digits):
  clips = open_source("spoken_digits", str(digits)).clips
  assignment = assign_splits(clips, name="speaker_kfold", num_folds=3, fold=0)
  assignment.splits["0_anna_11"] = "train"
  with pytest.raises(UserError, match="the group anna is in two splits"):
    check_groups_apart(assignment, clips)


def test_splits_that_need_an_official_split(audio_folder):
  clips = open_source("auto", str(audio_folder)).clips
  for name in ("takes", "official"):
    with pytest.raises(UserError, match="grouped_kfold"):
      assign_splits(clips, name=name)


def test_real_digits():
  if not (DATA / "fsdd").exists():
    pytest.skip("needs real recordings: set GENRE_JAX_DATA to a folder with fsdd/")
  source = open_source("spoken_digits", str(DATA / "fsdd"))
  assert len(source.classes) == 10 and len({clip.group for clip in source.clips}) == 6
  assignment = assign_splits(source.clips, name="takes")
  counts = Counter(assignment.splits.values())
  assert counts["validation"] == 300 and counts["train"] == 2400
  assert source.log_mel(source.clips[0], FRONTEND).shape[1] == 64


def test_a_source_is_a_module_with_a_function():
  names = source_names()
  assert {
    "auto",
    "gtzan",
    "audio_folder",
    "mel_archive",
    "synthetic",
    "spoken_digits",
    "speech_commands",
  } <= set(names)
  assert not {"clips", "splits", "gtzan_tfds", "tfds_audio"} & set(names)
  for name in ("clips", "spoken_digit", "../x", "os", ""):
    with pytest.raises(UserError, match="give one of auto, .*did you mean"):
      open_source(name, "x")


@pytest.fixture
def commands_folder(tmp_path, tone):
  """Files that tfds.load('speech_commands') writes, with the features of the package."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.datasets.speech_commands import (
    speech_commands_dataset_builder as published,
  )

  class SpeechCommands(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = published.Builder.VERSION

    def _info(self):
      names = published.WORDS + [published.SILENCE, published.UNKNOWN]
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(
          {
            "audio": tfds.features.Audio(
              file_format="wav", sample_rate=published.SAMPLE_RATE, dtype=np.int16
            ),
            "label": tfds.features.ClassLabel(names=names),
          }
        ),
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split):
      for i, word in enumerate(("yes", "no", "_unknown_", "_silence_")):
        quiet = split == "test" and word == "_silence_"
        audio = np.rint((0 if quiet else 1) * tone[: 6000 + 100 * i] * 32767).astype(np.int16)
        yield f"{split}{i}", {"audio": audio, "label": word}

  SpeechCommands(data_dir=tmp_path).download_and_prepare()
  return tmp_path


@pytest.mark.filterwarnings("ignore")  # TensorFlow and its packages warn at import.
def test_speech_commands(commands_folder, tmp_path):
  source = open_source("speech_commands", str(commands_folder))
  assert source.classes == ("_silence_", "_unknown_", "no", "yes") and len(source.clips) == 12
  prepared = prepare(source, FRONTEND, tmp_path / "p", workers=1)
  assert len(prepared.skipped) == 1 and "silent" in prepared.skipped[0][1]
  assignment = assign_splits(prepared.clips, name="official")
  assert Counter(assignment.splits.values()) == {"train": 4, "validation": 4, "test": 3}
  # Lengths show which audio belongs to which label.
  order = {"yes": 0, "no": 1, "_unknown_": 2, "_silence_": 3}
  by_label = {}
  for clip, frames in zip(prepared.clips, prepared.num_frames, strict=True):
    by_label.setdefault(clip.labels[0], set()).add(frames)
  lengths = [by_label[name] for name in sorted(order, key=order.get)]
  assert all(len(one) == 1 for one in lengths)
  assert [min(one) for one in lengths] == sorted(min(one) for one in lengths)
  with pytest.raises(UserError, match="tfds.load\\('speech_commands'\\)"):
    open_source("speech_commands", str(tmp_path / "p"))
