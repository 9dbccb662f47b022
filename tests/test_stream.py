"""Test the command `stream`: files, pipes with blocks that cut samples, a microphone, mistakes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401

# A module sounddevice whose microphone records noise and is then disconnected.
FAKE = """
import os, threading
import numpy as np

class PortAudioError(Exception):
  pass

def query_devices(device=None, kind=None):
  if os.environ.get("FAKE_MIC") == "none":
    raise PortAudioError("Error querying device -1")
  if device == 7:
    raise ValueError("No input device matching 7")
  return {"default_samplerate": 16000.0, "name": "fake"}

class InputStream:
  def __init__(self, samplerate, device, channels, dtype, blocksize, callback):
    assert (samplerate, channels, dtype) == (16000, 1, "float32")
    self.active, self._size, self._callback = False, blocksize, callback

  def start(self):
    self.active = True
    threading.Thread(target=self._play, daemon=True).start()

  def _play(self):
    rng = np.random.default_rng(0)
    buffer = np.zeros((self._size, 1), np.float32)
    for _ in range(100):
      buffer[:] = 0.1 * rng.standard_normal(buffer.shape)
      self._callback(buffer, len(buffer), None, None)
    self.active = False

  def close(self):
    self.active = False
"""


def _stream(place, model, *arguments, standard_input=b"", **more):
  environment = {
    **os.environ,
    "PYTHONPATH": f"{place}:{ROOT}",
    "XDG_CACHE_HOME": str(place / "cache"),
    **more,
  }
  return subprocess.run(
    [sys.executable, "-m", "genre_jax.stream", f"--model={model}", *map(str, arguments)],
    cwd=place,
    env=environment,
    input=standard_input,
    capture_output=True,
  )


def _updates(done):
  assert done.returncode == 0, done.stderr.decode()
  assert b"Traceback" not in done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_file_and_a_pipe_are_the_same(tmp_path, small_model):  # noqa: F811
  audio = sound(8)
  soundfile.write(tmp_path / "x.wav", audio, 8000, subtype="FLOAT")
  from_file = _updates(_stream(tmp_path, small_model, f"--source={tmp_path / 'x.wav'}"))
  assert len(from_file) > 20 and from_file[0]["seconds"] < 3
  assert set(from_file[0]) == {"seconds", "genre", "confidence", "p_calm", "p_loud", "p_odd"}
  # Written in blocks of 1,777 bytes, which cut samples, with three bytes too many.
  raw = audio.astype("<f4").tobytes() + b"abc"
  (tmp_path / "raw").write_bytes(raw)
  command = (
    f"dd if={tmp_path / 'raw'} bs=1777 status=none | {sys.executable} -m genre_jax.stream"
    f" --model={small_model} --source=- --samples=f32le --rate=8000"
  )
  done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True)
  assert _updates(done) == from_file
  assert b"3 bytes of a sample of 4 bytes" in done.stderr


@pytest.mark.slow
def test_formats_channels_and_rates_of_a_pipe(tmp_path, small_model):  # noqa: F811
  audio = np.stack([sound(6, 16000)] * 2, 1)
  predictions = []
  for samples, values in (
    ("s16le", (audio * 2**15).astype("<i2")),
    ("s32le", (audio.astype(np.float64) * 2**31).astype("<i4")),
    ("f32le", audio.astype("<f4")),
  ):
    done = _stream(
      tmp_path,
      small_model,
      "--source=-",
      f"--samples={samples}",
      "--channels=2",
      "--rate=16000",
      standard_input=values.tobytes(),
    )
    predictions.append(_updates(done)[-1])
  for prediction in predictions[1:]:
    assert prediction["p_calm"] == pytest.approx(predictions[0]["p_calm"], abs=0.02)


@pytest.mark.slow
def test_nan_and_noise_on_standard_input(tmp_path, small_model):  # noqa: F811
  audio = sound(6).astype("<f4")
  audio[100:200] = np.nan
  done = _stream(
    tmp_path, small_model, "--source=-", "--samples=f32le", standard_input=audio.tobytes()
  )
  assert all(np.isfinite(update["confidence"]) for update in _updates(done))
  assert done.stderr.count(b"replaced by silence") == 1
  noise = np.random.default_rng(0).bytes(100_001)
  assert (
    _updates(_stream(tmp_path, small_model, "--source=-", "--samples=f32le", standard_input=noise))
    is not None
  )


@pytest.mark.parametrize(
  "raw", [b"", *(pytest.param(raw, marks=pytest.mark.slow) for raw in (b"\0", b"\0" * 200))]
)
def test_too_little_audio_gives_a_notice(tmp_path, small_model, raw):  # noqa: F811
  done = _stream(tmp_path, small_model, "--source=-", standard_input=raw)
  assert done.returncode == 1 and not done.stdout
  assert b"before the first prediction" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_microphone(tmp_path, small_model):  # noqa: F811
  (tmp_path / "sounddevice.py").write_text(FAKE)
  done = _stream(tmp_path, small_model, "--source=mic", "--format=line")
  assert done.returncode == 0, done.stderr
  assert done.stdout.count(b"\r") > 10 and b"microphone was disconnected" in done.stderr


@pytest.mark.parametrize(
  ("arguments", "environment", "words"),
  [
    (("--source=mic",), {"FAKE_MIC": "none"}, b"no usable microphone"),
    (("--source=mic", "--device=7"), {}, b"--device=NUMBER"),
    (("--source=absent.wav",), {}, b"no such file"),
    (("--source=text.mp3",), {}, b"text.mp3: cannot be decoded"),
    (("--source=-", "--rate=3"), {}, b"--rate=3"),
    (("--source=-", "--segment_seconds=-1"), {}, b"--segment_seconds=-1"),
    (("--source=-", "--update=0.01"), {}, b"--update"),
    (("--source=text.mp3", "--speed=nan"), {}, b"--speed=nan"),
    (("x.wav",), {}, b"--source=x.wav"),
  ],
)
def test_mistakes(tmp_path, small_model, arguments, environment, words):  # noqa: F811
  (tmp_path / "sounddevice.py").write_text(FAKE)
  (tmp_path / "text.mp3").write_text("words " * 100)
  done = _stream(tmp_path, small_model, *arguments, **environment)
  assert done.returncode == 2 and words in done.stderr, done.stderr
  assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
  ("fault", "words"),
  [
    ("raise ImportError('No module')", b"pip install 'genre-jax[mic]'"),
    ("raise OSError('PortAudio')", b"install PortAudio"),
  ],
)
def test_no_sounddevice(tmp_path, small_model, fault, words):  # noqa: F811
  (tmp_path / "sounddevice.py").write_text(fault)
  done = _stream(tmp_path, small_model)
  assert done.returncode == 2 and b"--source=mic" in done.stderr and words in done.stderr


@pytest.mark.slow
def test_a_damaged_file_keeps_earlier_predictions(tmp_path, small_model):  # noqa: F811
  soundfile.write(tmp_path / "x.mp3", sound(20, 22050), 22050)
  raw = (tmp_path / "x.mp3").read_bytes()
  (tmp_path / "x.mp3").write_bytes(raw[: len(raw) * 2 // 3])
  done = _stream(tmp_path, small_model, f"--source={tmp_path / 'x.mp3'}")
  assert done.returncode == 0 and b"truncated" in done.stderr
  assert len(done.stdout.splitlines()) > 20


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error(tmp_path, small_model):  # noqa: F811
  soundfile.write(tmp_path / "x.wav", sound(20), 8000)
  command = (
    f"{sys.executable} -m genre_jax.stream --model={small_model}"
    f" --source={tmp_path / 'x.wav'} | head -n 2"
  )
  done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True)
  assert len(done.stdout.splitlines()) == 2 and b"Traceback" not in done.stderr
  assert b"Exception" not in done.stderr
