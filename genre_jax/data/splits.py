"""Assign tracks to the train, validation and test splits.

Groups (recordings, artists, speakers) are split before segments are cut, so no group of the train
split is in the test split. `leaky_segments` breaks this rule, and its name says so. `takes` and
`speaker_kfold` evaluate on speakers of the train split on purpose.
"""

import dataclasses
from collections import defaultdict

import numpy as np

from genre_jax.data.split_assignment import SplitAssignment
from genre_jax.data.split_schemes import SCHEMES
from genre_jax.errors import UserError, did_you_mean


def assign_splits(
  clips, *, name, num_folds=5, fold=0, seed=0, segments_per_track=15, train_share=1.0
) -> SplitAssignment:
  """Assign clips to splits.

  Args:
    clips: All readable Clips of a source.
    name: One of SCHEMES.
    num_folds: Number of folds of the k-fold schemes.
    fold: Fold that becomes the test split, from 0.
    seed: Seed of the assignment; independent of the training seed.
    segments_per_track: Number of segments of a track, for leaky_segments.
    train_share: Share of each genre's training clips that is kept, for learning curves; at least
      one clip. A smaller share is a subset of a larger one.

  Raises:
    UserError: If an option is invalid or the clips cannot be split in this way.
  """
  if name not in SCHEMES:
    hint = did_you_mean(name, SCHEMES, cutoff=0.0)
    raise UserError(f"--config.split.name={name}: give one of {', '.join(SCHEMES)}{hint}.")
  if not clips:
    raise UserError("There are no tracks to split: all were skipped, see skipped.json.")
  clips = sorted(clips, key=lambda clip: clip.track)
  assignment = SCHEMES[name](
    clips, num_folds=num_folds, fold=fold, seed=seed, segments_per_track=segments_per_track
  )
  return assignment if train_share == 1 else _reduce_training(assignment, clips, train_share, seed)


def _reduce_training(assignment: SplitAssignment, clips, share, seed) -> SplitAssignment:
  """Keep a share of each genre's training clips."""
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
  note = f"train_share={share}: {len(dropped)} training tracks left out"
  return dataclasses.replace(assignment, splits=splits, notes=(*assignment.notes, note))
