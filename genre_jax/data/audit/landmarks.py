"""Find landmarks of a clip: peaks of its spectrogram, and keys that index them.

A landmark is a local maximum in time and frequency. Its band and time survive re-encoding, a change
of level, noise and missing bands. A key encodes the bands and time differences of three close
landmarks, so it does not depend on their time in the clip. The method works at any frame rate, such
as 43 frames per second of audio or the 12.9 of the GTZAN archive.

References: Wang (2003), "An industrial-strength audio search algorithm", for peaks combined into
hashes; Six and Leman (2014), "Panako", for three peaks instead of two, which keeps keys rare in a
large collection.
"""

import dataclasses

import numpy as np
import scipy.ndimage

from genre_jax.data.frontend import FrontendConfig

# Changes whenever landmarks or keys do: chunks of an interrupted audit are then not reused.
VERSION = 1
# Front end for audio: every frame of the usual log-mel, with its level. A hop of half the length
# finds no more copies (measured on re-encoded and shifted real clips).
DENSE = FrontendConfig(frame_stride=1.0, db_ref="full_scale", top_db=0.0)

# A landmark is the maximum within this distance in seconds and bands. Of (0.06, 3), (0.12, 5) and
# (0.2, 8), the first gave most keys for clips of 2-3 s.
NEAR_SECONDS, NEAR_BANDS = 0.06, 3
# Lowest level below the clip's maximum; lower peaks are masked by the noise of an encoder.
FLOOR_DB = 60.0
# Landmarks kept per second: the most prominent ones over their surroundings.
PER_SECOND = 20
AROUND_SECONDS, AROUND_BANDS = 0.5, 12
# The other two landmarks of a key are among the next FAN within these bounds.
FAN = 4
NEAREST_SECONDS, FARTHEST_SECONDS, FARTHEST_BANDS = 0.04, 1.2, 40
# Landmarks searched for that: the average number in FARTHEST_SECONDS.
AHEAD = 24
# Keys of one clip: those of the lowest hashes, so that two copies keep the same keys. It bounds the
# index and the cost of a full track.
MAX_KEYS = 1000


@dataclasses.dataclass(frozen=True)
class Landmarks:
  """Landmarks and keys of a clip.

  Attributes:
    num_frames: Length of the clip in frames.
    times: int32[landmarks], frames, increasing.
    bands: uint8[landmarks].
    levels: float16[landmarks], dB of the log-mel.
    keys: uint32[keys], strictly increasing.
    key_times: int32[keys], frame of the first landmark of a key.
  """

  num_frames: int
  times: np.ndarray
  bands: np.ndarray
  levels: np.ndarray
  keys: np.ndarray
  key_times: np.ndarray


def find_landmarks(log_mel: np.ndarray, frame_rate: float) -> Landmarks:
  """Find the landmarks and keys of one clip.

  Args:
    log_mel: float32[frames, n_mels] in dB, n_mels at most 256; any reference.
    frame_rate: Hz.

  Raises:
    ValueError: If n_mels exceeds 256.
  """
  num_frames, n_mels = log_mel.shape
  if n_mels > 256:
    raise ValueError(f"bands of landmarks are stored in 8 bits: n_mels={n_mels} exceeds 256")
  top = log_mel.max()
  # Digital silence would otherwise be infinitely low.
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
  """Return Landmarks with the keys of int[landmarks] times (increasing) and bands."""
  times, bands = np.asarray(times, np.int32), np.asarray(bands, np.int32)
  keys, key_times = _keys(times, bands, frame_rate)
  return Landmarks(
    num_frames, times, bands.astype(np.uint8), np.asarray(levels, np.float16), keys, key_times
  )


def _most_prominent(times, prominence, frame_rate):
  """Return the indices, increasing, of the PER_SECOND most prominent landmarks of each second."""
  second = (times / frame_rate).astype(np.int64)
  order = np.lexsort((-prominence, second))
  second = second[order]
  place = np.arange(len(order)) - np.searchsorted(second, second)
  return np.sort(order[place < PER_SECOND])


def _keys(times, bands, frame_rate):
  """Return (uint32[keys], int32[keys] times) of landmarks in the order of time."""
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
  """Return uint32 hashes of uint64 codes by splitmix64 (Steele, Lea and Flood, 2014)."""
  codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return ((codes ^ (codes >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
