"""Live sound: the answers of the offline path, whatever the blocks."""

import dataclasses
import itertools

import numpy as np
import pytest

from genre_jax.data.audio import read_audio
from genre_jax.data.log_mel import MelPowerStream, compress, log_mel
from genre_jax.errors import UserError
from genre_jax.inference import load, stream
from genre_jax.inference.frame_stream import FrameStream
from genre_jax.inference.model import Model
from genre_jax.inference.streaming import StreamingClassifier
from tests.inference.conftest import CLASSES, SMALL, sound, write_small_model

PLAIN = dataclasses.replace(SMALL, db_ref="full_scale", top_db=0.0)


def _blocks(audio, seed):
  """The sound in blocks of random lengths, empty ones and single samples among them."""
  rng = np.random.default_rng(seed)
  at = 0
  while at < len(audio):
    length = int(rng.choice([0, 1, rng.integers(1, 100), rng.integers(1, 5000)]))
    yield audio[at : at + length]
    at += length


def _offline(model: Model, frames):
  """Probabilities of a window, filled up as that of a short file is."""
  count = len(frames)
  frames = np.pad(
    frames, ((0, model.frontend.num_frames - count), (0, 0)), constant_values=frames.min()
  )
  logits = model.logits(frames[None], np.array([count]))[0]
  return model.probabilities(logits)


def _model(tmp_path, frontend=SMALL, network="axis_features", **sizes):
  """A model with random weights, also of sizes that are not the defaults."""
  folder = write_small_model(tmp_path, network, frontend, network.split("-")[0], **sizes)
  return load(str(folder))


def _frames_of_all(audio, frontend):
  """What FrameStream should give, computed from the whole at once."""
  if frontend.streamable:
    return log_mel(audio, frontend)
  everything = MelPowerStream(dataclasses.replace(frontend, frame_stride=1.0))
  power = np.concatenate([everything.push(audio), everything.flush()])
  kept = frontend.frame_indices(len(power))
  span = round(30 * frontend.sample_rate / frontend.hop_length)
  out = []
  for index in kept:
    loudest = power[max(0, index - span + 1) : index + 1].max()
    plain = compress(
      power[index : index + 1], dataclasses.replace(frontend, db_ref="full_scale", top_db=0.0)
    )[0]
    out.append(np.maximum(plain, 10 * np.log10(loudest) - frontend.top_db))
  return np.array(out, np.float32)


@pytest.mark.parametrize(
  "frontend",
  [
    SMALL,
    PLAIN,
    dataclasses.replace(SMALL, center=False),
    dataclasses.replace(SMALL, frame_stride=1.0, top_db=20.0),
  ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_frames_do_not_depend_on_blocks(frontend, seed):
  audio = sound(40 if seed else 3, seed=seed)
  audio[5000:9000] *= 4  # the loudest moment, which passes
  live = FrameStream(frontend)
  parts = [live.push(block) for block in _blocks(audio, seed)] + [live.flush()]
  frames = np.concatenate([part[0] for part in parts])
  np.testing.assert_allclose(frames, _frames_of_all(audio, frontend), atol=1e-3)
  assert len(frames) == frontend.frames_of(len(audio))
  assert len(np.concatenate([part[1] for part in parts])) == len(frames)


@pytest.mark.parametrize("samples", [1, 300])
def test_the_shortest_sound_has_one_frame(samples):
  live = FrameStream(SMALL)
  first, _ = live.push(np.full(samples, 0.5, np.float32))
  last, peaks = live.flush()
  assert len(first) + len(last) == 1 == len(peaks)


@pytest.mark.parametrize("frontend", [SMALL, PLAIN])
@pytest.mark.parametrize("network", ["axis_features", "baseline"])
def test_the_running_answer_is_the_offline_answer(tmp_path, frontend, network):
  model = _model(tmp_path, frontend, network)
  audio = sound(7, seed=3)
  frames = _frames_of_all(audio, frontend)
  runs = []
  for seed in range(3):
    listener = StreamingClassifier(model, window_seconds=0.0, update_seconds=0.0)
    updates = [u for block in _blocks(audio, seed) for u in listener.push(block)]
    runs.append(updates + listener.flush())
  assert len({len(run) for run in runs}) == 1 and len(runs[0]) > 20
  for number, same in enumerate(zip(*runs, strict=True)):
    for update in same[1:]:
      assert update.seconds == same[0].seconds and update.genre == same[0].genre
      np.testing.assert_allclose(
        list(update.probabilities.values()), list(same[0].probabilities.values()), atol=1e-5
      )
    if number % 5 == 0 or number == len(runs[0]) - 1:
      end = round(same[0].seconds * frontend.frame_rate)
      start = max(0, end - round(listener.window_seconds * frontend.frame_rate))
      expected = _offline(model, frames[start:end])
      np.testing.assert_allclose(list(same[0].probabilities.values()), expected, atol=1e-5)


def test_once_the_loudest_moment_has_passed_it_is_what_a_file_gives(tmp_path):
  """The offline path knows the whole clip; a stream that has heard its peak knows as much."""
  model = _model(tmp_path)
  audio = sound(6, seed=4)
  audio[200:1200] *= 5
  listener = StreamingClassifier(model, window_seconds=0.0, update_seconds=0.0)
  *_, last = listener.push(audio)
  end = round(last.seconds * SMALL.frame_rate)
  expected = _offline(model, log_mel(audio, SMALL)[end - 40 : end])
  np.testing.assert_allclose(list(last.probabilities.values()), expected, atol=1e-5)


def test_real_music(gtzan):
  """The same of a real recording and the shipped frontend."""
  from genre_jax.data.frontend import FrontendConfig

  path = sorted((gtzan / "audio" / "rock").glob("*.flac"))[-1]
  frontend = FrontendConfig(num_frames=20)
  audio = read_audio(path, frontend.sample_rate)[:200_000]
  live = FrameStream(frontend)
  frames = np.concatenate([live.push(block)[0] for block in _blocks(audio, 0)])
  expected = _frames_of_all(audio, frontend)[: len(frames)]
  np.testing.assert_allclose(frames, expected, atol=1e-3)


def test_smoothing_trades_flicker_for_delay(small_model):
  model = load(str(small_model))
  audio = np.concatenate([sound(6, seed=1), 3 * sound(6, seed=7)])

  def traveled(smoothing):
    rows = np.array(
      [
        list(u.probabilities.values())
        for u in stream([audio], model, smoothing_seconds=smoothing, update_seconds=0.0)
      ]
    )
    return np.abs(np.diff(rows, axis=0)).sum()

  assert traveled(0) > 1.5 * traveled(2.0) > 0


def test_updates_are_not_too_many(small_model):
  model = load(str(small_model))
  times = [update.seconds for update in stream([sound(5)], model, update_seconds=0.5)]
  assert len(times) >= 6 and min(np.diff(times)) >= 0.5


def test_silence_is_called_so_and_forgotten(small_model):
  model = load(str(small_model))
  audio = np.concatenate([sound(4), np.zeros(8000 * 8, np.float32), sound(4)])
  updates = list(stream([audio], model))
  genres = [key for key, _ in itertools.groupby(u.genre == "silence" for u in updates)]
  assert genres == [False, True, False]
  assert next(u for u in updates if u.genre == "silence").probabilities == {}


def test_other_rates_and_channels(small_model):
  model = load(str(small_model))
  stereo = np.stack([sound(5, 44100, 1)] * 2, 1)
  whole = list(stream([stereo], model, sample_rate=44100))
  pieces = list(stream(_blocks(stereo, 5), model, sample_rate=44100))
  assert whole == pieces and len(whole) > 5


def test_a_network_that_hears_gain_needs_a_level_known_before(tmp_path):
  from genre_jax.inference.published_weights import FRONTEND

  frontend = dataclasses.replace(FRONTEND, compression="db", db_ref="max", top_db=80.0)
  model = load(str(write_small_model(tmp_path, "tags", frontend, "musicnn", CLASSES)))
  with pytest.raises(UserError, match="full_scale"):
    StreamingClassifier(model)
  with pytest.raises(UserError, match="--window=-1"):
    StreamingClassifier(load(str(write_small_model(tmp_path))), window_seconds=-1)


def test_memory_does_not_grow(small_model):
  """What a listener holds of two minutes would be 190 kB of frames alone, were they kept."""
  model = load(str(small_model))
  listener = StreamingClassifier(model)

  def held():
    return sum(
      value.nbytes
      for part in (listener, listener._frames, listener._frames._stream)
      for value in vars(part).values()
      if isinstance(value, np.ndarray)
    ) + 16 * len(listener._frames._peaks)

  sizes = []
  for number in range(8):
    for block in _blocks(sound(15, seed=number), number):
      listener.push(block)
    sizes.append(held())
  assert max(sizes) < 20_000
