"""Whole groups (artists, recordings, speakers) dealt out to the sides of a split or to folds.

Serves `splits`: joining, counting, checking that there are enough, and dealing by genre.
"""

import numpy as np

from genre_jax.data.duplicates import sets_of
from genre_jax.errors import UserError

NONE = "(none of the classes)"  # how clips without a label are counted, so that all sides get some


def joined_groups(clips) -> list[str]:
  """The group of each clip, where groups that share a clip, directly or through others, are one.

  A clip of the groups `a;b` joins a and b; a joined group has the first of its members' names.
  """
  names = [min(clip.group.split(";")) for clip in clips]
  first: dict[str, int] = {}
  pairs = [
    (first.setdefault(group, index), index)
    for index, clip in enumerate(clips)
    for group in clip.group.split(";")
  ]
  for members in sets_of(pairs, len(clips)):
    name = min(names[index] for index in members)
    for index in members:
      names[index] = name
  return names


def count_groups(clips):
  """(groups, genres, int64[groups, genres] clips): joined groups; NONE last among the genres, where
  there are clips without a label."""
  group_of = joined_groups(clips)
  groups = sorted(set(group_of))
  genres = sorted({label for clip in clips for label in clip.labels})
  genres += [NONE] if not all(clip.labels for clip in clips) else []
  row = {group: index for index, group in enumerate(groups)}
  column = {genre: index for index, genre in enumerate(genres)}
  counts = np.zeros((len(groups), len(genres)), np.int64)
  for clip, group in zip(clips, group_of, strict=True):
    for label in clip.labels or (NONE,):
      counts[row[group], column[label]] += 1
  return groups, genres, counts


def check_enough_groups(clips, genres, counts, needed, flag):
  """Raises UserError if a genre has fewer groups than it needs to stand on every side.

  Clips of no class have to stand on every side only where one class is asked.
  """
  for genre, found, total in zip(genres, (counts > 0).sum(0), counts.sum(0), strict=True):
    if genre == NONE:
      if len(genres) == 2 and found < needed:
        raise UserError(
          f"{flag}: {total} clips in {found} groups (artists, recordings) are not of the genre "
          f"{genres[0]!r}, and {needed} groups are needed to keep each on one side. Add such "
          "recordings, or ask for more genres with --config.dataset.genres=GENRE,GENRE,..."
        )
      continue
    if total == 1:
      raise UserError(
        f"The genre {genre!r} has a single clip, which cannot be split. Add "
        "recordings, or leave the genre "
        "out with --config.dataset.genres=GENRE,GENRE,..."
      )
    if found < needed:
      fewer = f"lower --config.split.num_folds to {found}, " if 3 <= found else ""
      raise UserError(
        f"{flag}: the genre {genre!r} has {total} clips in {found} groups (artists, recordings), "
        f"and {needed} groups are needed to keep each on one side. Add recordings, "
        f"{fewer}or leave the genre out "
        "with --config.dataset.genres=GENRE,GENRE,..."
        + (
          " Groups that share a clip (GROUP;GROUP) count as one."
          if any(";" in clip.group for clip in clips)
          else ""
        )
      )


def assign_groups(counts, shares, rng) -> np.ndarray:
  """Deals whole groups out so that each part has about its share of each genre.

  Greedy, the largest groups first, each to the part that it brings nearest to the shares (as
  scikit-learn's StratifiedGroupKFold does, with unequal shares and several labels for a clip); then
  parts that lack a genre get its smallest group from the part that has most.

  Args:
    counts: int[groups, genres], clips.
    shares: float[parts], sum 1.
    rng: numpy Generator; breaks ties.
  Returns:
    int64[groups], the part of each.
  """
  wanted = counts.sum(0)[None, :] * shares[:, None]
  wanted = np.maximum(wanted, 1e-9)
  order = rng.permutation(len(counts))
  order = order[np.argsort(-counts[order].max(1), kind="stable")]
  filled = np.zeros((len(shares), counts.shape[1]))
  part_of = np.zeros(len(counts), np.int64)
  for group in order:
    here = counts[group]
    # Change of the sum over genres of (filled - wanted)^2 / wanted.
    change = ((2 * (filled - wanted) * here + here**2) / wanted / np.maximum(counts.sum(0), 1)).sum(
      1
    )
    best = np.flatnonzero(change <= change.min() + 1e-12)
    part = best[np.argmin(filled[best].sum(1))]
    part_of[group] = part
    filled[part] += here
  for genre in range(counts.shape[1]):
    has = counts[:, genre] > 0
    for part in range(len(shares)):
      if np.any(has & (part_of == part)):
        continue
      groups_of = [int((has & (part_of == other)).sum()) for other in range(len(shares))]
      donor = int(np.argmax(groups_of))
      if groups_of[donor] < 2:
        continue
      members = np.flatnonzero(has & (part_of == donor))
      part_of[members[np.argmin(counts[members].sum(1))]] = part
  return part_of
