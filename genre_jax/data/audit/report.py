"""Make the report of an audit: duplicates, damaged clips and groups across splits.

The report consists of plain values, as they are written to `audit.json`.
"""

import collections
import statistics
from collections.abc import Iterator, Sequence

from genre_jax.data.audit import duplicates
from genre_jax.data.audit.clip_facts import ClipFacts
from genre_jax.data.groups import sets_of
from genre_jax.data.source import SPLITS, Clip, Source
from genre_jax.data.split_assignment import SplitAssignment
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError

# Least share of flat peaks of a clipped clip (two samples per second at 22050 Hz) and its least
# peak. Clean real clips have no flat peaks; below a quarter of full scale, low waves look flat in
# 16 bits.
CLIPPED_SHARE, CLIPPED_PEAK = 1e-4, 0.25
# Digital silence of this length at the end, or this share of the clip, is more than a pause.
SILENT_END_SECONDS, SILENT_SHARE = 1.0, 0.5
# A clip is short below this share of the median length.
SHORT_SHARE = 0.5
# Least shift and level difference that are reported; smaller ones are measurement errors.
SHIFTED_SECONDS, LEVEL_DB = 0.1, 0.5
# Up to this number of identical clips, all pairs are reported; above, those with the first clip.
ALL_PAIRS_OF = 20


def assignment_of(
  source: Source, facts: Sequence[ClipFacts], config, segments_per_track: int
) -> tuple[SplitAssignment | None, str]:
  """Return the splits of a run on the usable clips.

  Args:
    source: The source.
    facts: Facts of its clips, in order.
    config: `config.split`, with name, num_folds, fold and seed.
    segments_per_track: Number of segments of a track, for leaky_segments.

  Returns:
    (assignment, note); the assignment is None if the clips cannot be split, and the note says why.
  """
  clips = [clip for clip, fact in zip(source.clips, facts, strict=True) if not fact.reason]
  try:
    assignment = assign_splits(
      clips,
      name=config.name,
      num_folds=config.num_folds,
      fold=config.fold,
      seed=config.seed,
      segments_per_track=segments_per_track,
    )
  except UserError as error:
    return None, f"there is no split to check: {error}"
  return assignment, assignment.notes[0] if assignment.leaky else ""


def make_report(
  source: Source,
  facts: Sequence[ClipFacts],
  assignment: SplitAssignment | None,
  frame_rate: float,
  has_samples: bool,
  note: str = "",
) -> dict:
  """Return the report as plain values.

  Args:
    source: The source.
    facts: Facts of its clips, in order.
    assignment: Splits; None if there are none.
    frame_rate: Frame rate of the landmarks, Hz.
    has_samples: True if clips are audio, so that level and clipping are known.
    note: A line for the user about the splits.
  """
  clips = source.clips
  splits = {clip.track: split_of_clip(assignment, clip) for clip in clips}
  usable = [index for index, fact in enumerate(facts) if not fact.reason]
  pairs = [_pair(clips, splits, *row) for row in exact_pairs(facts, usable)]
  first_of = {}
  for index in usable:
    first_of.setdefault(facts[index].content, index)
  unique = list(first_of.values())
  matches = duplicates.find_duplicates([facts[index].landmarks for index in unique], frame_rate)
  for match in matches:
    pairs.append(_near_pair(clips, splits, unique, match, frame_rate, has_samples))
  index_of = {clip.track: index for index, clip in enumerate(clips)}
  sets = sets_of(((index_of[pair["a"]], index_of[pair["b"]]) for pair in pairs), len(clips))
  groups = groups_across(clips, splits) if assignment and not assignment.leaky else []
  report = {
    "source": source.name,
    "clips": len(clips),
    "usable": len(usable),
    "hours": round(sum(fact.seconds for fact in facts) / 3600, 4),
    "frames_per_second": round(frame_rate, 3),
    "has_samples": has_samples,
    "split": assignment.name if assignment else None,
    "notes": [*source.notes, *([note] if note else ())],
    "classes": _class_counts(source, facts, splits),
    "pairs": pairs,
    "sets": [[clips[index].track for index in group] for group in sets],
    "groups_across": groups,
    **_flagged(source, facts),
  }
  report["counts"] = {
    "exact_pairs": sum(pair["kind"] == "exact" for pair in pairs),
    "near_pairs": sum(pair["kind"] == "near" for pair in pairs),
    "pairs_across_splits": sum(pair["across_splits"] for pair in pairs),
    "pairs_of_two_labels": sum(not pair["same_label"] for pair in pairs),
    **{
      name: len(report[name])
      for name in ("sets", "groups_across", "unreadable", "silent", "truncated", "clipped")
    },
  }
  return report


def split_of_clip(assignment: SplitAssignment | None, clip: Clip) -> str:
  """Return the split of a clip, '' if it has none; those of its segments if leaky."""
  if assignment is None:
    return ""
  if assignment.leaky:
    present = set(assignment.segments.get(clip.track, ()))
    return "+".join(split for split in SPLITS if split in present)
  return assignment.splits.get(clip.track, "")


def exact_pairs(facts: Sequence[ClipFacts], usable: Sequence[int]) -> Iterator[tuple[int, int]]:
  """Yield pairs of clips with identical samples or spectrograms.

  Of more than ALL_PAIRS_OF identical clips, only the pairs with the first clip are given.

  Args:
    facts: Facts of all clips.
    usable: Indices of the clips to compare.

  Yields:
    (index, index) in `facts`.
  """
  same = collections.defaultdict(list)
  for index in usable:
    same[facts[index].content].append(index)
  for group in same.values():
    for position, a in enumerate(group if len(group) <= ALL_PAIRS_OF else group[:1]):
      for b in group[position + 1 :]:
        yield a, b


def _pair(clips, splits, a, b):
  """Return the JSON object of two identical clips."""
  one, other = clips[a], clips[b]
  split_a, split_b = splits[one.track], splits[other.track]
  return {
    "a": one.track,
    "b": other.track,
    "kind": "exact",
    "score": 1.0,
    "evidence": None,
    "offset_seconds": 0.0,
    "level_change_db": 0.0,
    "overlap_seconds": None,
    "changes": ["identical"],
    "labels_a": list(one.labels),
    "labels_b": list(other.labels),
    "same_label": one.labels == other.labels,
    "group_a": one.group if one.has_group else None,
    "group_b": other.group if other.has_group else None,
    "split_a": split_a or None,
    "split_b": split_b or None,
    "across_splits": bool(split_a and split_b and (split_a != split_b or "+" in split_a)),
  }


def _near_pair(clips, splits, unique, match, frame_rate, has_samples):
  """Return the JSON object of two clips that contain one recording."""
  offset = match.offset / frame_rate
  level = round(match.level_change, 1) if has_samples else None
  changes = ["shifted in time"] if abs(offset) >= SHIFTED_SECONDS else []
  if level is not None and abs(level) >= LEVEL_DB:
    changes.append("changed in level")
  if not changes or match.share < 0.95:
    changes.append("re-encoded or altered")
  return {
    **_pair(clips, splits, unique[match.a], unique[match.b]),
    "kind": "near",
    "score": round(match.share, 4),
    "evidence": round(match.evidence, 1),
    "offset_seconds": round(offset, 3),
    "level_change_db": level,
    "overlap_seconds": round(match.overlap / frame_rate, 2),
    "changes": changes,
  }


def groups_across(clips: Sequence[Clip], splits: dict[str, str]) -> list[dict]:
  """Return the groups with clips in more than one split.

  Args:
    clips: Clips with their groups.
    splits: {track: split}, '' if it has none.

  Returns:
    [{'group', 'clips': [{'clip', 'split'}, ...]}, ...], sorted by group.
  """
  places = collections.defaultdict(list)
  for clip in clips:
    if clip.has_group and splits[clip.track]:
      places[clip.group].append({"clip": clip.track, "split": splits[clip.track]})
  return [
    {"group": group, "clips": rows}
    for group, rows in sorted(places.items())
    if len({row["split"] for row in rows}) > 1
  ]


def _class_counts(source, facts, splits):
  """Return clips, usable clips, hours, groups and clips of each split, for each class."""
  rows = []
  for name in source.classes:
    of_class = [
      (clip, fact) for clip, fact in zip(source.clips, facts, strict=True) if name in clip.labels
    ]
    row = {
      "class": name,
      "clips": len(of_class),
      "usable": sum(not fact.reason for _, fact in of_class),
      "hours": round(sum(fact.seconds for _, fact in of_class) / 3600, 4),
      "groups": len({clip.group for clip, _ in of_class if clip.has_group}),
    }
    for split in SPLITS:
      row[split] = sum(split in splits[clip.track].split("+") for clip, _ in of_class)
    rows.append(row)
  return rows


def _flagged(source, facts):
  """Return lists of damaged clips by kind, each clip as {'clip', 'reason'}."""
  flagged = {"unreadable": [], "silent": [], "truncated": [], "clipped": []}

  def flag(kind, name, reason):
    flagged[kind].append({"clip": name, "reason": reason})

  for name, reason in source.skipped:
    flag("unreadable", name, reason)
  lengths = [fact.seconds for fact in facts if not fact.reason]
  median = statistics.median(lengths) if lengths else 0.0
  for fact in facts:
    if fact.reason:
      kind = next(
        (kind for kind in ("silent", "truncated") if fact.reason.startswith(f"is {kind}")),
        "unreadable",
      )
      flag(kind, fact.track, fact.reason)
      continue
    if fact.silent_seconds > SILENT_SHARE * fact.seconds:
      flag(
        "silent",
        fact.track,
        f"{fact.silent_seconds:.1f} of its {fact.seconds:.1f} s are digital silence",
      )
    if fact.silent_end_seconds >= SILENT_END_SECONDS:
      flag(
        "truncated",
        fact.track,
        f"its last {fact.silent_end_seconds:.1f} of {fact.seconds:.1f} s are digital silence",
      )
    if fact.seconds < SHORT_SHARE * median:
      flag(
        "truncated",
        fact.track,
        f"lasts {fact.seconds:.1f} s; half of the clips last {median:.1f} s or more",
      )
    if fact.flat_share is not None and fact.peak >= CLIPPED_PEAK:
      if fact.flat_share >= CLIPPED_SHARE:
        flag(
          "clipped",
          fact.track,
          f"{fact.flat_share:.2%} of its samples are in flat peaks at {fact.peak:.3f}",
        )
  return flagged


def summary(report: dict) -> list[str]:
  """Return the report as a few lines, for a terminal."""
  counts = report["counts"]
  lines = [
    f"audited   {report['usable']} of {report['clips']} clips, {report['hours']:.2f} h",
    f"pairs     {counts['exact_pairs']} exact, {counts['near_pairs']} near, in {counts['sets']}"
    f" sets; {counts['pairs_across_splits']} across splits,"
    f" {counts['pairs_of_two_labels']} with two labels",
  ]
  for pair in report["pairs"][:10]:
    lines.append(
      f"          {pair['a']} = {pair['b']}: {pair['kind']}, score"
      f" {pair['score']:.2f}, shift {pair['offset_seconds']:+.2f} s"
    )
  if len(report["pairs"]) > 10:
    lines.append(f"          and {len(report['pairs']) - 10} more")
  if report["split"]:
    lines.append(f"split     {report['split']}: {counts['groups_across']} groups in two splits")
  lines += [
    f"          {row['group']}: "
    + ", ".join(f"{clip['clip']} {clip['split']}" for clip in row["clips"][:5])
    for row in report["groups_across"][:10]
  ]
  clipped = f"{counts['clipped']} clipped" if report["has_samples"] else "clipping unknown"
  lines.append(
    f"clips     {counts['unreadable']} unreadable, {counts['truncated']} truncated,"
    f" {counts['silent']} silent, {clipped}"
  )
  lines += [f"note      {note}" for note in report["notes"]]
  return lines
