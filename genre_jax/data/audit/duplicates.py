"""Which clips of a collection are the same recording: an inverted index over keys, then a check.

Part of the audit, after landmarks in the flow. Two clips that share keys at one distance in time
are candidates; a candidate is a pair if, laid over each other at that distance, far more of their
landmarks meet than chance explains. A clip has a bounded number of keys and each key is compared
with a bounded number of its equals, so the work grows as sorting the keys does, N log N, and not
with the number of pairs.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from genre_jax.data.audit.landmarks import Landmarks

# Equal keys that one is compared with: the next ones in the order of clips. A key that more clips
# have says little, and copies of one recording stand next to each other in every key they share.
MAX_EQUALS = 16
# Keys that must agree on the distance in time before a pair is looked at: so many, and this share
# of the keys of the clip that has fewer. Copies of 15 s from sound had 4.9 % or more in the worst
# of the transformations measured, from 12.9 frames a second 0.4 %.
MIN_VOTES, MIN_VOTES_SHARE = 3, 0.004
# Distances looked at for one pair of clips; loops repeat, and the best votes may be a bar off.
MAX_OFFSETS = 2
# Landmarks meet within one frame and one band.
MEET_FRAMES, MEET_BANDS = 1, 1
# A pair: see `evidence`, and the share of landmarks that meet. Of 258,000 pairs of real clips that
# are no copies none had more than 5, but for two songs over one loop, 9.8 at a share of 0.25.
MIN_EVIDENCE, MIN_SHARE = 8.0, 0.3
# Two pieces of one beat and key agree at many distances in time, copies at one: so much evidence
# must remain against the distances where they agree best, the highest twentieth; unless the share
# leaves no doubt.
MIN_CONTRAST, SURE_SHARE = 4.0, 0.8
# Distances nearer than this are not other ones; and less overlap than this share says nothing.
OTHER_SECONDS, OTHER_OVERLAP = 0.25, 0.5
# Clips looked at for one clip, those with most votes; bounds the work where keys are common.
MAX_CANDIDATES = 16
# Clips whose votes are counted together; bounds memory.
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Match:
  """Two clips that hold one recording.

  Attributes:
    a: index of the earlier clip.
    b: index of the other.
    offset: frames; what sounds at t in `a` sounds at t + offset in `b`.
    share: of the landmarks in the overlap, how many meet, 0 to 1.
    evidence: minus log10 of how probable that is by chance.
    meeting: number of landmarks that meet.
    level_change: median of b minus a over them, dB.
    overlap: frames.
  """

  a: int
  b: int
  offset: int
  share: float
  evidence: float
  meeting: int
  level_change: float
  overlap: int


def find_duplicates(clips: Sequence[Landmarks], frame_rate: float) -> list[Match]:
  """Every pair of clips that holds one recording, the surest first.

  Args:
    clips: all of one frame rate.
    frame_rate: Hz.
  """
  best: dict[tuple[int, int], Match] = {}
  for a, b, offset in candidates(clips):
    match = compare(clips[a], clips[b], offset, a, b)
    if match.evidence < MIN_EVIDENCE or match.share < MIN_SHARE:
      continue
    if (a, b) in best and match.evidence <= best[a, b].evidence:
      continue
    if match.share >= SURE_SHARE or contrast(clips[a], clips[b], match, frame_rate) >= MIN_CONTRAST:
      best[a, b] = match
  return sorted(best.values(), key=lambda match: -match.evidence)


def candidates(clips: Sequence[Landmarks]) -> Iterator[tuple[int, int, int]]:
  """Yields (a, b, offset) of clips that share keys at one distance in time, a < b."""
  starts = np.concatenate([[0], np.cumsum([len(clip.keys) for clip in clips])])
  total = int(starts[-1])
  if not total:
    return
  # Sorted by key, then by clip, in one integer: half the memory and a third of the time of argsort.
  order = np.empty(total, np.uint64)
  for clip, start in zip(clips, starts, strict=False):
    order[start : start + len(clip.keys)] = clip.keys
  order = (order << np.uint64(32)) | np.arange(total, dtype=np.uint64)
  order.sort()
  keys = (order >> np.uint64(32)).astype(np.uint32)
  entries = (order & np.uint64(0xFFFFFFFF)).astype(np.uint32)
  del order
  places = np.empty(total, np.uint32)  # of each entry in the sorted order
  places[entries] = np.arange(total, dtype=np.uint32)
  times = np.concatenate([clip.key_times for clip in clips])[entries]
  owners = np.repeat(np.arange(len(clips), dtype=np.uint32), np.diff(starts))[entries]
  for low in range(0, len(clips), BLOCK):
    high = min(low + BLOCK, len(clips))
    here = places[starts[low] : starts[high]].astype(np.int64)
    votes = []
    for step in range(1, MAX_EQUALS + 1):
      here = here[here + step < total]
      here = here[keys[here + step] == keys[here]]
      if not len(here):
        break
      offset = times[here + step].astype(np.int64) - times[here] + (1 << 23)
      pair = (owners[here].astype(np.uint64) - np.uint64(low)) << np.uint64(54)
      pair |= owners[here + step].astype(np.uint64) << np.uint64(24)
      votes.append(pair | offset.astype(np.uint64))
    if votes:
      yield from _elect(np.concatenate(votes), low, np.diff(starts))


def _elect(votes, low, key_counts):
  """(a, b, offset) with enough votes of one block: MAX_OFFSETS a pair, MAX_CANDIDATES a clip."""
  votes, counts = np.unique(votes, return_counts=True)
  # A shift that is no whole number of frames spreads votes over neighboring distances.
  near = counts.copy()
  for step in (1, 2):
    if len(votes) > step:
      close = votes[step:] - votes[:-step] <= 1
      near[:-step] += np.where(close, counts[step:], 0)
      near[step:] += np.where(close, counts[:-step], 0)
  elected = np.flatnonzero(near >= MIN_VOTES)
  fewer = np.minimum(
    key_counts[low + (votes[elected] >> np.uint64(54)).astype(np.int64)],
    key_counts[(votes[elected] >> np.uint64(24)).astype(np.int64) % (1 << 30)],
  )
  elected = elected[near[elected] >= MIN_VOTES_SHARE * fewer]
  pairs = votes[elected] >> np.uint64(24)
  order = np.lexsort((-counts[elected], -near[elected], pairs))
  elected, pairs = elected[order], pairs[order]
  place = np.arange(len(pairs)) - np.searchsorted(pairs, pairs)
  elected = elected[place < MAX_OFFSETS]
  owners = votes[elected] >> np.uint64(54)
  order = np.lexsort((-near[elected], owners))
  elected, owners = elected[order], owners[order]
  place = np.arange(len(owners)) - np.searchsorted(owners, owners)
  for index in elected[place < MAX_CANDIDATES]:
    vote = int(votes[index])
    yield low + (vote >> 54), (vote >> 24) & ((1 << 30) - 1), (vote & 0xFFFFFF) - (1 << 23)


def compare(one: Landmarks, other: Landmarks, offset: int, a: int = 0, b: int = 1) -> Match:
  """How well two clips agree at one distance in time.

  Args:
    one: of clip `a`.
    other: of clip `b`.
    offset: frames; the frame t of `a` is laid over t + offset of `b`.
  """
  begin, end = max(0, -offset), min(one.num_frames, other.num_frames - offset)
  first = slice(*np.searchsorted(one.times, (begin, end)))
  second = slice(*np.searchsorted(other.times, (begin + offset, end + offset)))
  times_a, bands_a = one.times[first] + offset, one.bands[first].astype(np.int64)
  times_b, bands_b = other.times[second], other.bands[second].astype(np.int64)
  smaller = min(len(times_a), len(times_b))
  if not smaller:
    return Match(a, b, offset, 0.0, 0.0, 0, 0.0, max(0, end - begin))
  # One integer for time and band; neighbors in time are a row apart, and the margin keeps the
  # last band of one frame from the first of the next.
  codes_a = times_a.astype(np.int64) * 512 + bands_a
  codes_b = times_b.astype(np.int64) * 512 + bands_b
  partner = np.full(len(codes_a), -1)
  met = np.zeros(len(codes_b), bool)
  for frames in range(-MEET_FRAMES, MEET_FRAMES + 1):
    # Landmarks of one frame stand more than MEET_BANDS apart: the first in reach is the only one.
    wanted = codes_a + frames * 512
    place = np.minimum(np.searchsorted(codes_b, wanted - MEET_BANDS), len(codes_b) - 1)
    hit = np.abs(codes_b[place] - wanted) <= MEET_BANDS
    partner[hit] = place[hit]
    met[place[hit]] = True
  meeting = int(min((partner >= 0).sum(), met.sum()))
  # By chance, a landmark meets one of the other clip as often as that has landmarks in its bands.
  density = np.bincount(bands_b, minlength=256 + 2 * MEET_BANDS)
  width = 2 * MEET_BANDS + 1
  density = np.convolve(density, np.ones(width), "same")[bands_a] * (2 * MEET_FRAMES + 1)
  chance = float(np.mean(-np.expm1(-density / max(end - begin, 1))))
  share = meeting / smaller
  change = other.levels[second][partner[partner >= 0]].astype(np.float32) - one.levels[first][
    partner >= 0
  ].astype(np.float32)
  return Match(
    a,
    b,
    offset,
    share,
    evidence(share, chance, smaller),
    meeting,
    float(np.median(change)) if len(change) else 0.0,
    end - begin,
  )


def contrast(one: Landmarks, other: Landmarks, match: Match, frame_rate: float) -> float:
  """The evidence for a match where chance is what the two clips reach at other distances in time.

  Args:
    one: of clip `match.a`.
    other: of clip `match.b`.
    match: of `compare`.
    frame_rate: Hz.
  """
  bands, others = one.bands.astype(np.int64), other.bands.astype(np.int64)
  row, column = np.nonzero(np.abs(bands[:, None] - others) <= MEET_BANDS)
  # How many landmarks meet at every offset from -one.num_frames on.
  length = one.num_frames + other.num_frames + 1
  meeting = np.bincount(other.times[column] - one.times[row] + one.num_frames, minlength=length)
  meeting = np.convolve(meeting, np.ones(2 * MEET_FRAMES + 1), "same")
  offsets = np.arange(length) - one.num_frames
  begin = np.maximum(0, -offsets)
  end = np.maximum(begin, np.minimum(one.num_frames, other.num_frames - offsets))
  smaller = np.minimum(
    np.searchsorted(one.times, end) - np.searchsorted(one.times, begin),
    np.searchsorted(other.times, end + offsets) - np.searchsorted(other.times, begin + offsets),
  )
  away = np.abs(offsets - match.offset) > OTHER_SECONDS * frame_rate
  away &= (end - begin >= OTHER_OVERLAP * match.overlap) & (smaller > 0)
  if not away.any():
    return match.evidence
  level = float(np.quantile(np.minimum(meeting[away] / smaller[away], 1.0), 0.95))
  return evidence(match.share, level, round(match.meeting / match.share))


def evidence(share: float, chance: float, count: int) -> float:
  """Minus log10 of the chance of so large a share, by Chernoff's bound for independent trials."""
  chance = min(max(chance, 1e-6), 1 - 1e-6)
  if share <= chance:
    return 0.0
  divergence = share * math.log(share / chance)
  if share < 1:
    divergence += (1 - share) * math.log((1 - share) / (1 - chance))
  return count * divergence / math.log(10)
