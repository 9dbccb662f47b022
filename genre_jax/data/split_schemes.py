"""Ways to split the clips of a source, by the name that `config.split.name` gives.

Each scheme takes clips and the options of `splits.assign_splits`, and returns a `SplitAssignment`.
"""

import dataclasses

import numpy as np

from genre_jax.data.groups import assign_groups, check_enough_groups, count_groups, joined_groups
from genre_jax.data.source import SPLITS
from genre_jax.data.sources import synthetic
from genre_jax.data.sources.gtzan.tracks import TRACK, published_lists
from genre_jax.data.split_assignment import KNOWN_ACROSS, SplitAssignment, groups_across
from genre_jax.errors import UserError

# Sizes of the splits of the published experiment: 400 tracks x 15 segments, split at random.
HOLDOUT = (3959, 869, 1172)
# Share of the training folds' clips that become the validation split of a k-fold split.
VALIDATION_SHARE = 0.15


def _fault_filtered(clips, *, num_folds, seed, **options):
  """Use the lists of Kereliuk, Sturm and Larsen (2015), which omit faulty tracks of GTZAN."""
  lists = published_lists()
  splits = {clip.track: lists[clip.track] for clip in clips if clip.track in lists}
  if not splits:
    if all(clip.track.startswith(synthetic.TRACK_PREFIX) for clip in clips):
      assignment = _grouped_kfold(clips, num_folds=num_folds, seed=seed, fold=0)
      note = "fault_filtered lists GTZAN tracks: the built-in corpus is split by grouped_kfold"
      return dataclasses.replace(assignment, notes=(note, *assignment.notes))
    if not any(TRACK.fullmatch(clip.track) for clip in clips):
      raise UserError(
        "--config.split.name=fault_filtered is for GTZAN, and no clip is a GTZAN track. "
        "Use --config.split.name=grouped_kfold."
      )
    raise UserError(
      "--config.split.name=fault_filtered: none of these clips is on its lists. "
      "Use --config.split.name=artist_kfold or grouped_kfold."
    )
  notes = []
  if unlisted := len(clips) - len(splits):
    notes.append(
      f"{unlisted} clips are not on the lists (repetitions, distorted or mislabeled): left out"
    )
  genres = {label for clip in clips for label in clip.labels}
  sizes = ", ".join(
    f"{split} {sum(s == split for s in splits.values())} of "
    f"{sum(s == split and track.split('.')[0] in genres for track, s in lists.items())}"
    for split in SPLITS
  )
  notes.append(f"clips of the lists that exist here: {sizes}")
  for group, rows in groups_across(splits, clips).items():
    if group in KNOWN_ACROSS:
      where = ", ".join(f"{track} {split}" for track, split in rows)
      notes.append(
        f"{group} is in two splits of the published lists ({where}): known, left as published"
      )
  return SplitAssignment("fault_filtered", splits, notes=tuple(notes))


def _artist_kfold(clips, **options):
  """Split clips with a known group into folds of whole groups; leave the others out."""
  known = [clip for clip in clips if clip.has_group]
  if not known:
    raise UserError(
      "--config.split.name=artist_kfold: no clip has a known artist or group. Give a table with "
      "--config.dataset.groups=CSV, or use --config.split.name=grouped_kfold."
    )
  assignment = _kfold(known, name="artist_kfold", **options)
  notes = assignment.notes
  if left_out := len(clips) - len(known):
    notes = (f"{left_out} clips without an artist id: left out", *notes)
  return dataclasses.replace(assignment, notes=notes)


def _grouped_kfold(clips, **options):
  """Split all clips into folds of whole groups."""
  return _kfold(clips, name="grouped_kfold", **options)


def _kfold(clips, *, name, num_folds, fold, seed, **options):
  """Assign whole groups to folds with equal shares of each genre; test is fold `fold`."""
  if num_folds < 2:
    raise UserError(f"--config.split.num_folds={num_folds}: give 2 or more.")
  if not 0 <= fold < num_folds:
    raise UserError(
      f"--config.split.fold={fold}: with {num_folds} folds give 0 to {num_folds - 1}."
    )
  groups, genres, counts = count_groups(clips)
  check_enough_groups(
    clips, genres, counts, max(num_folds, 3), f"--config.split.num_folds={num_folds}"
  )
  fold_of = assign_groups(
    counts, np.full(num_folds, 1 / num_folds), np.random.default_rng([seed, 0])
  )
  training = np.flatnonzero(fold_of != fold)
  shares = np.array([1 - VALIDATION_SHARE, VALIDATION_SHARE])
  part = assign_groups(counts[training], shares, np.random.default_rng([seed, 1, fold]))
  split_of = np.full(len(groups), 2)
  split_of[training] = part
  per_fold = [
    f"{genre}: "
    + ", ".join(
      f"{int((counts[fold_of == k, c] > 0).sum())} ({int(counts[fold_of == k, c].sum())})"
      for k in range(num_folds)
    )
    for c, genre in enumerate(genres)
  ]
  notes = ("groups (tracks) of each genre, fold by fold:", *per_fold)
  return SplitAssignment(name, _splits(clips, groups, split_of), notes=notes)


def _random_tracks(clips, *, seed, **options):
  """Split whole groups once, with the sizes of HOLDOUT."""
  groups, genres, counts = count_groups(clips)
  check_enough_groups(clips, genres, counts, 3, "--config.split.name=random_tracks")
  shares = np.array(HOLDOUT) / sum(HOLDOUT)
  split_of = assign_groups(counts, shares, np.random.default_rng([seed, 2]))
  return SplitAssignment("random_tracks", _splits(clips, groups, split_of))


def _leaky_segments(clips, *, seed, segments_per_track, **options):
  """Split segments at random, as the published experiment did."""
  if segments_per_track < 1:
    raise UserError(
      f"--config.segments.train_per_track={segments_per_track}: give 1 or more for leaky_segments."
    )
  total = len(clips) * segments_per_track
  order = np.random.default_rng([seed, 3]).permutation(total)
  ends = np.rint(np.cumsum(HOLDOUT) / sum(HOLDOUT) * total).astype(int)
  split_of = np.empty(total, int)
  split_of[order] = np.searchsorted(ends, np.arange(total), side="right")
  rows = split_of.reshape(len(clips), segments_per_track)
  segments = {
    clip.track: tuple(SPLITS[k] for k in row) for clip, row in zip(clips, rows, strict=True)
  }
  note = (
    "WARNING: leaky_segments puts segments of one track into the train and the test split; its "
    "accuracy measures how well tracks are recognized, not genres"
  )
  return SplitAssignment("leaky_segments", {}, leaky=True, notes=(note,), segments=segments)


def _official(clips, **options):
  """Use the official split of the dataset."""
  splits = {clip.track: clip.split for clip in clips if clip.split}
  if not splits:
    raise UserError(
      "--config.split.name=official: this dataset has no official split. "
      "Use --config.split.name=grouped_kfold."
    )
  notes = []
  if left_out := len(clips) - len(splits):
    notes.append(f"{left_out} clips are in no official split: left out")
  if across := groups_across(splits, clips):
    notes.append(
      f"{len(across)} groups, such as {min(across)}, are in several official splits: left as "
      "published"
    )
  return SplitAssignment("official", splits, notes=tuple(notes))


def _takes(clips, **options):
  """Use the takes of spoken_digits as splits; all speakers are in each split."""
  if not any(clip.split for clip in clips):
    raise UserError(
      "--config.split.name=takes is for spoken_digits, whose takes are numbered. "
      "Use --config.split.name=grouped_kfold."
    )
  counts = {split: sum(clip.split == split for clip in clips) for split in SPLITS}
  note = (
    f"takes 0 to 4 are the test split ({counts['test']} clips), takes 5 to 9 the validation split: "
    "new takes of speakers of the train split"
  )
  return SplitAssignment(
    "takes",
    {clip.track: clip.split for clip in clips if clip.split},
    notes=(note,),
    known_groups=("validation", "test"),
  )


def _speaker_kfold(clips, *, num_folds, fold, **options):
  """Use one speaker as the test split, and takes 5 to 9 of the others as the validation split.

  A further speaker for validation would remove a fifth of the voices from the train split. The
  validation split thus shows when training has converged, not the accuracy on new speakers.
  """
  speaker_of = joined_groups(clips)
  speakers = sorted(set(speaker_of))
  if num_folds != len(speakers):
    raise UserError(
      f"--config.split.num_folds={num_folds}: speaker_kfold leaves one of the {len(speakers)} "
      f"speakers (groups) out: give {len(speakers)}."
    )
  if not 0 <= fold < num_folds:
    raise UserError(
      f"--config.split.fold={fold}: with {num_folds} speakers give 0 to {num_folds - 1}."
    )
  splits = {
    clip.track: "test"
    if speaker == speakers[fold]
    else "validation"
    if clip.split == "validation"
    else "train"
    for clip, speaker in zip(clips, speaker_of, strict=True)
  }
  note = (
    f"the test split is the speaker {speakers[fold]}; the validation split is takes of speakers of "
    "the train split"
  )
  return SplitAssignment("speaker_kfold", splits, notes=(note,), known_groups=("validation",))


SCHEMES = {
  "fault_filtered": _fault_filtered,
  "artist_kfold": _artist_kfold,
  "grouped_kfold": _grouped_kfold,
  "random_tracks": _random_tracks,
  "leaky_segments": _leaky_segments,
  "official": _official,
  "takes": _takes,
  "speaker_kfold": _speaker_kfold,
}


def _splits(clips, groups, split_of):
  """Return {track: split} of int[groups] indices of splits."""
  split = dict(zip(groups, split_of, strict=True))
  return {
    clip.track: SPLITS[split[group]]
    for clip, group in zip(clips, joined_groups(clips), strict=True)
  }
