"""Mixtures of real tracks: labels, splits, artists, and reproducibility."""

import pickle
from collections import Counter

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.gtzan.tracks import published_lists
from genre_jax.data.sources.mixtures import EXCERPT_SECONDS, PARTNERS, excerpt
from genre_jax.data.sources.registry import open_source
from genre_jax.data.split_assignment import check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError

FRONTEND = FrontendConfig(db_ref="full_scale", top_db=0.0, frame_stride=1.0)


@pytest.fixture(scope="module")
def source(gtzan):
  return open_source("mixtures", str(gtzan / "audio"))


def test_pairs_have_two_genres_and_one_split(source):
  lists = published_lists()
  splits = Counter(clip.split for clip in source.clips)
  assert splits == {"train": 233 * PARTNERS, "validation": 98 * PARTNERS}
  for clip in source.clips:
    split, _, kind, first, second = clip.track.split("-")
    assert lists[first] == lists[second] == split == clip.split
    assert clip.labels == (first.split(".")[0], second.split(".")[0])
    assert len(set(clip.labels)) == 2 and kind in ("mixed", "joined")
    assert 1 <= len(clip.group.split(";")) <= 2
  assert len({clip.track for clip in source.clips}) == len(source.clips)
  kinds = Counter(clip.track.split("-")[2] for clip in source.clips)
  assert kinds["mixed"] == kinds["joined"]


def test_number_of_repeated_pairs_is_as_documented(source):
  repeated = {}
  for split, count in (("train", 233), ("validation", 98)):
    pairs = [frozenset(clip.track.split("-")[3:]) for clip in source.clips if clip.split == split]
    repeated[split] = len(pairs) - len(set(pairs))
    assert len(pairs) == count * PARTNERS
  assert repeated == {"train": 80, "validation": 87}


def test_no_artist_is_in_two_splits(source):
  assignment = assign_splits(source.clips, name="official")
  check_groups_apart(assignment, source.clips)
  artists = {
    split: {
      artist
      for clip in source.clips
      if assignment.splits[clip.track] == split
      for artist in clip.group.split(";")
    }
    for split in ("train", "validation")
  }
  assert not artists["train"] & artists["validation"]
  assert not any("several official splits" in note for note in assignment.notes)
  with pytest.raises(UserError, match="Groups that share a clip .* count as one"):
    assign_splits(source.clips, name="random_tracks")


def test_the_same_seed_gives_the_same_audio(source, gtzan):
  again = open_source("mixtures", str(gtzan / "audio"))
  assert again.clips == source.clips and again.fingerprint() == source.fingerprint()
  other = open_source("mixtures", str(gtzan / "audio"), seed=1)
  assert other.fingerprint() != source.fingerprint()
  clip = source.clips[0]
  reader = pickle.loads(pickle.dumps(source.reader))
  np.testing.assert_array_equal(reader.log_mel(clip, FRONTEND), source.log_mel(clip, FRONTEND))


def test_a_mixture_contains_both_tracks(source):
  """A mixed pair is a weighted sum of two excerpts; a joined pair is one after the other."""
  for kind in ("mixed", "joined"):
    clip = next(clip for clip in source.clips if f"-{kind}-" in clip.track)
    audio = source.reader.audio(clip, 22050)
    rng = np.random.default_rng([0, 1, 9, clip.index])
    rng.uniform()
    excerpts = np.stack([excerpt(path, 22050, rng) for path in (clip.path, clip.second)])
    assert excerpts.shape == (2, int(EXCERPT_SECONDS * 22050))
    parts = [audio] if kind == "mixed" else np.split(audio, 2)
    used = []
    for part in parts:
      weights, *_ = np.linalg.lstsq(excerpts.T, part, rcond=None)
      np.testing.assert_allclose(weights @ excerpts, part, atol=1e-4)
      used += [weights]
    levels = np.abs(np.sum(used, 0))
    assert levels.min() > 0.1 * levels.max() and np.max(np.abs(audio)) == pytest.approx(0.9)
    if kind == "joined":
      assert sorted(int(np.argmax(np.abs(weights))) for weights in used) == [0, 1]


def test_mistakes(gtzan, audio_folder):
  with pytest.raises(UserError, match="at least two genres"):
    open_source("mixtures", str(gtzan / "audio"), "rock")
  with pytest.raises(UserError, match="there is no file named GENRE"):
    open_source("mixtures", str(audio_folder))
