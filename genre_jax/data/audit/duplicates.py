"""Find clips of a collection that are copies of one recording.

An inverted index over the keys of landmarks gives candidates: pairs of clips that share keys at one
time offset. A candidate is a pair of copies if far more landmarks match at that offset than chance
explains. A clip has a bounded number of keys, and each key is compared with a bounded number of
equal keys. The work thus grows as N log N, as sorting the keys does, not with the number of pairs.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from genre_jax.data.audit.landmarks import Landmarks

# Number of equal keys that a key is compared with: the next ones in the order of clips. A key that
# more clips have is of little use, and copies are neighbors in every key that they share.
MAX_EQUALS = 16
# Keys that must agree on the offset before a pair is compared: this number, and this share of the
# keys of the clip with fewer keys. In the worst transformation measured, copies of 15 s had 4.9 %
# or more from audio, and 0.4 % from 12.9 frames per second.
MIN_VOTES, MIN_VOTES_SHARE = 3, 0.004
# Offsets compared for one pair of clips: in loops, the most frequent offset may be off by a bar.
MAX_OFFSETS = 2
# Landmarks match within one frame and one band.
MATCH_FRAMES, MATCH_BANDS = 1, 1
# Least `evidence` and least share of matching landmarks of a pair of copies. Of 258,000 pairs of
# real clips that are not copies, none had an evidence above 5, except two tracks over one loop (9.8
# at a share of 0.25).
MIN_EVIDENCE, MIN_SHARE = 8.0, 0.3
# Two tracks of one beat and key agree at many offsets, copies at one. This evidence must remain
# against the best 5 % of the other offsets, unless the share is at least SURE_SHARE.
MIN_CONTRAST, SURE_SHARE = 4.0, 0.8
# Other offsets differ by more than this, and have at least this share of the overlap.
OTHER_SECONDS, OTHER_OVERLAP = 0.25, 0.5
# Clips compared with one clip, those with most votes; bounds the work if keys are common.
MAX_CANDIDATES = 16
# Clips whose votes are counted at once; bounds memory.
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Match:
  """Two clips that contain one recording.

  Attributes:
    a: Index of the first clip.
    b: Index of the second clip.
    offset: Frames; frame t of `a` corresponds to frame t + offset of `b`.
    share: Share of the landmarks in the overlap that match, 0 to 1.
    evidence: Minus log10 of the probability of that share by chance.
    num_matching: Number of landmarks that match.
    level_change: Median level of b minus a over the matching landmarks, dB.
    overlap: Length of the overlap in frames.
  """

  a: int
  b: int
  offset: int
  share: float
  evidence: float
  num_matching: int
  level_change: float
  overlap: int


def find_duplicates(clips: Sequence[Landmarks], frame_rate: float) -> list[Match]:
  """Return all pairs of clips that contain one recording, by decreasing evidence.

  Args:
    clips: Landmarks of the clips, all of one frame rate.
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
  """Yield (a, b, offset) of clips that share keys at one offset in frames, a < b."""
  starts = np.concatenate([[0], np.cumsum([len(clip.keys) for clip in clips])])
  total = int(starts[-1])
  if not total:
    return
  # Sorted by key, then clip, in one integer: half the memory and a third of the time of argsort.
  order = np.empty(total, np.uint64)
  for clip, start in zip(clips, starts, strict=False):
    order[start : start + len(clip.keys)] = clip.keys
  order = (order << np.uint64(32)) | np.arange(total, dtype=np.uint64)
  order.sort()
  keys = (order >> np.uint64(32)).astype(np.uint32)
  entries = (order & np.uint64(0xFFFFFFFF)).astype(np.uint32)
  del order
  places = np.empty(total, np.uint32)  # index of each entry in the sorted order
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
  """Yield (a, b, offset) with enough votes: at most MAX_OFFSETS a pair, MAX_CANDIDATES a clip."""
  votes, counts = np.unique(votes, return_counts=True)
  # A shift by a fraction of a frame spreads votes over neighboring offsets.
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
  """Compare two clips at one offset.

  Args:
    one: Landmarks of clip `a`.
    other: Landmarks of clip `b`.
    offset: Frames; frame t of `a` is compared with frame t + offset of `b`.
    a: Index of the first clip.
    b: Index of the second clip.
  """
  begin, end = max(0, -offset), min(one.num_frames, other.num_frames - offset)
  first = slice(*np.searchsorted(one.times, (begin, end)))
  second = slice(*np.searchsorted(other.times, (begin + offset, end + offset)))
  times_a, bands_a = one.times[first] + offset, one.bands[first].astype(np.int64)
  times_b, bands_b = other.times[second], other.bands[second].astype(np.int64)
  smaller = min(len(times_a), len(times_b))
  if not smaller:
    return Match(a, b, offset, 0.0, 0.0, 0, 0.0, max(0, end - begin))
  # One integer for time and band. 512 leaves a margin between the last band of a frame and the
  # first band of the next.
  codes_a = times_a.astype(np.int64) * 512 + bands_a
  codes_b = times_b.astype(np.int64) * 512 + bands_b
  partner = np.full(len(codes_a), -1)
  matched = np.zeros(len(codes_b), bool)
  for frames in range(-MATCH_FRAMES, MATCH_FRAMES + 1):
    # Landmarks of one frame are more than MATCH_BANDS apart, so at most one matches.
    wanted = codes_a + frames * 512
    place = np.minimum(np.searchsorted(codes_b, wanted - MATCH_BANDS), len(codes_b) - 1)
    hit = np.abs(codes_b[place] - wanted) <= MATCH_BANDS
    partner[hit] = place[hit]
    matched[place[hit]] = True
  num_matching = int(min((partner >= 0).sum(), matched.sum()))
  # By chance, a landmark matches as often as the other clip has landmarks in the same bands.
  density = np.bincount(bands_b, minlength=256 + 2 * MATCH_BANDS)
  width = 2 * MATCH_BANDS + 1
  density = np.convolve(density, np.ones(width), "same")[bands_a] * (2 * MATCH_FRAMES + 1)
  chance = float(np.mean(-np.expm1(-density / max(end - begin, 1))))
  share = num_matching / smaller
  change = other.levels[second][partner[partner >= 0]].astype(np.float32) - one.levels[first][
    partner >= 0
  ].astype(np.float32)
  return Match(
    a,
    b,
    offset,
    share,
    evidence(share, chance, smaller),
    num_matching,
    float(np.median(change)) if len(change) else 0.0,
    end - begin,
  )


def contrast(one: Landmarks, other: Landmarks, match: Match, frame_rate: float) -> float:
  """Return the evidence for a match if chance is the share of matches at other offsets.

  Args:
    one: Landmarks of clip `match.a`.
    other: Landmarks of clip `match.b`.
    match: Result of `compare`.
    frame_rate: Hz.
  """
  bands, others = one.bands.astype(np.int64), other.bands.astype(np.int64)
  row, column = np.nonzero(np.abs(bands[:, None] - others) <= MATCH_BANDS)
  # Number of matching landmarks at each offset from -one.num_frames on.
  length = one.num_frames + other.num_frames + 1
  num_matching = np.bincount(
    other.times[column] - one.times[row] + one.num_frames, minlength=length
  )
  num_matching = np.convolve(num_matching, np.ones(2 * MATCH_FRAMES + 1), "same")
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
  level = float(np.quantile(np.minimum(num_matching[away] / smaller[away], 1.0), 0.95))
  return evidence(match.share, level, round(match.num_matching / match.share))


def evidence(share: float, chance: float, count: int) -> float:
  """Return minus log10 of the probability of a share by chance.

  It is bounded by Chernoff's inequality for independent trials: count * KL(share || chance).

  Args:
    share: Observed share of successes.
    chance: Probability of a success.
    count: Number of trials.
  """
  chance = min(max(chance, 1e-6), 1 - 1e-6)
  if share <= chance:
    return 0.0
  divergence = share * math.log(share / chance)
  if share < 1:
    divergence += (1 - share) * math.log((1 - share) / (1 - chance))
  return count * divergence / math.log(10)
