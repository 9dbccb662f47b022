"""Who is in train, valid and test.

After the sources in the flow, before windows are cut: recordings, artists and speakers are split
first, so a network is never tested on what it has heard. The one split that breaks this says so in
its name.
"""

import dataclasses
import functools
from collections import defaultdict

import numpy as np

from genre_jax.data.groups import assign_groups, check_enough_groups, count_groups, joined_groups
from genre_jax.data.sources import synthetic
from genre_jax.data.sources.gtzan.tracks import LISTS, TRACK
from genre_jax.errors import UserError, did_you_mean

SPLITS = ("train", "validation", "test")
# Segments of the published experiment with 400 songs x 15 segments, split at random.
HOLDOUT = (3959, 869, 1172)
# Share of the training folds' clips that become the validation side of a k-fold split.
VALID_SHARE = 0.15
# The published lists have this artist (disco.00049 and disco.00073 in train, disco.00069 in test)
# on two sides.
KNOWN_ACROSS = frozenset({"artist-138"})


@dataclasses.dataclass(frozen=True)
class SplitAssignment:
  """Which tracks, or segments, stand on which side.

  Attributes:
    name: of the split that was really made.
    sides: {track: 'train', 'valid' or 'test'}; tracks that are not used are absent. Empty where
      leaky.
    leaky: whether segments of one track stand on several sides.
    notes: lines for the user.
    segments: {track: side of each of its segments}, only where leaky.
    known_groups: sides that are asked about groups of the train side, because that is the split's
      question; there each clip counts for itself in intervals.
  """

  name: str
  splits: dict[str, str]
  leaky: bool = False
  notes: tuple[str, ...] = ()
  segments: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  known_groups: tuple[str, ...] = ()

  def split_of(self, track: str, segment: int = 0) -> str | None:
    """The side of a segment, None where it is not used."""
    if not self.leaky:
      return self.splits.get(track)
    segments = self.segments.get(track, ())
    return segments[segment] if 0 <= segment < len(segments) else None


def assign_splits(
  clips, *, name, num_folds=5, fold=0, seed=0, segments_per_track=15, train_share=1.0
) -> SplitAssignment:
  """Splits clips.

  Args:
    clips: all Clips of a source, those that could not be read left out.
    name: one of SCHEMES.
    num_folds: of the k-fold splits.
    fold: which fold is the test side, from 0.
    seed: of the split alone; not that of training.
    segments_per_track: of leaky_segments.
    train_share: share of each genre's training clips that is kept, for learning curves; at least
      one clip. A smaller share is part of a larger one.
  Raises:
    UserError: naming the flag, what is wrong, and what to do.
  """
  if name not in SCHEMES:
    hint = did_you_mean(name, SCHEMES, cutoff=0.0)
    raise UserError(f"--config.split.name={name}: give one of {', '.join(SCHEMES)}{hint}.")
  if not clips:
    raise UserError("There are no clips to split: all were skipped, see skipped.json.")
  clips = sorted(clips, key=lambda clip: clip.track)
  assignment = SCHEMES[name](
    clips, num_folds=num_folds, fold=fold, seed=seed, segments_per_track=segments_per_track
  )
  return assignment if train_share == 1 else _thin_out(assignment, clips, train_share, seed)


def _thin_out(assignment: SplitAssignment, clips, share, seed) -> SplitAssignment:
  """Keeps a share of each genre's training clips."""
  if not 0 < share < 1:
    raise UserError(f"--config.split.train_share={share}: give more than 0 and at most 1.")
  if assignment.leaky:
    raise UserError("--config.split.train_share is for splits of whole tracks; leave it at 1.")
  rng = np.random.default_rng([seed, 4])
  order = [clips[i] for i in rng.permutation(len(clips))]
  by_genre = defaultdict(list)
  for clip in order:
    if assignment.splits.get(clip.track) == "train":
      by_genre[clip.labels].append(clip.track)
  dropped = {
    track for tracks in by_genre.values() for track in tracks[max(1, round(share * len(tracks))) :]
  }
  splits = {track: split for track, split in assignment.splits.items() if track not in dropped}
  note = f"train_share={share}: {len(dropped)} training clips left out"
  return dataclasses.replace(assignment, splits=splits, notes=(*assignment.notes, note))


def check_groups_apart(assignment: SplitAssignment, clips) -> None:
  """Raises UserError if a group stands on two sides of a split that does not call itself leaky.

  The one artist known to stand on both sides of the published lists is let pass there, and noted;
  so are all groups of a material's own split, and those of a split that asks about known ones.
  """
  if assignment.leaky or assignment.name == "official":
    return
  known = KNOWN_ACROSS if assignment.name == "fault_filtered" else frozenset()
  splits = {
    track: "train" if split in assignment.known_groups else split
    for track, split in assignment.splits.items()
  }
  for group, places in _groups_across(splits, clips).items():
    if group not in known:
      where = ", ".join(f"{track} in {split}" for track, split in places[:4])
      raise UserError(
        f"--config.split.name={assignment.name}: the group {group} stands on two sides ({where}). "
        "Use --config.split.name=grouped_kfold, or mend --config.dataset.groups."
      )


def _groups_across(splits, clips):
  """{group: [(track, side), ...]} of the groups on more than one side."""
  places = defaultdict(list)
  for clip in clips:
    if clip.track in splits:
      for group in clip.group.split(";"):
        places[group].append((clip.track, splits[clip.track]))
  return {group: rows for group, rows in places.items() if len({split for _, split in rows}) > 1}


@functools.lru_cache(maxsize=1)
def published_lists() -> dict[str, str]:
  """{track: side} of the lists of Kereliuk, Sturm and Larsen (2015)."""
  return {
    track: split for split in SPLITS for track in (LISTS / f"{split}.txt").read_text().split()
  }


def _fault_filtered(clips, *, num_folds, seed, **options):
  lists = published_lists()
  splits = {clip.track: lists[clip.track] for clip in clips if clip.track in lists}
  if not splits:
    if all(clip.track.startswith(synthetic.TRACK_PREFIX) for clip in clips):
      assignment = _grouped_kfold(clips, num_folds=num_folds, seed=seed, fold=0)
      note = "fault_filtered lists GTZAN tracks: the built-in corpus is split by grouped_kfold"
      return dataclasses.replace(assignment, notes=(note, *assignment.notes))
    if not any(TRACK.fullmatch(clip.track) for clip in clips):
      raise UserError(
        "--config.split.name=fault_filtered is for GTZAN, whose tracks it lists; "
        "none of these clips is one. "
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
  there = ", ".join(
    f"{split} {sum(s == split for s in splits.values())} of "
    f"{sum(s == split and track.split('.')[0] in genres for track, s in lists.items())}"
    for split in SPLITS
  )
  notes.append(f"clips of the lists that are here: {there}")
  for group, rows in _groups_across(splits, clips).items():
    if group in KNOWN_ACROSS:
      where = ", ".join(f"{track} {split}" for track, split in rows)
      notes.append(
        f"{group} stands on two sides of the published lists ({where}): known, left as published"
      )
  return SplitAssignment("fault_filtered", splits, notes=tuple(notes))


def _artist_kfold(clips, **options):
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
  return _kfold(clips, name="grouped_kfold", **options)


def _kfold(clips, *, name, num_folds, fold, seed, **options):
  """Whole groups in folds with about the same share of each genre; fold `fold` is the test side."""
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
  shares = np.array([1 - VALID_SHARE, VALID_SHARE])
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
  notes = ("groups (clips) of each genre, fold by fold:", *per_fold)
  return SplitAssignment(name, _splits(clips, groups, split_of), notes=notes)


def _random_tracks(clips, *, seed, **options):
  groups, genres, counts = count_groups(clips)
  check_enough_groups(clips, genres, counts, 3, "--config.split.name=random_tracks")
  shares = np.array(HOLDOUT) / sum(HOLDOUT)
  split_of = assign_groups(counts, shares, np.random.default_rng([seed, 2]))
  return SplitAssignment("random_tracks", _splits(clips, groups, split_of))


def _leaky_segments(clips, *, seed, segments_per_track, **options):
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
    "WARNING: leaky_segments puts segments of one song into training and testing; "
    "its accuracy says how "
    "well songs are recognized again, not how well genres are"
  )
  return SplitAssignment("leaky_segments", {}, leaky=True, notes=(note,), segments=segments)


def _official(clips, **options):
  """The sides that the material itself gives its clips."""
  splits = {clip.track: clip.split for clip in clips if clip.split}
  if not splits:
    raise UserError(
      "--config.split.name=official: this material has no split of its own. "
      "Use --config.split.name=grouped_kfold."
    )
  notes = []
  if left_out := len(clips) - len(splits):
    notes.append(f"{left_out} clips are on no side of the official split: left out")
  if across := _groups_across(splits, clips):
    notes.append(
      f"{len(across)} groups, as {min(across)}, stand on several sides of the official split: left "
      "as published"
    )
  return SplitAssignment("official", splits, notes=tuple(notes))


def _takes(clips, **options):
  """The material's own sides, where the same speakers stand on all of them."""
  if not any(clip.split for clip in clips):
    raise UserError(
      "--config.split.name=takes is for spoken_digits, whose takes it counts. "
      "Use --config.split.name=grouped_kfold."
    )
  counts = {split: sum(clip.split == split for clip in clips) for split in SPLITS}
  note = (
    f"takes 0 to 4 are the test side ({counts['test']} clips here), 5 to 9 valid: new takes of "
    "speakers who are known from training"
  )
  return SplitAssignment(
    "takes",
    {clip.track: clip.split for clip in clips if clip.split},
    notes=(note,),
    known_groups=("validation", "test"),
  )


def _speaker_kfold(clips, *, num_folds, fold, **options):
  """One speaker is the test side, takes 5 to 9 of the others are valid.

  Another speaker as the valid side would cost a fifth of the voices that are trained on. Valid
  therefore shows when training is through, and not what new speakers will give.
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
    f"test is the speaker {speakers[fold]}; valid is takes of speakers who are known from training"
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
  split = dict(zip(groups, split_of, strict=True))
  return {
    clip.track: SPLITS[split[group]]
    for clip, group in zip(clips, joined_groups(clips), strict=True)
  }
