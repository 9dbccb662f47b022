"""Measure detection rate and speed of the audit: `python -m benchmarks.audit --data=DIR`.

Plants transformed copies of real recordings beside the originals. Prints tables in Markdown: the
detection rate of each transformation with its 95 % interval, and the false pairs. With --files it
also times an audit of that number of files, with --growth the search at each collection size. DIR
is a folder of real audio, GENRE/FILE, in which no two files contain the same recording.
"""

import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.signal
import soundfile
import soxr
from absl import flags
from tqdm import tqdm

from benchmarks.degraded_audio import RATE, mp3, noisy
from genre_jax import command_line
from genre_jax.data import audio, log_mel
from genre_jax.data.audit import duplicates, landmarks
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.registry import open_source
from genre_jax.errors import UserError
from genre_jax.evaluation.metrics import wilson_interval
from genre_jax.studies.corpora import find_corpus

DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
PLANTED = flags.DEFINE_bool("planted", True, "Detect planted copies.")
FILES = flags.DEFINE_integer("files", 0, "Time an audit of this number of files of 30 s.")
GROWTH = flags.DEFINE_list("growth", [], "Numbers of clips at which to time the search.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of shifts, gains and noise.")
# Shorter excerpts are reported separately.
SHORT_SECONDS = 10.0
MAX_SHIFT_SECONDS = 5.0


def shift_start(samples, rng):
  """Remove the first 0 to 5 s, at most half of the clip."""
  limit = min(MAX_SHIFT_SECONDS, len(samples) / RATE / 2)
  return samples[int(rng.uniform(0, limit) * RATE) :]


def change_gain(samples, rng):
  """Apply a gain of -20 to +6 dB, clip at full scale, and round to 16 bits."""
  samples = np.clip(samples * 10 ** (rng.uniform(-20, 6) / 20), -1, 1)
  return (np.rint(samples * 32767) / 32767).astype(np.float32)


def limit_band(samples, rng):
  """Keep 300 to 3400 Hz."""
  band = scipy.signal.butter(6, [300, 3400], "bandpass", fs=RATE, output="sos")
  return scipy.signal.sosfilt(band, samples).astype(np.float32)


TRANSFORMS = {
  "MP3, 128 kbit/s": lambda samples, rng: mp3(samples, 128),
  "MP3, 64 kbit/s": lambda samples, rng: mp3(samples, 64),
  "gain, -20 to +6 dB": change_gain,
  "shift, 0 to 5 s": shift_start,
  "band, 300 to 3400 Hz": limit_band,
  "noise, 20 dB": noisy,
  "shift, gain and MP3, 64 kbit/s": lambda samples, rng: mp3(
    change_gain(shift_start(samples, rng), rng), 64
  ),
}


def from_audio(samples):
  """Return landmarks as the audit computes them from audio."""
  return landmarks.find_landmarks(
    log_mel.log_mel(samples, landmarks.DENSE), landmarks.DENSE.frame_rate
  )


def from_archive(samples):
  """Return landmarks as the audit computes them from an 8-bit log-mel of 12.9 frames/s."""
  levels = log_mel.log_mel(samples, FrontendConfig())
  low, high = levels.min(), levels.max()
  levels = np.rint((levels - low) / (high - low) * 255) / 255 * 80 - 80
  return landmarks.find_landmarks(levels.astype(np.float32), FrontendConfig().frame_rate)


def read_clips():
  """Return float32[samples] of every clip of --data."""
  folder = find_corpus("gtzan", DATA.value, "audio")
  source = open_source("auto", str(folder), "all")
  return [audio.read_audio(clip.path, RATE) for clip in source.clips]


def measure_detection():
  """Plant copies and print the tables."""
  clips = read_clips()
  is_long = np.array([len(samples) >= SHORT_SECONDS * RATE for samples in clips])
  forms = {"audio, 43 frames/s": from_audio, "archive, 12.9 frames/s": from_archive}
  rates = (landmarks.DENSE.frame_rate, FrontendConfig().frame_rate)
  originals = {form: [make(samples) for samples in clips] for form, make in forms.items()}
  count, false, compared = len(clips), dict.fromkeys(forms, 0), 0
  print(f"{is_long.sum()} excerpts of 15-20 s, {(~is_long).sum()} of 2-3 s\n")
  print(
    "| copy | "
    + " | ".join(f"{form}, {size}" for form in forms for size in ("long", "short"))
    + " |\n|---|"
    + "---|" * 2 * len(forms)
  )
  for name, transform in TRANSFORMS.items():
    copies = {form: [] for form in forms}
    for index, samples in enumerate(tqdm(clips, desc=name, leave=False, disable=None)):
      copy = transform(samples, np.random.default_rng([SEED.value, index]))
      for form, make in forms.items():
        copies[form].append(make(copy))
    cells = []
    for form, rate in zip(forms, rates, strict=True):
      found = {
        (match.a, match.b)
        for match in duplicates.find_duplicates(originals[form] + copies[form], rate)
      }
      planted = {(index, index + count) for index in range(count)}
      false[form] += len(found - planted)
      hit = np.array([(index, index + count) in found for index in range(count)])
      for subset in (is_long, ~is_long):
        low, high = wilson_interval(hit[subset].mean(), subset.sum())
        cells.append(
          f"{hit[subset].sum()} of {subset.sum()}: {hit[subset].mean():.1%}"
          f" ({low:.1%} to {high:.1%})"
        )
    compared += 2 * count * (2 * count - 1) // 2 - count
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
  print(
    f"\nfalse pairs: {false}, of {compared} pairs each in {len(TRANSFORMS)} collections;"
    f" {count * (count - 1) // 2} pairs of originals"
  )


def make_files(folder, count, rng):
  """Write distinct FLAC files of 30 s, each of three real excerpts at random speeds."""
  clips = [samples for samples in read_clips() if len(samples) >= SHORT_SECONDS * RATE]
  for index in tqdm(range(count), desc="writing files", leave=False, disable=None):
    chosen = rng.choice(len(clips), 3, replace=False)
    parts = [soxr.resample(clips[place], RATE, RATE * rng.uniform(0.75, 1.35)) for place in chosen]
    path = pathlib.Path(folder) / f"genre{index % 10}" / f"{index:06d}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(np.concatenate(parts)[: 30 * RATE], -1, 1), RATE)


def time_files(count):
  """Time the whole command, from its start to the written page."""
  with tempfile.TemporaryDirectory() as folder:
    make_files(os.path.join(folder, "songs"), count, np.random.default_rng(SEED.value))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
      [
        sys.executable,
        "-m",
        "genre_jax.audit",
        "--config=experiments/base.py",
        f"--config.dataset.path={folder}/songs",
        "--config.split.name=grouped_kfold",
        f"--out={folder}/out",
      ],
      capture_output=True,
      text=True,
      check=True,
    )
    seconds = time.perf_counter() - start
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  pairs = re.search(r"pairs +(.*)", done.stdout)[1]
  print(
    f"\n{count} files of 30 s: {seconds:.1f} s on {os.cpu_count()} cores at load"
    f" {os.getloadavg()[0]:.1f}, {cpu_seconds:.1f} s of CPU time (found {pairs})"
  )


def synthetic_landmarks(found, rng):
  """Return 30 s of landmarks that resemble those of real clips but copy none of them.

  Real clips are joined, each mirrored in pitch or not. Their time axis is warped differently in
  each second and their pitch axis in each octave, which preserves tones and beats.

  Args:
    found: landmarks of real clips.
    rng: NumPy generator.
  """
  rate = landmarks.DENSE.frame_rate
  times, bands, levels, begin = [], [], [], 0
  end = int(30 * rate)
  while begin < end:
    clip = found[rng.integers(len(found))]
    seconds = int(clip.num_frames / rate) + 2
    warped = np.concatenate([[0], np.cumsum(rng.uniform(0.75, 1.35, seconds) * rate)])
    moved_times = np.rint(np.interp(clip.times, np.arange(seconds + 1) * rate, warped)).astype(int)
    pitch = np.arange(0, 129, 16) + rng.integers(-7, 8, 9)
    moved = np.rint(np.interp(clip.bands, np.arange(0, 129, 16), pitch)).astype(int) % 128
    times.append(moved_times + begin)
    bands.append(moved if rng.uniform() < 0.5 else 127 - moved)
    levels.append(clip.levels)
    begin += int(np.interp(clip.num_frames, np.arange(seconds + 1) * rate, warped))
  times, bands = np.concatenate(times), np.concatenate(bands)
  order = np.lexsort((bands, times))
  order = order[times[order] < end]
  return landmarks.with_keys(end, times[order], bands[order], np.concatenate(levels)[order], rate)


def shared_keys(clips):
  """Return the mean number of keys that two clips share, over all pairs."""
  keys = np.concatenate([clip.keys for clip in clips])
  counts = np.unique(keys, return_counts=True)[1].astype(float)
  return (counts * (counts - 1)).sum() / (len(clips) * (len(clips) - 1))


def measure_growth(counts):
  """Time the search over growing collections, in which one clip of a hundred has a copy."""
  found = [from_audio(samples) for samples in read_clips() if len(samples) >= SHORT_SECONDS * RATE]
  rng = np.random.default_rng(SEED.value)
  real = found
  print(
    f"\nkeys that two clips share by chance: {shared_keys(real):.3f} of {len(real)} real"
    f" excerpts ({np.mean([len(clip.keys) for clip in real]):.0f} keys),"
    f" {shared_keys([synthetic_landmarks(found, rng) for _ in range(500)]):.3f} of 500 synthetic"
    " clips"
  )
  clips, before = [], None
  print(
    "\n| clips | CPU seconds | growth, exponent | planted found | other pairs | memory, GB |"
    "\n|---|---|---|---|---|---|"
  )
  for count in sorted(counts):
    for _ in tqdm(range(count - len(clips)), desc="making clips", leave=False, disable=None):
      clips.append(synthetic_landmarks(found, rng))
    planted = set()
    collection = list(clips)
    for place in range(count // 100):
      # A copy without a third of its landmarks and without its first four seconds.
      one = clips[place * 100]
      keep = (one.times > 172) & (rng.uniform(size=len(one.times)) < 0.67)
      collection[place * 100 + 50] = landmarks.with_keys(
        one.num_frames - 172,
        one.times[keep] - 172,
        one.bands[keep],
        one.levels[keep],
        landmarks.DENSE.frame_rate,
      )
      planted.add((place * 100, place * 100 + 50))
    # CPU time of one thread, because wall-clock time on a shared machine includes other load.
    start = time.process_time()
    matches = {
      (match.a, match.b)
      for match in duplicates.find_duplicates(collection, landmarks.DENSE.frame_rate)
    }
    seconds = time.process_time() - start
    exponent = (
      "" if before is None else (f"{np.log(seconds / before[1]) / np.log(count / before[0]):.2f}")
    )
    before = count, seconds
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
      f"| {count} | {seconds:.2f} | {exponent} |"
      f" {len(matches & planted)} of {len(planted)} | {len(matches - planted)} |"
      f" {memory:.1f} |",
      flush=True,
    )


def main(argv):
  """Run the measurements that the flags select."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if PLANTED.value:
    measure_detection()
  if FILES.value:
    time_files(FILES.value)
  if GROWTH.value:
    measure_growth([int(count) for count in GROWTH.value])


if __name__ == "__main__":
  command_line.run(main)
