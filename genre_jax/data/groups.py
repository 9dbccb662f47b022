"""Assign whole groups (artists, recordings, speakers) to splits or folds.

Groups are joined where they share a clip, counted by genre, checked and assigned.
"""

import dataclasses
import os

import numpy as np

from genre_jax.data.names import name_key, spelling_pairs
from genre_jax.data.tables import check_cells, check_one_line, columns_of, read_rows, split_names
from genre_jax.errors import UserError

COLUMNS = ("file", "group")
NONE = "(none of the classes)"  # counts clips without a label, so that each split gets some


def joined_groups(clips) -> list[str]:
  """Return the group of each clip after joining groups that share a clip.

  A clip of the groups `a;b` joins a and b, also through other clips. A joined group has the
  alphabetically first name of its members.
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
  """Count the clips of each joined group and genre.

  Returns:
    (groups, genres, int64[groups, genres]). If there are clips without a label, the last genre is
    NONE.
  """
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
  """Raise UserError if a genre has fewer groups than splits or folds need.

  Clips without a label must be in every split only if there is a single class.

  Args:
    clips: All clips.
    genres: As `count_groups` returns them.
    counts: int[groups, genres], clips.
    needed: Number of groups that each genre needs.
    flag: Flag and value that the message names.
  """
  for genre, found, total in zip(genres, (counts > 0).sum(0), counts.sum(0), strict=True):
    if genre == NONE:
      if len(genres) == 2 and found < needed:
        raise UserError(
          f"{flag}: {total} clips in {found} groups (artists, recordings) are not of the genre "
          f"{genres[0]!r}, and {needed} groups are needed to keep each in one split. Add such "
          "recordings, or choose more genres with --config.dataset.genres=GENRE,GENRE,..."
        )
      continue
    if total == 1:
      raise UserError(
        f"The genre {genre!r} has a single clip, which cannot be split. Add "
        "recordings, or leave the genre out with --config.dataset.genres=GENRE,GENRE,..."
      )
    if found < needed:
      fewer = f"lower --config.split.num_folds to {found}, " if 3 <= found else ""
      raise UserError(
        f"{flag}: the genre {genre!r} has {total} clips in {found} groups (artists, recordings), "
        f"and {needed} groups are needed to keep each in one split. Add recordings, "
        f"{fewer}or leave the genre out with --config.dataset.genres=GENRE,GENRE,..."
        + (
          " Groups that share a clip (GROUP;GROUP) count as one."
          if any(";" in clip.group for clip in clips)
          else ""
        )
      )


def assign_groups(counts, shares, rng) -> np.ndarray:
  """Assign whole groups to parts so that each part has about its share of each genre.

  The method is greedy. Each group, the largest first, goes to the part that it brings nearest to
  the shares. scikit-learn's StratifiedGroupKFold does the same for equal shares and one label per
  clip. Then a part that lacks a genre gets its smallest group from the part with most groups of it.

  Args:
    counts: int[groups, genres], clips.
    shares: float[parts], sum 1.
    rng: NumPy Generator; breaks ties.

  Returns:
    int64[groups], the part of each group.
  """
  wanted = counts.sum(0)[None, :] * shares[:, None]
  wanted = np.maximum(wanted, 1e-9)
  order = rng.permutation(len(counts))
  order = order[np.argsort(-counts[order].max(1), kind="stable")]
  filled = np.zeros((len(shares), counts.shape[1]))
  part_of = np.zeros(len(counts), np.int64)
  for group in order:
    group_counts = counts[group]
    # Change of the sum over genres of (filled - wanted)^2 / wanted.
    change = (
      (2 * (filled - wanted) * group_counts + group_counts**2)
      / wanted
      / np.maximum(counts.sum(0), 1)
    ).sum(1)
    best = np.flatnonzero(change <= change.min() + 1e-12)
    part = best[np.argmin(filled[best].sum(1))]
    part_of[group] = part
    filled[part] += group_counts
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


def sets_of(pairs, count: int) -> list[list[int]]:
  """Return the connected components of pairs.

  Args:
    pairs: (index, index) of joined items.
    count: Number of items.

  Returns:
    Lists of indices of components with more than one item, the largest first.
  """
  parent = list(range(count))

  def root(index):
    while parent[index] != index:
      parent[index] = parent[parent[index]]
      index = parent[index]
    return index

  for a, b in pairs:
    parent[root(a)] = root(b)
  members: dict[int, list[int]] = {}
  for index in range(count):
    members.setdefault(root(index), []).append(index)
  return sorted(
    (group for group in members.values() if len(group) > 1), key=lambda group: (-len(group), group)
  )


def tidy_groups(cell: str) -> str:
  """Return the cell of a group column with names in normal form and without empty names."""
  return ";".join(split_names(cell))


def merge_spellings(clips) -> tuple[list, list[str]]:
  """Give all spellings of a group (case, accents, blanks) one name, the alphabetically first.

  Args:
    clips: Clips; those without a known group are left as they are.

  Returns:
    (clips, notes for the user).
  """
  spellings = {name for clip in clips if clip.has_group for name in clip.group.split(";")}
  if not (pairs := spelling_pairs(spellings)):
    return list(clips), []
  first = {name_key(name): name for name in sorted(spellings, reverse=True)}
  merged = [
    dataclasses.replace(
      clip, group=";".join(dict.fromkeys(first[name_key(name)] for name in clip.group.split(";")))
    )
    if clip.has_group
    else clip
    for clip in clips
  ]
  return merged, [
    f"{len(pairs)} groups are other spellings of a group, such as {pairs[0][1]!r} of"
    f" {pairs[0][0]!r}: joined"
  ]


def read_groups(path: str, notes: list[str] | None = None) -> dict[str, str]:
  """Read the table of config.dataset.groups.

  Args:
    path: CSV file with the columns file and group.
    notes: List to which lines for the user are added.

  Returns:
    {file: group}.

  Raises:
    UserError: If the file cannot be read, lacks a column or gives a file two groups.
  """
  groups: dict[str, str] = {}
  try:
    rows = read_rows(path, COLUMNS, notes)
    _, header = next(rows, (0, []))
    if missing := set(COLUMNS) - set(map(name_key, header)):
      raise UserError(
        f"{path}: the first line must name the columns file and group, it is"
        f" {','.join(header)[:200]!r}: {' and '.join(sorted(missing))} is missing."
      )
    file, group = columns_of(header, COLUMNS, path)
    for line, row in rows:
      check_cells(row, header, path, line, needed=min(file, group) + 1)
      row += [""] * (len(header) - len(row))
      check_one_line({"file": row[file], "group": row[group]}, path, line)
      name, names = row[file], tidy_groups(row[group])
      if not name or not names:
        raise UserError(f"{path}, line {line}: file or group is empty.")
      name = os.path.normpath(name).replace(os.sep, "/")
      if groups.setdefault(name, names) != names:
        raise UserError(
          f"{path}, line {line}: {name} has two groups, {groups[name]} and {names}; to join"
          f" groups write {groups[name]};{names} in one line."
        )
  except UserError as error:
    raise UserError(f"--config.dataset.groups={error}") from error
  return groups


def grouped(clips, groups: dict[str, str], path: str):
  """Return clips with the groups of a table.

  A table names a clip by its path, file name or track. A clip that the table does not list keeps
  the group of its source.

  Args:
    clips: Clips of a source.
    groups: As `read_groups` returns them.
    path: The table, for messages.

  Returns:
    (clips, notes for the user).

  Raises:
    UserError: If the table names none of the clips.
  """
  listed = _listed_names(clips, groups)
  used, result, kept = set(listed), [], 0
  for clip, name in zip(clips, listed, strict=True):
    if name is None:
      result.append(
        clip if clip.has_group else dataclasses.replace(clip, group=f"track:{clip.track}")
      )
      kept += clip.has_group
    else:
      result.append(dataclasses.replace(clip, group=groups[name], has_group=True))
  if groups and not used - {None}:
    raise UserError(
      f"--config.dataset.groups={path}: none of its {len(groups)} files is among the "
      "clips. Give paths relative to the folder, such as "
      f"{clips[0].track if clips else 'GENRE/FILE'}."
    )
  result, notes = merge_spellings(result)
  if missing := len(groups) - len(used - {None}):
    notes.append(f"{missing} lines of {path} name no clip of the source")
  if kept:
    notes.append(f"{kept} clips are not in {path}; each keeps the group of its source")
  if alone := sum(not clip.has_group for clip in result):
    notes.append(f"{alone} clips are not in {path}; each is a group of its own")
  return result, notes


def _listed_names(clips, groups: dict[str, str]) -> list[str | None]:
  """Return for each clip the name by which a table lists it, None if the table does not.

  A name that no clip has exactly also stands for a clip whose name is another spelling of it.
  """
  exact: list[str | None] = []
  for clip in clips:
    exact.append(next((name for name in _names_of(clip) if name in groups), None))
  similar: dict[str, set[str]] = {}
  for name in set(groups) - set(exact):
    similar.setdefault(name_key(name.replace("\\", "/")), set()).add(name)
  for index, clip in enumerate(clips):
    if exact[index] is None and similar:
      found = next((similar[key] for key in map(name_key, _names_of(clip)) if key in similar), ())
      if len({groups[name] for name in found}) == 1:
        exact[index] = min(found)
  return exact


def _names_of(clip) -> tuple[str, ...]:
  """Return the names by which a table of groups may list a clip, the most exact first."""
  base = os.path.basename(clip.path or clip.track)
  folder_and_base = "/".join(clip.path.split(os.sep)[-2:])
  return clip.track, base, os.path.splitext(base)[0], folder_and_base, clip.path
