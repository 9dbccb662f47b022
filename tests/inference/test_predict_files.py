"""Test `predict`: equal to evaluation, constant memory, faulty files."""

import csv
import os
import pathlib
import time

import numpy as np
import pytest
import soundfile

from genre_jax.data.audio import read_audio
from genre_jax.data.log_mel import log_mel
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import evaluation_file
from genre_jax.experiments import axis_features_10
from genre_jax.inference import load, predict, predict_files, track_log_mel
from genre_jax.studies.run import train_and_evaluate
from tests.inference.conftest import SMALL, sound, write_small_model


@pytest.mark.slow
def test_equal_to_evaluation(gtzan, tmp_path, monkeypatch):
  """A run on real clips: `predict` gives the probabilities of its evaluation."""
  folder = tmp_path / "clips"
  for genre in ("blues", "hiphop"):
    (folder / genre).mkdir(parents=True)
    for path in sorted((gtzan / "audio" / genre).glob("*.flac"))[:7]:
      (folder / genre / path.name).symlink_to(path)
  monkeypatch.chdir(tmp_path)
  config = axis_features_10.get_config()
  config.dataset.source = "audio_folder"
  config.dataset.path = str(folder)
  config.split.name = "grouped_kfold"
  config.split.num_folds = 3
  config.train.epochs = 1
  config.train.report = False
  config.dataset.workers = 1
  train_and_evaluate(config, "run")
  run = pathlib.Path("run")
  predictions = {
    os.path.basename(prediction.file): prediction for prediction in predict(str(folder), str(run))
  }
  assert len(predictions) == 14
  compared = 0
  for split in ("validation", "test"):
    for row in csv.DictReader(evaluation_file(run, split, "track").read_text().splitlines()):
      prediction = predictions[os.path.basename(row["track"])]
      assert prediction.status == "ok" and prediction.genre == row["prediction"]
      for genre in ("blues", "hiphop"):
        assert abs(prediction.probabilities[genre] - float(row[f"p_{genre}"])) < 1e-4
      compared += 1
  assert compared == 7


def test_segments_equal_those_of_a_prepared_set(songs):
  path = str(songs / "b.flac")
  track = track_log_mel.read_track_log_mel(path, SMALL, str(songs)).opened()
  whole = log_mel(read_audio(path, 8000), SMALL)
  ranges = np.array([[0, SMALL.num_frames], [7, 7 + SMALL.num_frames]])
  segments, counts = track.segments(ranges)
  np.testing.assert_allclose(segments[1], whole[7:47], atol=1e-4)
  assert list(counts) == [40, 40] and track.seconds == pytest.approx(6, abs=0.01)


def test_long_files_are_stored_on_disk_and_deleted(songs, tmp_path, small_model, monkeypatch):
  path, model = str(songs / "b.flac"), load(str(small_model))
  expected = next(predict(path, model, segments=0, timeline=True))
  monkeypatch.setattr(track_log_mel, "MAX_FRAMES_IN_MEMORY", 10)
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setattr("tempfile.tempdir", None)
  folder = tmp_path / "frames"
  folder.mkdir()
  track = track_log_mel.read_track_log_mel(path, SMALL, str(folder))
  assert isinstance(track.power, pathlib.Path) and len(list(folder.iterdir())) == 1
  track.opened()
  assert not list(folder.iterdir())
  assert isinstance(track_log_mel.read_track_log_mel(__file__, SMALL, str(folder)), str)
  prediction = next(predict(path, model, segments=0, timeline=True))
  assert prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
  assert len(prediction.timeline) == len(expected.timeline)
  assert not list(tmp_path.glob("genre_jax-*"))


def test_predictions(songs, small_model):
  predictions = list(
    predict([songs, songs / "a.wav", songs / "notes.txt"], str(small_model), timeline=True)
  )
  assert [os.path.basename(a.file) for a in predictions] == [
    "a.wav",
    "b.flac",
    "c.wav",
    "d.mp3",
    "notes.txt",
  ]  # a.wav once
  for prediction in predictions[:4]:
    assert prediction.status == "ok" and prediction.model == "small" and not prediction.error
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.confidence == max(prediction.probabilities.values())
    assert prediction.probabilities[prediction.genre] == prediction.confidence
    assert prediction.embedding.shape == (128,) and np.isfinite(prediction.embedding).all()
    spans = prediction.timeline
    assert spans[0].start == 0 and spans[-1].end == prediction.seconds
    assert all(a.end == b.start and a.start < a.end for a, b in zip(spans, spans[1:], strict=False))
  assert predictions[4].status == "failed" and "audio" in predictions[4].error


def test_min_confidence_gives_unknown(songs, small_model):
  sure = next(predict(songs / "a.wav", str(small_model)))
  unsure = next(predict(songs / "a.wav", str(small_model), min_confidence=0.9999))
  assert sure.genre != "unknown" and unsure.genre == "unknown" and unsure.status == "ok"
  assert unsure.probabilities == sure.probabilities


@pytest.mark.slow
def test_many_files_by_several_processes(songs, small_model):
  for number in range(8):
    soundfile.write(songs / f"x{number}.wav", sound(3, seed=number), 8000)
  model = load(str(small_model))
  one = [(a.file, a.probabilities) for a in predict(songs, model, workers=1)]
  two = [(a.file, a.probabilities) for a in predict(songs, model, workers=2)]
  assert one == two and len(one) == 12


def _truncated_mp3(path):
  soundfile.write(path, sound(8, 22050), 22050)
  raw = path.read_bytes()
  path.write_bytes(raw[: len(raw) // 2])


def _with_wrong_size(path, size=0x10000000):
  soundfile.write(path, sound(3), 8000)
  raw = bytearray(path.read_bytes())
  raw[40:44] = size.to_bytes(4, "little")
  path.write_bytes(raw)


FAULTS = {
  "empty.wav": (lambda path: path.write_bytes(b""), "empty"),
  "text.mp3": (lambda path: path.write_text("words " * 1000), "audio"),
  "silent.wav": (lambda path: soundfile.write(path, np.zeros(8000), 8000), "silent"),
  "nan.wav": (
    lambda path: soundfile.write(path, np.full(8000, np.nan), 8000, subtype="FLOAT"),
    "NaN",
  ),
  "huge.wav": (
    lambda path: soundfile.write(path, np.full(8000, 1e20), 8000, subtype="DOUBLE"),
    "loud",
  ),
}


def test_faulty_files_have_reasons_and_others_predictions(songs, small_model):
  for name, (make, _) in FAULTS.items():
    make(songs / name)
  _with_wrong_size(songs / "piped.wav", 0xFFFFFFFF)  # recorders write 4 GB for "until the end"
  _truncated_mp3(songs / "truncated.mp3")
  _with_wrong_size(songs / "wrong_size.wav")
  (songs / "nothing" / "here").mkdir(parents=True)
  predictions = {
    os.path.basename(a.file): a
    for a in predict([songs, songs / "absent.wav", songs / "nothing"], str(small_model))
  }
  for name, (_, word) in FAULTS.items():
    assert predictions[name].status == "failed" and word in predictions[name].error, predictions[
      name
    ]
  assert "no such file" in predictions["absent.wav"].error
  assert "read 4.0 of 8.0 s" in predictions["truncated.mp3"].note
  assert "truncated" in predictions["wrong_size.wav"].note
  assert predictions["piped.wav"].note == ""
  assert sum(a.status == "ok" for a in predictions.values()) == 7


@pytest.mark.parametrize(("samples", "rate"), [(2, 8000), (400, 192000)])
def test_too_short_files_have_a_reason(tmp_path, small_model, samples, rate):
  soundfile.write(tmp_path / "s.wav", np.resize([0.5, -0.5, 0.3], samples), rate)
  prediction = next(predict(tmp_path / "s.wav", str(small_model)))
  assert prediction.status == "failed" and "0.00 s long, too short to classify" in prediction.error


@pytest.mark.parametrize(("samples", "rate"), [(192000, 192000), (8000, 8000), (8000, 1000)])
def test_short_files_and_low_rates_are_predicted(tmp_path, small_model, samples, rate):
  soundfile.write(tmp_path / "s.wav", np.resize([0.5, -0.5, 0.3], samples), rate)
  prediction = next(predict(tmp_path / "s.wav", str(small_model), timeline=True))
  assert prediction.status == "ok", prediction.error
  assert np.isfinite(list(prediction.probabilities.values())).all()


def test_a_folder_without_audio_is_a_row(tmp_path, small_model):
  (prediction,) = predict(tmp_path, str(small_model))
  assert prediction.status == "failed" and "without music" in prediction.error


def test_circular_links_and_unprintable_names(songs, small_model):
  (songs / "deep" / "back").symlink_to(songs)
  (songs / "b2.flac").symlink_to(songs / "b.flac")
  odd = os.fsencode(songs) + b"/\xff\n\x1b[31m.wav"
  with open(odd, "wb") as file:
    file.write((songs / "a.wav").read_bytes())
  predictions = list(predict(songs, str(small_model)))
  assert len(predictions) == 5 and all(a.status == "ok" for a in predictions)
  assert any(a.file.endswith("\\xff\\n\\x1b[31m.wav") for a in predictions)


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_cannot_be_listed_is_a_row(songs, small_model):
  (songs / "deep").chmod(0)
  predictions = list(predict(songs, str(small_model)))
  (songs / "deep").chmod(0o700)
  assert [a.status for a in predictions] == ["ok", "ok", "failed"]


@pytest.mark.parametrize(
  "wrong", [{"min_confidence": 1.5}, {"segments": -1}, {"workers": -2}, {"file_seconds": -1}]
)
def test_wrong_numbers(small_model, wrong):
  with pytest.raises(UserError, match=f"--{next(iter(wrong))}="):
    predict("x", str(small_model), **wrong)


def end_process(path, *_):
  """Read a file, or end the process as a crashing decoder would."""
  if "deadly" in path:
    os._exit(1)
  if "endless" in path:
    time.sleep(60)
  return track_log_mel.read_track_log_mel(path, *_)


@pytest.mark.slow
def test_a_crash_or_a_hang_costs_only_one_file_its_prediction(songs, small_model, monkeypatch):
  monkeypatch.setattr(predict_files, "read_track_log_mel", end_process)
  paths = [str(songs / "b.flac"), "deadly.mp3", "endless.mp3"]
  predictions = list(predict(paths, str(small_model), workers=1, file_seconds=2))
  assert [prediction.status for prediction in predictions] == ["ok", "failed", "failed"]
  assert "ended the process" in predictions[1].error
  assert predictions[2].error == "took longer than 2 s to read"


def test_musicnn_uses_its_own_frontend(tmp_path):
  """A multi-label network that does not normalize its input."""
  from genre_jax.inference.musicnn_weights import FRONTEND

  folder = write_small_model(tmp_path, "tags", FRONTEND, "musicnn", ("a", "b"), task="multi_label")
  soundfile.write(tmp_path / "s.wav", sound(4, 16000), 16000)
  prediction = next(predict(tmp_path / "s.wav", str(folder)))
  assert prediction.status == "ok" and set(prediction.genre.split(";")) <= {"a", "b", "unknown"}
  assert prediction.embedding.shape == (200,)
