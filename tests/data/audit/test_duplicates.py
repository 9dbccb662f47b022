"""Landmarks and the search for copies, on generated music and on real clips."""

import io

import numpy as np
import pytest
import scipy.stats
import soundfile

from genre_jax.data.audio import read_audio
from genre_jax.data.audit import duplicates, landmarks
from genre_jax.data.audit.landmarks import DENSE, find_landmarks
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.groups import sets_of
from genre_jax.data.log_mel import log_mel
from genre_jax.data.sources.registry import open_source
from genre_jax.data.sources.synthetic import synthesize

RATE = 22050


def landmarks_of(samples, frontend=DENSE):
  return find_landmarks(log_mel(samples, frontend), frontend.frame_rate)


def find(clips, frontend=DENSE):
  return duplicates.find_duplicates(clips, frontend.frame_rate)


@pytest.fixture(scope="module")
def pieces():
  """Samples of eight clips of eight pieces."""
  return [synthesize(number, RATE) for number in range(0, 72, 9)]


def test_landmarks_do_not_depend_on_the_level(pieces):
  loud, quiet = landmarks_of(pieces[0]), landmarks_of(np.float32(0.05) * pieces[0])
  np.testing.assert_array_equal(loud.keys, quiet.keys)
  np.testing.assert_allclose(loud.levels - quiet.levels, 26.02, atol=0.1)


def test_keys_are_bounded_unique_and_chosen_by_their_hash(pieces):
  whole = landmarks_of(np.concatenate(pieces))
  assert len(whole.keys) == landmarks.MAX_KEYS
  assert (np.diff(whole.keys.astype(np.int64)) > 0).all()
  assert len(whole.times) <= landmarks.PER_SECOND * (len(pieces) * 8 + 1)


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_too_short_for_keys_match_nothing(frames):
  noise = np.random.default_rng(0).normal(size=(frames, 128)).astype(np.float32)
  short = find_landmarks(noise, DENSE.frame_rate)
  assert find([short, short, short]) == []


def test_a_flat_clip_does_no_harm():
  flat = find_landmarks(np.zeros((100, 128), np.float32), FrontendConfig().frame_rate)
  assert len(flat.times) <= 9 * landmarks.PER_SECOND
  find([flat, flat], FrontendConfig())


def test_one_beat_and_key_are_not_a_copy(pieces):
  """Sixteen pieces of one style share beats and tones at many offsets."""
  clips = [landmarks_of(synthesize(number, RATE)) for number in range(0, 288, 18)]
  assert find(clips) == []


def test_copies_are_found_and_measured(pieces):
  shift = int(1.7 * RATE)
  clips = [landmarks_of(samples) for samples in pieces]
  clips.append(landmarks_of(np.float32(0.25) * pieces[3][shift:]))
  clips.append(landmarks_of(np.concatenate([np.zeros(shift, np.float32), pieces[5]])))
  found = {(match.a, match.b): match for match in find(clips)}
  assert set(found) == {(3, 8), (5, 9)}
  assert found[3, 8].offset == pytest.approx(-1.7 * DENSE.frame_rate, abs=1)
  assert found[3, 8].level_change == pytest.approx(-12.04, abs=0.5)
  assert found[5, 9].offset == pytest.approx(1.7 * DENSE.frame_rate, abs=1)
  assert found[5, 9].overlap == clips[5].num_frames


def test_the_order_of_clips_determines_the_sign_of_the_offset(pieces):
  whole, part = landmarks_of(pieces[0]), landmarks_of(pieces[0][RATE:])
  (one,) = find([whole, part])
  (other,) = find([part, whole])
  assert one.offset == -other.offset and one.num_matching == pytest.approx(
    other.num_matching, abs=3
  )


def test_more_copies_than_a_key_is_compared_with_make_one_set(pieces):
  clips = [landmarks_of(samples) for samples in pieces]
  copies = [clips[2]] * (3 * duplicates.MAX_EQUALS)
  found = find(clips + copies)
  joined = sets_of([(match.a, match.b) for match in found], len(clips) + len(copies))
  assert joined == [[2, *range(8, 8 + len(copies))]]
  assert len(found) <= len(copies) * duplicates.MAX_CANDIDATES


def test_blocks_make_no_difference(pieces, monkeypatch):
  clips = [landmarks_of(samples) for samples in pieces] + [
    landmarks_of(pieces[0][RATE:]),
    landmarks_of(pieces[7]),
  ]
  whole = find(clips)
  monkeypatch.setattr(duplicates, "BLOCK", 3)
  assert find(clips) == whole and len(whole) == 2


def test_sets_join_through_others():
  assert sets_of([(1, 2), (4, 5), (2, 3)], 7) == [[1, 2, 3], [4, 5]]
  assert sets_of([], 3) == []


@pytest.mark.parametrize("count", [10, 60, 600])
@pytest.mark.parametrize("chance", [0.02, 0.1, 0.3])
def test_evidence_is_a_lower_bound(count, chance):
  for num_matching in range(int(chance * count) + 1, count + 1, max(1, count // 20)):
    exact = -scipy.stats.binom.logsf(num_matching - 1, count, chance) / np.log(10)
    bound = duplicates.evidence(num_matching / count, chance, count)
    assert bound <= exact + 1e-9
    if np.isfinite(exact):  # the exact tail underflows before the bound
      assert bound >= exact - 0.5 * np.log10(count) - 1.5
  assert duplicates.evidence(chance / 2, chance, count) == 0


def test_real_copies_are_found(gtzan):
  tracks = ("blues.00000", "classical.00003", "hiphop.00009", "metal.00006")
  clips = [
    read_audio(gtzan / "audio" / track.split(".")[0] / f"{track}.flac", RATE) for track in tracks
  ]
  copies = []
  for samples in clips:
    stream = io.BytesIO()
    soundfile.write(
      stream,
      0.3 * samples[3 * RATE :],
      RATE,
      format="MP3",
      bitrate_mode="CONSTANT",
      compression_level=0.6,
    )
    stream.seek(0)
    copies.append(soundfile.read(stream, dtype="float32")[0])
  for frontend in (DENSE, FrontendConfig()):
    found = find([landmarks_of(samples, frontend) for samples in clips + copies], frontend)
    assert {(match.a, match.b) for match in found} == {(0, 4), (1, 5), (2, 6), (3, 7)}
    for match in found:
      assert match.offset / frontend.frame_rate == pytest.approx(-3, abs=0.15)


def test_real_clips_without_copies_give_no_pairs(gtzan):
  source = open_source("auto", str(gtzan / "log_mel.npz"), "all")
  clips = [
    find_landmarks(source.log_mel(clip, FrontendConfig()), FrontendConfig().frame_rate)
    for clip in source.clips[::5]
  ]
  assert find(clips, FrontendConfig()) == []
