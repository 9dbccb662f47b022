"""Prepared sets: whole or absent, reused when the same, readable without this package."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from genre_jax.data import prepared
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
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


def test_a_set_holds_each_clips_log_mel_and_labels(music, tmp_path):
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


def test_second_time_it_is_found(music, tmp_path, capsys):
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert "prepared 40 clips" in capsys.readouterr().out
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert capsys.readouterr().out == ""


def test_another_window_is_the_same_set_and_another_recipe_is_not(music):
  source = _source(music)
  name = prepared.content_hash(source, FRONTEND, "single_label")
  import dataclasses

  assert name == prepared.content_hash(
    source, dataclasses.replace(FRONTEND, num_frames=9), "single_label"
  )
  assert name != prepared.content_hash(
    source, dataclasses.replace(FRONTEND, n_mels=40), "single_label"
  )


def test_changed_material_is_another_set(music):
  name = prepared.content_hash(_source(music), FRONTEND, "single_label")
  _tone(music / "high" / "0.wav", 2.0)
  assert name != prepared.content_hash(_source(music), FRONTEND, "single_label")


def test_an_interrupted_set_is_not_read_and_goes_on(music, tmp_path, monkeypatch, capsys):
  source = _source(music)
  whole = prepared.prepare(source, FRONTEND, tmp_path / "whole", workers=1)
  calls = []

  def interrupted(reader, frontend, clip):
    calls.append(clip.track)
    if len(calls) == 35:
      raise KeyboardInterrupt
    return reader.log_mel(clip, frontend)

  monkeypatch.setattr(prepared, "_one_clip", interrupted)
  root = tmp_path / "prepared"
  with pytest.raises(KeyboardInterrupt):
    prepared.prepare(source, FRONTEND, root, workers=1)
  assert not (root / whole.path.name).exists()
  capsys.readouterr()
  calls.clear()
  calls.extend([""] * 100)
  made = prepared.prepare(source, FRONTEND, root, workers=1)
  assert len(calls) == 100 + 8  # the first shard of 32 clips was kept
  assert "32 of 40 clips were prepared before" in capsys.readouterr().out
  for path in whole.path.glob("*.tfrecord*"):
    assert path.read_bytes() == (made.path / path.name).read_bytes()


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
  with pytest.raises(UserError, match="none of the 4 clips could be read"):
    prepared.prepare(_source(tmp_path / "music"), FRONTEND, tmp_path / "prepared", workers=1)


def test_a_damaged_set_says_so(music, tmp_path):
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  for path in sorted(made.path.iterdir()):
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", b"damage", None):
      path.unlink() if damaged is None else path.write_bytes(damaged)
      with pytest.raises(UserError, match="is not a complete prepared set"):
        prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
    path.write_bytes(whole)
  prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)


def test_deafening_sound_is_skipped(music, tmp_path):
  """Samples of 1e30 are finite, their spectrum in float32 is not."""
  soundfile.write(music / "high" / "loud.wav", np.full(22050, 1e30), 22050, subtype="FLOAT")
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert [track for track, _ in made.skipped] == ["high/loud.wav"]
  assert "too loud" in made.skipped[0][1]


def test_a_file_counts_once_and_by_its_own_name(music):
  tracks = [clip.track for clip in _source(music).clips]
  (music / "high" / "again.wav").symlink_to(music / "high" / "0.wav")
  (music / "high" / "up").symlink_to(music)
  assert [clip.track for clip in _source(music).clips] == tracks


def test_names_that_are_not_utf_8(music, tmp_path):
  import os

  os.rename(music / "high" / "0.wav", os.fsencode(music / "high") + b"/caf\xe9.wav")
  made = prepared.prepare(_source(music), FRONTEND, tmp_path / "prepared", workers=1)
  assert len(made.clips) == 40 and any("caf" in clip.track for clip in made.clips)


def test_other_sound_with_the_same_size_and_time_is_another_set(music):
  import os

  path = music / "high" / "0.wav"
  stat = path.stat()
  name = prepared.content_hash(_source(music), FRONTEND, "single_label")
  _tone(path, 0.3, hz=900.0)
  os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
  assert path.stat().st_size == stat.st_size
  assert name != prepared.content_hash(_source(music), FRONTEND, "single_label")


def test_stored_log_mel_is_that_of_the_file(gtzan, tmp_path):
  """From a real file to the stored array."""
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
  import dataclasses

  source = dataclasses.replace(source, clips=source.clips[:2])
  made = prepared.prepare(source, FrontendConfig(), tmp_path / "prepared", workers=1)
  stored = tfds.builder_from_directory(made.path).as_dataset(split="clips")
  example = next(iter(tfds.as_numpy(stored)))
  audio = read_audio(source.clips[0].path, 22050)
  np.testing.assert_allclose(example["log_mel"], log_mel(audio, FrontendConfig()), atol=1e-4)
