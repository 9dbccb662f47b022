"""The splits of the tracks of a source, and a check that groups stay in one split."""

import dataclasses
from collections import defaultdict

from genre_jax.errors import UserError

# The published lists have this artist in two splits: disco.00049 and disco.00073 in train,
# disco.00069 in test.
KNOWN_ACROSS = frozenset({"artist-138"})


@dataclasses.dataclass(frozen=True)
class SplitAssignment:
  """Splits of tracks, or of segments.

  Attributes:
    name: The scheme that was used; it may differ from the one requested.
    splits: {track: 'train', 'validation' or 'test'}. Tracks that are not used are absent. Empty if
      leaky.
    leaky: True if segments of one track are in several splits.
    notes: Lines for the user.
    segments: {track: split of each of its segments}, only if leaky.
    known_groups: Splits whose groups are also in the train split by design. Confidence intervals
      treat each of their clips as a group of its own.
  """

  name: str
  splits: dict[str, str]
  leaky: bool = False
  notes: tuple[str, ...] = ()
  segments: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  known_groups: tuple[str, ...] = ()

  def split_of(self, track: str, segment: int = 0) -> str | None:
    """Return the split of a track or segment, None if it is not used."""
    if not self.leaky:
      return self.splits.get(track)
    segments = self.segments.get(track, ())
    return segments[segment] if 0 <= segment < len(segments) else None


def check_groups_apart(assignment: SplitAssignment, clips) -> None:
  """Raise UserError if a group is in two splits of a scheme that is not leaky.

  Exceptions are the official split of a dataset, splits in `assignment.known_groups`, and the one
  artist that the published lists have in two splits.

  Args:
    assignment: The splits.
    clips: Clips with their groups.
  """
  if assignment.leaky or assignment.name == "official":
    return
  known = KNOWN_ACROSS if assignment.name == "fault_filtered" else frozenset()
  splits = {
    track: "train" if split in assignment.known_groups else split
    for track, split in assignment.splits.items()
  }
  for group, places in groups_across(splits, clips).items():
    if group not in known:
      where = ", ".join(f"{track} in {split}" for track, split in places[:4])
      raise UserError(
        f"--config.split.name={assignment.name}: the group {group} is in two splits ({where}). "
        "Use --config.split.name=grouped_kfold, or fix --config.dataset.groups."
      )


def groups_across(splits, clips):
  """Return {group: [(track, split), ...]} of the groups in more than one split."""
  places = defaultdict(list)
  for clip in clips:
    if clip.track in splits:
      for group in clip.group.split(";"):
        places[group].append((clip.track, splits[clip.track]))
  return {group: rows for group, rows in places.items() if len({split for _, split in rows}) > 1}
