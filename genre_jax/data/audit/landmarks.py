"""Landmarks of a clip: the peaks of its spectrogram, and keys under which they are found again.

Part of the audit, after log-mel in the flow. A landmark is a local maximum in time and frequency;
which band and when survives re-encoding, a change of level, noise and missing bands. A key names
three landmarks near each other by their bands and distances in time, so that it is the same
wherever in the clip they stand. Works at any frame rate: 43 a second from sound, 12.9 from the
GTZAN archive.

Reference: peaks and their combination into hashes are those of Wang (2003), "An industrial-strength
audio search algorithm"; three peaks instead of two, so that keys stay rare in a large collection,
as Six and Leman (2014), "Panako", have it.
"""

import dataclasses

import numpy as np
import scipy.ndimage

from genre_jax.data.frontend import FrontendConfig

# Changes whenever a landmark or key does: what was kept of an interrupted audit is then not reused.
VERSION = 1
# How sound is heard where the material leaves a choice: every frame of the usual log-mel, the level
# kept. A hop of half the length finds no more (measured on re-encoded and shifted real clips).
DENSE = FrontendConfig(frame_stride=1.0, db_ref="full_scale", top_db=0.0)

# A landmark is the maximum within so many seconds and bands to either side. Of (0.06, 3), (0.12, 5)
# and (0.2, 8) the first kept most keys of clips of 2-3 s.
NEAR_SECONDS, NEAR_BANDS = 0.06, 3
# Below the clip's maximum; what is weaker drowns in the noise of an encoder.
FLOOR_DB = 60.0
# Kept in each second: those that stand out most from their surroundings.
PER_SECOND = 20
AROUND_SECONDS, AROUND_BANDS = 0.5, 12
# The other two landmarks of a key: from the next FAN within these bounds.
FAN = 4
NEAREST_SECONDS, FARTHEST_SECONDS, FARTHEST_BANDS = 0.04, 1.2, 40
# Landmarks looked at for that: as many as FARTHEST_SECONDS hold on average.
AHEAD = 24
# Keys of one clip: those of the lowest hashes, so that two copies keep the same ones. It bounds the
# index, and what a full song costs.
MAX_KEYS = 1000


@dataclasses.dataclass(frozen=True)
class Landmarks:
  """What is kept of a clip in order to find it again.

  Attributes:
    num_frames: length of the clip.
    times: int32[landmarks], frames, rising.
    bands: uint8[landmarks].
    levels: float16[landmarks], dB as the log-mel has them.
    keys: uint32[keys], rising, no two the same.
    key_times: int32[keys], frame of a key's first landmark.
  """

  num_frames: int
  times: np.ndarray
  bands: np.ndarray
  levels: np.ndarray
  keys: np.ndarray
  key_times: np.ndarray


def find_landmarks(log_mel: np.ndarray, frame_rate: float) -> Landmarks:
  """Landmarks and keys of one clip.

  Args:
    log_mel: float32[frames, n_mels] in dB, n_mels at most 256; any reference.
    frame_rate: Hz.
  """
  num_frames, n_mels = log_mel.shape
  if n_mels > 256:
    raise ValueError(f"landmarks count bands in 8 bits: {n_mels} bands are too many")
  top = log_mel.max()
  # Digital silence would otherwise stand infinitely far below.
  levels = np.maximum(log_mel, top - 80.0)
  near = max(1, round(NEAR_SECONDS * frame_rate))
  highest = scipy.ndimage.maximum_filter(levels, (2 * near + 1, 2 * NEAR_BANDS + 1))
  around = scipy.ndimage.uniform_filter(
    levels, (2 * round(AROUND_SECONDS * frame_rate) + 1, 2 * AROUND_BANDS + 1)
  )
  times, bands = np.nonzero((levels == highest) & (levels > top - FLOOR_DB))
  prominence = (levels - around)[times, bands]
  kept = _most_prominent(times, prominence, frame_rate)
  times, bands = times[kept], bands[kept]
  return with_keys(num_frames, times, bands, log_mel[times, bands], frame_rate)


def with_keys(num_frames, times, bands, levels, frame_rate) -> Landmarks:
  """Landmarks of int[landmarks] times, rising, and bands, with the keys that they make."""
  times, bands = np.asarray(times, np.int32), np.asarray(bands, np.int32)
  keys, key_times = _keys(times, bands, frame_rate)
  return Landmarks(
    num_frames, times, bands.astype(np.uint8), np.asarray(levels, np.float16), keys, key_times
  )


def _most_prominent(times, prominence, frame_rate):
  """Indices, rising, of the PER_SECOND most prominent of each second."""
  second = (times / frame_rate).astype(np.int64)
  order = np.lexsort((-prominence, second))
  second = second[order]
  place = np.arange(len(order)) - np.searchsorted(second, second)
  return np.sort(order[place < PER_SECOND])


def _keys(times, bands, frame_rate):
  """(uint32 keys, int32 times) of landmarks in the order of time."""
  count = len(times)
  ahead = np.arange(count)[:, None] + np.arange(1, AHEAD + 1)
  inside = ahead < count
  ahead = np.minimum(ahead, max(count - 1, 0))
  later = times[ahead] - times[:, None]
  higher = bands[ahead] - bands[:, None]
  inside &= later >= max(1, NEAREST_SECONDS * frame_rate)
  inside &= later <= FARTHEST_SECONDS * frame_rate
  inside &= np.abs(higher) <= FARTHEST_BANDS
  place = np.cumsum(inside, axis=1) - 1
  others = np.full((count, FAN), -1)
  row, column = np.nonzero(inside & (place < FAN))
  others[row, place[row, column]] = column
  parts, part_times = [], []
  for first in range(FAN):
    for second in range(first + 1, FAN):
      anchors = np.flatnonzero(others[:, second] >= 0)
      one, two = others[anchors, first], others[anchors, second]
      code = bands[anchors].astype(np.uint64)
      for value, bits in (
        (higher[anchors, one] + FARTHEST_BANDS, 7),
        (higher[anchors, two] + FARTHEST_BANDS, 7),
        (later[anchors, one], 10),
        (later[anchors, two], 10),
      ):
        code = (code << np.uint64(bits)) | value.astype(np.uint64)
      parts.append(code)
      part_times.append(times[anchors])
  keys, first = np.unique(_mix(np.concatenate(parts)), return_index=True)
  return keys[:MAX_KEYS], np.concatenate(part_times)[first[:MAX_KEYS]]


def _mix(codes):
  """uint32 hash of uint64 codes: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
  codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return ((codes ^ (codes >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
