"""Prepared sets: complete or absent, reused if equal, readable without this package."""

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.data import prepared
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.source import AudioFileReader
from genre_jax.data.sources.registry import open_source
from genre_jax.errors import UserError

FRONTEND = FrontendConfig(n_mels=32, hop_length=512, frame_stride=1.0, num_frames=20)


def _tone(path, seconds=1.0, hz=440.0, rate=22050):
  path.parent.mkdir(parents=True, exist_ok=True)
  t = np.arange(int(seconds * rate)) / rate
  soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * t), rate)


@pytest.fixture
def music(tmp_path):
  for genre, hz in (("high", 2000.0), ("low", 200.0)):
    for i in range(20):
      _tone(tmp_path / "music" / genre / f"{i}.wav", 0.3 + 0.05 * i, hz + 7 * i)
  return tmp_path / "music"


def _source(music, frontend=FRONTEND):
  return open_source("auto", str(music), "", groups="", clip_seconds=30.0, frontend=frontend)


def test_a_set_contains_log_mel_and_labels_of_each_clip(music, tmp_path):
  import tensorflow_datasets as tfds

  source = _source(music)
  made = prepared.prepare(source, FRONTEND, tmp_path / "prepared", workers=1)
  assert made.classes == ("high", "low") and len(made.clips) == 40 and not made.skipped
  in_order = tfds.ReadConfig(interleave_cycle_length=1)
  examples = list(
    tfds.as_numpy(
      tfds.builder_from_directory(made.path).as_dataset(split="clips", read_config=in_order)
    )
  )
  for clip, stored, frames, example in zip(
    source.clips, made.clips, made.num_frames, examples, strict=True
  ):
    assert clip.track == stored.track == example["track"].decode()
    assert clip.labels == stored.labels
    np.testing.assert_array_equal(example["log_mel"], source.log_mel(clip, FRONTEND))
    assert len(example["log_mel"]) == frames
    np.testing.assert_array_equal(example["labels"], [c in clip.labels for c in made.classes])
    np.testing.assert_array_equal(example["label_mask"], [1, 1])


def test_several_processes_give_the_same_set(music, tmp_path):
  source = _source(music)
  one = prepared.prepare(source, FRONTEND, tmp_path / "one", workers=1)
  two = prepared.prepare(source, FRONTEND, tmp_path / "two", workers=2)
  assert one.clips == two.clips and one.path.name == two.path.name
  for path in one.path.glob("*.tfrecord*"):
    assert path.read_bytes() == (two.path / path.name).read_bytes()


@pytest.mark.slow
def test_bare_script_reads_a_set(music, tmp_path):
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  script = (
    "import sys, tensorflow_datasets as tfds\n"
    "ds = tfds.builder_from_directory(sys.argv[1]).as_dataset(split='clips')\n"
    "print(len(ds), next(iter(ds))['log_mel'].shape[1], 'genre_jax' in sys.modules)\n"
  )
  out = subprocess.run(
    [sys.executable, "-c", script, str(made.path)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert out.stdout.split() == ["40", "32", "False"]


def test_an_existing_set_is_reused(music, tmp_path, capsys):
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert "prepared 40 tracks" in capsys.readouterr().out
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert capsys.readouterr().out == ""


def test_segment_length_does_not_change_the_set_but_the_front_end_does(music):
  source = _source(music)
  name = prepared.content_hash(source, FRONTEND, "single_label")
  assert name == prepared.content_hash(
    source, dataclasses.replace(FRONTEND, num_frames=9), "single_label"
  )
  assert name != prepared.content_hash(
    source, dataclasses.replace(FRONTEND, n_mels=40), "single_label"
  )


def test_changed_audio_is_another_set(music):
  name = prepared.content_hash(_source(music), FRONTEND, "single_label")
  _tone(music / "high" / "0.wav", 2.0)
  assert name != prepared.content_hash(_source(music), FRONTEND, "single_label")


def test_an_interrupted_set_is_not_read_and_resumes(music, tmp_path, capsys):
  calls = []

  class InterruptedReader(AudioFileReader):
    def log_mel(self, clip, frontend):
      calls.append(clip.track)
      if len(calls) == 35:
        raise KeyboardInterrupt
      return super().log_mel(clip, frontend)

  source = dataclasses.replace(_source(music), reader=InterruptedReader())
  calls.extend([""] * 100)
  whole = prepared.prepare(source, FRONTEND, tmp_path / "whole", workers=1)
  calls.clear()
  root = tmp_path / "prepared"
  with pytest.raises(KeyboardInterrupt):
    prepared.prepare(source, FRONTEND, root, workers=1)
  assert not (root / whole.path.name).exists()
  capsys.readouterr()
  calls.clear()
  calls.extend([""] * 100)
  made = prepared.prepare(source, FRONTEND, root, workers=1)
  assert len(calls) == 100 + 8  # the first shard of 32 clips is kept
  assert "32 of 40 tracks are prepared already" in capsys.readouterr().out
  for path in whole.path.glob("*.tfrecord*"):
    assert path.read_bytes() == (made.path / path.name).read_bytes()


def test_a_set_of_an_earlier_version_is_read(music, tmp_path):
  """Sets named the front end `recipe`, the split `side`, and the validation split `valid`."""
  source = _source(music)
  clips = tuple(dataclasses.replace(clip, split="validation") for clip in source.clips)
  source = dataclasses.replace(source, clips=clips)
  made = prepared.prepare(source, FRONTEND, tmp_path / "prepared", workers=1)
  with open(made.path / "clips.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  for row in rows:
    row["side"] = {"validation": "valid"}[row.pop("split")]
  with open(made.path / "clips.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  metadata = json.loads((made.path / "about.json").read_text())
  metadata["recipe"] = metadata.pop("frontend")
  metadata["bytes"]["clips.csv"] = (made.path / "clips.csv").stat().st_size
  (made.path / "about.json").write_text(json.dumps(metadata))
  assert prepared.read(made.path, FRONTEND) == made


def test_unreadable_files_are_skipped_with_a_reason(music, tmp_path, capsys):
  (music / "high" / "text.wav").write_text("not audio")
  (music / "low" / "empty.mp3").write_bytes(b"")
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert len(made.clips) == 40
  listed = json.loads((made.path / "skipped.json").read_text())
  assert {skip["clip"] for skip in listed} == {track for track, _ in made.skipped}
  assert len(listed) == 2 and all(skip["reason"] for skip in listed)
  assert "skipped 2" in capsys.readouterr().out


def test_nothing_readable_is_an_error(tmp_path):
  for genre in ("a", "b"):
    for i in range(2):
      (tmp_path / "music" / genre).mkdir(parents=True, exist_ok=True)
      (tmp_path / "music" / genre / f"{i}.wav").write_text("not audio")
  with pytest.raises(UserError, match="none of the 4 tracks could be read"):
    prepared.prepare(_source(tmp_path / "music"), FRONTEND, tmp_path / "prepared", workers=1)


def test_a_damaged_set_is_an_error(music, tmp_path):
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  for path in sorted(made.path.iterdir()):
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", b"damage", None):
      path.unlink() if damaged is None else path.write_bytes(damaged)
      with pytest.raises(UserError, match="is not a complete prepared set"):
        prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
    path.write_bytes(whole)
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)


def test_extremely_loud_audio_is_skipped(music, tmp_path):
  """Samples of 1e30 are finite, but their float32 spectrum is not."""
  soundfile.write(music / "high" / "loud.wav", np.full(22050, 1e30), 22050, subtype="FLOAT")
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert [track for track, _ in made.skipped] == ["high/loud.wav"]
  assert "too loud" in made.skipped[0][1]


def test_a_file_counts_once_by_its_real_path(music):
  tracks = [clip.track for clip in _source(music).clips]
  (music / "high" / "again.wav").symlink_to(music / "high" / "0.wav")
  (music / "high" / "up").symlink_to(music)
  assert [clip.track for clip in _source(music).clips] == tracks


def test_names_that_are_not_utf_8(music, tmp_path):
  import os

  os.rename(music / "high" / "0.wav", os.fsencode(music / "high") + b"/caf\xe9.wav")
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert len(made.clips) == 40 and any("caf" in clip.track for clip in made.clips)


def test_other_audio_of_the_same_size_and_time_is_another_set(music):
  import os

  path = music / "high" / "0.wav"
  stat = path.stat()
  name = prepared.content_hash(_source(music), FRONTEND, "single_label")
  _tone(path, 0.3, hz=900.0)
  os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
  assert path.stat().st_size == stat.st_size
  assert name != prepared.content_hash(_source(music), FRONTEND, "single_label")


def test_stored_log_mel_is_that_of_the_file(gtzan, tmp_path):
  """The stored array of a real file is its log-mel."""
  import tensorflow_datasets as tfds

  from genre_jax.data.audio import read_audio

  source = open_source(
    "auto",
    str(gtzan / "audio"),
    "classical,disco",
    groups="",
    clip_seconds=30.0,
    frontend=FrontendConfig(),
  )
  source = dataclasses.replace(source, clips=source.clips[:2])
  made = prepared.prepare(source, FrontendConfig(), tmp_path / "prepared", workers=1)
  stored = tfds.builder_from_directory(made.path).as_dataset(split="clips")
  example = next(iter(tfds.as_numpy(stored)))
  audio = read_audio(source.clips[0].path, 22050)
  np.testing.assert_allclose(example["log_mel"], log_mel(audio, FrontendConfig()), atol=1e-4)
