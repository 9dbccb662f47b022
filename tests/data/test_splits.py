"""Splits: groups stay in one split, genres are in all splits, mistakes have messages."""

import collections
from collections import Counter, defaultdict

import numpy as np
import pytest

from genre_jax.data.groups import assign_groups
from genre_jax.data.source import Clip
from genre_jax.data.sources.gtzan.tracks import GENRES, gtzan_clip, published_lists
from genre_jax.data.sources.registry import open_source
from genre_jax.data.split_assignment import SplitAssignment, check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError

ALL_GTZAN = [gtzan_clip(f"{genre}.{number:05d}") for genre in GENRES for number in range(100)]
GROUP_SPLITS = ("artist_kfold", "grouped_kfold", "random_tracks")


def splits_of(assignment):
  result = defaultdict(set)
  for track, split in assignment.splits.items():
    result[split].add(track)
  return result


def test_published_lists():
  assignment = assign_splits(ALL_GTZAN, name="fault_filtered")
  assert Counter(assignment.splits.values()) == {"train": 443, "validation": 197, "test": 290}
  assert "70 clips are not on the lists" in assignment.notes[0]
  assert any("artist-138 is in two splits" in note for note in assignment.notes)
  check_groups_apart(assignment, ALL_GTZAN)
  assert sum(not clip.has_group for clip in ALL_GTZAN if clip.track in published_lists()) == 43


def test_published_lists_with_parts_missing():
  lists = published_lists()
  only_test = [clip for clip in ALL_GTZAN if lists.get(clip.track) == "test"]
  assignment = assign_splits(only_test, name="fault_filtered")
  assert Counter(assignment.splits.values()) == {"test": 290}
  assert "train 0 of 443, validation 0 of 197, test 290 of 290" in assignment.notes[0]


@pytest.mark.parametrize("name", GROUP_SPLITS)
def test_groups_stay_in_one_split_and_genres_are_in_all(name):
  for seed in range(5):
    assignment = assign_splits(ALL_GTZAN, name=name, num_folds=5, fold=seed, seed=seed)
    check_groups_apart(assignment, ALL_GTZAN)
    assert not assignment.leaky
    for tracks in splits_of(assignment).values():
      assert {track.split(".")[0] for track in tracks} == set(GENRES)
    assert assignment == assign_splits(
      ALL_GTZAN[::-1], name=name, num_folds=5, fold=seed, seed=seed
    )
  assert assignment != assign_splits(ALL_GTZAN, name=name, num_folds=5, fold=seed, seed=99)


def test_artist_kfold_tests_each_known_track_once():
  tested = Counter()
  for fold in range(5):
    assignment = assign_splits(ALL_GTZAN, name="artist_kfold", num_folds=5, fold=fold)
    splits = splits_of(assignment)
    tested.update(splits["test"])
    # Reggae has one artist with 35 tracks, blues only 9 artists: no even folds exist.
    assert 130 < len(splits["test"]) < 250 and 60 < len(splits["validation"]) < 180
  assert set(tested.values()) == {1} and len(tested) == 948
  assert "52 clips without an artist id: left out" in assignment.notes
  assert any(note.startswith("blues: ") for note in assignment.notes)


def test_random_tracks_has_the_published_proportions():
  clips = [Clip(f"t{k}", f"g{k}", ("ab"[k % 2],)) for k in range(600)]
  assignment = assign_splits(clips, name="random_tracks")
  counts = Counter(assignment.splits.values())
  assert [counts[split] for split in ("train", "validation", "test")] == pytest.approx(
    [395.9, 86.9, 117.2], abs=3
  )


def test_leaky_segments():
  clips = ALL_GTZAN[:400]
  assignment = assign_splits(clips, name="leaky_segments")
  assert assignment.leaky and assignment.splits == {} and "WARNING" in assignment.notes[0]
  counts = Counter(assignment.split_of(clip.track, k) for clip in clips for k in range(15))
  assert counts == {"train": 3959, "validation": 869, "test": 1172}
  assert (
    assignment.split_of(clips[0].track, 15) is None and assignment.split_of("nothing", 0) is None
  )
  assert assignment == assign_splits(clips, name="leaky_segments")
  assert assignment != assign_splits(clips, name="leaky_segments", seed=1)
  check_groups_apart(assignment, clips)


def test_split_of_a_track():
  assignment = SplitAssignment("x", {"a": "train"})
  assert assignment.split_of("a", 7) == "train" and assignment.split_of("b") is None


def test_synthetic_falls_back(audio_folder):
  clips = open_source().clips
  assignment = assign_splits(clips, name="fault_filtered", fold=3)
  assert assignment.name == "grouped_kfold" and "built-in corpus" in assignment.notes[0]
  assert assignment.splits == assign_splits(clips, name="grouped_kfold", fold=0).splits
  with pytest.raises(UserError, match="--config.split.name=grouped_kfold"):
    assign_splits(open_source("auto", str(audio_folder)).clips, name="fault_filtered")


def test_groups_in_two_splits_are_found():
  clips = [Clip("a", "g", ("x",)), Clip("b", "g", ("x",))]
  check_groups_apart(SplitAssignment("x", {"a": "train"}), clips)
  with pytest.raises(UserError, match="group g is in two splits .a in train, b in test"):
    check_groups_apart(SplitAssignment("x", {"a": "train", "b": "test"}), clips)
  known = [Clip("a", "artist-138", ("x",)), Clip("b", "artist-138", ("x",))]
  check_groups_apart(SplitAssignment("fault_filtered", {"a": "train", "b": "test"}), known)
  with pytest.raises(UserError, match="artist-138"):
    check_groups_apart(SplitAssignment("random_tracks", {"a": "train", "b": "test"}), known)


def clips_in_groups(**groups):
  return [
    Clip(f"{genre}{k}", f"{genre}-{k % count}", (genre,))
    for genre, count in groups.items()
    for k in range(12 if count > 1 else 1)
  ]


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(name="grouped_kfolds"), "did you mean grouped_kfold"),
    (dict(name="grouped_kfold", fold=5), "split.fold=5: with 5 folds give 0 to 4"),
    (dict(name="grouped_kfold", fold=-1), "split.fold=-1"),
    (dict(name="grouped_kfold", num_folds=1), "num_folds=1"),
    (dict(name="grouped_kfold", num_folds=9), "'b' has 12 clips in 6 groups.*num_folds to 6"),
    (dict(name="leaky_segments", segments_per_track=0), "train_per_track=0"),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(UserError, match=message):
    assign_splits(clips_in_groups(a=10, b=6), **options)


@pytest.mark.parametrize("name", ["grouped_kfold", "random_tracks"])
def test_genres_that_cannot_be_split(name):
  with pytest.raises(UserError, match="genre 'b' has a single clip.*config.dataset.genres"):
    assign_splits(clips_in_groups(a=10, b=1), name=name)
  with pytest.raises(UserError, match="'b' has 12 clips in 2 groups.*groups are needed"):
    assign_splits(clips_in_groups(a=10, b=2), name=name, num_folds=2)


@pytest.mark.parametrize("name", GROUP_SPLITS)
def test_groups_that_share_a_clip_stay_together(name):
  """A duet joins the groups of its singers, and of all who sing with them."""
  clips = clips_in_groups(a=10, b=10)
  for genre, k in (("a", 0), ("a", 1), ("b", 4)):
    clips.append(Clip(f"duet-{genre}{k}", f"{genre}-{k};{genre}-{k + 1}", (genre,)))
  clips.append(Clip("quartet", "a-9;b-9;guest", ("a",)))
  for seed in range(5):
    assignment = assign_splits(clips, name=name, num_folds=3, fold=seed % 3, seed=seed)
    check_groups_apart(assignment, clips)
    assert len(assignment.splits) == len(clips)
    assert (
      len({assignment.splits[track] for track in ("a0", "a1", "a2", "duet-a0", "duet-a1")}) == 1
    )
    assert assignment.splits["a9"] == assignment.splits["b9"] == assignment.splits["quartet"]


def test_a_speaker_fold_includes_both_speakers_of_a_clip():
  clips = [Clip(f"{k}{s}", s, ("x",), split="train") for s in "abc" for k in range(3)]
  clips.append(Clip("both", "c;b", ("x",), split="train"))
  assignment = assign_splits(clips, name="speaker_kfold", num_folds=2, fold=1)
  check_groups_apart(assignment, clips)
  assert splits_of(assignment)["test"] == {"both", *(f"{k}{s}" for s in "bc" for k in range(3))}


def test_groups_that_are_all_joined_cannot_be_split():
  clips = [Clip(f"{k}", f"g{k};g{k + 1}", ("a",)) for k in range(9)]
  with pytest.raises(UserError, match="9 clips in 1 groups .*Groups that share a clip .* as one"):
    assign_splits(clips, name="grouped_kfold", num_folds=3)


@pytest.mark.parametrize("name", GROUP_SPLITS)
def test_clips_without_a_label_are_in_all_splits(name):
  clips = clips_in_groups(a=12) + [Clip(f"none{k}", f"n{k // 3}", ()) for k in range(90)]
  assignment = assign_splits(clips, name=name, num_folds=5)
  counts = Counter(split for track, split in assignment.splits.items() if track.startswith("none"))
  assert 45 <= counts["train"] <= 70 and min(counts["validation"], counts["test"]) >= 6
  if name != "random_tracks":
    assert any(note.startswith("(none of the classes): 6 (18), ") for note in assignment.notes)


def test_one_class_needs_groups_without_it():
  clips = clips_in_groups(a=10) + [Clip(f"n{k}", "n", ()) for k in range(4)]
  with pytest.raises(UserError, match="4 clips in 1 groups .* are not of the genre 'a', and 5 gr"):
    assign_splits(clips, name="grouped_kfold")
  # With several classes, each is in all splits; clips without a label as far as possible.
  clips += clips_in_groups(b=10)
  assert len(assign_splits(clips, name="grouped_kfold").splits) == len(clips)


def test_no_known_groups():
  clips = [Clip(f"a{k}", f"track:a{k}", ("a",), has_group=False) for k in range(20)]
  with pytest.raises(UserError, match="--config.dataset.groups=CSV"):
    assign_splits(clips, name="artist_kfold")
  with pytest.raises(UserError, match="skipped.json"):
    assign_splits([], name="grouped_kfold")


def test_several_labels_and_uneven_groups():
  rng = np.random.default_rng(0)
  counts = rng.integers(0, 4, (60, 5)) * (rng.uniform(size=(60, 5)) < 0.3)
  counts = counts[counts.sum(1) > 0]
  part = assign_groups(counts, np.array([0.6, 0.2, 0.2]), np.random.default_rng(1))
  shares = np.array([counts[part == k].sum(0) for k in range(3)]) / counts.sum(0)
  np.testing.assert_allclose(shares, [[0.6] * 5, [0.2] * 5, [0.2] * 5], atol=0.12)


def test_a_smaller_share_of_training_is_part_of_a_larger_one():
  whole = assign_splits(ALL_GTZAN, name="fault_filtered")
  sizes = []
  for share in (0.25, 0.5):
    part = assign_splits(ALL_GTZAN, name="fault_filtered", train_share=share)
    kept = {track for track, split in part.splits.items() if split == "train"}
    sizes.append(kept)
    by_genre = collections.Counter(track.split(".")[0] for track in kept)
    all_of = collections.Counter(t.split(".")[0] for t, s in whole.splits.items() if s == "train")
    assert by_genre == {genre: round(share * n) for genre, n in all_of.items()}
    others = {track: split for track, split in whole.splits.items() if split != "train"}
    assert others == {track: split for track, split in part.splits.items() if split != "train"}
  assert sizes[0] < sizes[1]
  for share in (0, 1.5):
    with pytest.raises(UserError, match="split.train_share"):
      assign_splits(ALL_GTZAN, name="fault_filtered", train_share=share)
  with pytest.raises(UserError, match="whole tracks"):
    assign_splits(ALL_GTZAN, name="leaky_segments", train_share=0.5)
