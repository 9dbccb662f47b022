"""Test streaming: predictions equal the offline path and do not depend on the blocks."""

import dataclasses
import gc
import itertools
import tracemalloc

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

FULL_SCALE = dataclasses.replace(SMALL, db_ref="full_scale", top_db=0.0)


def _blocks(audio, seed):
  """Yield audio in blocks of random lengths, including empty blocks and single samples."""
  rng = np.random.default_rng(seed)
  at = 0
  while at < len(audio):
    length = int(rng.choice([0, 1, rng.integers(1, 100), rng.integers(1, 5000)]))
    yield audio[at : at + length]
    at += length


def _expected_probabilities(model: Model, frames):
  """Return the probabilities of a segment, padded as that of a short file."""
  count = len(frames)
  frames = np.pad(
    frames, ((0, model.frontend.num_frames - count), (0, 0)), constant_values=frames.min()
  )
  logits = model.logits(frames[None], np.array([count]))[0]
  return model.probabilities(logits)


def _model(tmp_path, frontend=SMALL, network="axis_features", **sizes):
  """Return a model with random weights."""
  folder = write_small_model(tmp_path, network, frontend, network.split("-")[0], **sizes)
  return load(str(folder))


def _expected_frames(audio, frontend):
  """Return the frames that FrameStream should give, computed from the whole audio at once."""
  if frontend.streamable:
    return log_mel(audio, frontend)
  stft = MelPowerStream(dataclasses.replace(frontend, frame_stride=1.0))
  power = np.concatenate([stft.push(audio), stft.flush()])
  kept = frontend.frame_indices(len(power))
  span = round(30 * frontend.sample_rate / frontend.hop_length)
  out = []
  for index in kept:
    loudest = power[max(0, index - span + 1) : index + 1].max()
    absolute = compress(
      power[index : index + 1], dataclasses.replace(frontend, db_ref="full_scale", top_db=0.0)
    )[0]
    out.append(np.maximum(absolute, 10 * np.log10(loudest) - frontend.top_db))
  return np.array(out, np.float32)


@pytest.mark.parametrize(
  "frontend",
  [
    SMALL,
    FULL_SCALE,
    dataclasses.replace(SMALL, center=False),
    dataclasses.replace(SMALL, frame_stride=1.0, top_db=20.0),
  ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_frames_do_not_depend_on_blocks(frontend, seed):
  audio = sound(40 if seed else 3, seed=seed)
  audio[5000:9000] *= 4  # a peak that leaves the reference after 30 s
  frame_stream = FrameStream(frontend)
  parts = [frame_stream.push(block) for block in _blocks(audio, seed)] + [frame_stream.flush()]
  frames = np.concatenate([part[0] for part in parts])
  np.testing.assert_allclose(frames, _expected_frames(audio, frontend), atol=1e-3)
  assert len(frames) == frontend.frames_of(len(audio))
  assert len(np.concatenate([part[1] for part in parts])) == len(frames)


@pytest.mark.parametrize("samples", [1, 300])
def test_the_shortest_audio_has_one_frame(samples):
  frame_stream = FrameStream(SMALL)
  first, _ = frame_stream.push(np.full(samples, 0.5, np.float32))
  last, peaks = frame_stream.flush()
  assert len(first) + len(last) == 1 == len(peaks)


@pytest.mark.parametrize("frontend", [SMALL, FULL_SCALE])
@pytest.mark.parametrize("network", ["axis_features", "baseline"])
def test_streaming_equals_the_offline_path(tmp_path, frontend, network):
  model = _model(tmp_path, frontend, network)
  audio = sound(7, seed=3)
  frames = _expected_frames(audio, frontend)
  runs = []
  for seed in range(3):
    classifier = StreamingClassifier(model, segment_seconds=0.0, update_seconds=0.0)
    updates = [u for block in _blocks(audio, seed) for u in classifier.push(block)]
    runs.append(updates + classifier.flush())
  assert len({len(run) for run in runs}) == 1 and len(runs[0]) > 20
  for number, same in enumerate(zip(*runs, strict=True)):
    for update in same[1:]:
      assert update.seconds == same[0].seconds and update.genre == same[0].genre
      np.testing.assert_allclose(
        list(update.probabilities.values()), list(same[0].probabilities.values()), atol=1e-5
      )
    if number % 5 == 0 or number == len(runs[0]) - 1:
      end = round(same[0].seconds * frontend.frame_rate)
      start = max(0, end - round(classifier.segment_seconds * frontend.frame_rate))
      expected = _expected_probabilities(model, frames[start:end])
      np.testing.assert_allclose(list(same[0].probabilities.values()), expected, atol=1e-5)


def test_after_the_peak_a_stream_equals_the_file(tmp_path):
  """Once the peak of a clip is in the stream, the reference equals that of the whole file."""
  model = _model(tmp_path)
  audio = sound(6, seed=4)
  audio[200:1200] *= 5
  classifier = StreamingClassifier(model, segment_seconds=0.0, update_seconds=0.0)
  *_, last = classifier.push(audio)
  end = round(last.seconds * SMALL.frame_rate)
  expected = _expected_probabilities(model, log_mel(audio, SMALL)[end - 40 : end])
  np.testing.assert_allclose(list(last.probabilities.values()), expected, atol=1e-5)


def test_real_music(gtzan):
  """Frames of a real recording with the default front end."""
  from genre_jax.data.frontend import FrontendConfig

  path = sorted((gtzan / "audio" / "rock").glob("*.flac"))[-1]
  frontend = FrontendConfig(num_frames=20)
  audio = read_audio(path, frontend.sample_rate)[:200_000]
  frame_stream = FrameStream(frontend)
  frames = np.concatenate([frame_stream.push(block)[0] for block in _blocks(audio, 0)])
  expected = _expected_frames(audio, frontend)[: len(frames)]
  np.testing.assert_allclose(frames, expected, atol=1e-3)


@pytest.mark.slow
def test_smoothing_reduces_changes(small_model):
  model = load(str(small_model))
  audio = np.concatenate([sound(6, seed=1), 3 * sound(6, seed=7)])

  def total_change(smoothing):
    rows = np.array(
      [
        list(u.probabilities.values())
        for u in stream([audio], model, smoothing_seconds=smoothing, update_seconds=0.0)
      ]
    )
    return np.abs(np.diff(rows, axis=0)).sum()

  assert total_change(0) > 1.5 * total_change(2.0) > 0


def test_updates_keep_their_interval(small_model):
  model = load(str(small_model))
  times = [update.seconds for update in stream([sound(5)], model, update_seconds=0.5)]
  assert len(times) >= 6 and min(np.diff(times)) >= 0.5


def test_silence_is_reported_and_resets_smoothing(small_model):
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


def test_a_network_that_depends_on_gain_needs_full_scale(tmp_path):
  from genre_jax.inference.musicnn_weights import FRONTEND

  frontend = dataclasses.replace(FRONTEND, compression="db", db_ref="max", top_db=80.0)
  model = load(str(write_small_model(tmp_path, "tags", frontend, "musicnn", CLASSES)))
  with pytest.raises(UserError, match="full_scale"):
    StreamingClassifier(model)
  with pytest.raises(UserError, match="--segment_seconds=-1"):
    StreamingClassifier(load(str(write_small_model(tmp_path))), segment_seconds=-1)


@pytest.mark.slow
def test_memory_does_not_grow(small_model):
  """The frames of 90 s would take 144 kB if they were kept."""
  classifier = StreamingClassifier(load(str(small_model)))
  sizes = []
  tracemalloc.start()
  try:
    for number in range(8):
      for block in _blocks(sound(15, seed=number), number):
        classifier.push(block)
      gc.collect()
      sizes.append(tracemalloc.get_traced_memory()[0])
  finally:
    tracemalloc.stop()
  assert max(sizes[2:]) - sizes[1] < 50_000  # the first 30 s fill the reference and compile
