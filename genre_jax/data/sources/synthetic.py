"""Source: the built-in corpus, four styles of generated audio that need no download.

A style is a rhythm and a timbre, two of each, so the spectrum alone gives half of the style:

- rhythm: two strokes in each period, evenly spaced ('even') or close together and then a gap
  ('paired');
- timbre: two formants, with the same energy ('hollow', 'nasal').

Tempo, key, chords, spectral tilt, level, noise, a drone and the order of the notes vary widely and
independently of the style. A piece (the group) determines most of them; its clips differ in tempo,
phase and notes. Accuracy on this corpus says nothing about real music.
"""

import dataclasses

import numpy as np
import scipy.fft

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.source import Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

# Changes whenever the audio does: prepared sets of another version are not reused.
VERSION = 1
RHYTHMS = ("even", "paired")
TIMBRES = ("hollow", "nasal")
STYLES = tuple(f"{rhythm}_{timbre}" for rhythm in RHYTHMS for timbre in TIMBRES)
TRACK_PREFIX = "synthetic."
PIECES, CLIPS_PER_PIECE = 24, 3
CLIP_SECONDS = 8.0
# Time from the first to the second stroke, in periods.
SECOND_STROKE = {"even": 0.5, "paired": 0.25}
# Formant centers in Hz.
FORMANTS = {"hollow": (500.0, 2600.0), "nasal": (1150.0, 4300.0)}
NOTICE = "built-in synthetic corpus: accuracy on it says nothing about real music"


def open_synthetic(request: Request) -> Source:
  """Open the built-in corpus of a seed as a source."""
  if request.path:
    raise UserError(
      f"--config.dataset.source=synthetic takes no path: remove"
      f" --config.dataset.path={request.path}."
    )
  if request.groups:
    raise UserError(
      "--config.dataset.groups: the built-in corpus has its own groups; remove the flag."
    )
  classes = choose_classes(request.genres, STYLES, STYLES)
  clips = []
  for number in range(len(STYLES) * PIECES * CLIPS_PER_PIECE):
    style, piece, clip = _position(number)
    if style in classes:
      group = f"piece-{style}-{piece:02d}"
      clips.append(Clip(f"{TRACK_PREFIX}{style}.{piece:02d}-{clip}", group, (style,), index=number))
  clips.sort(key=lambda clip: clip.track)
  identity = f"version {VERSION}, seed {request.seed}"
  reader = SyntheticReader(request.seed)
  return Source("synthetic", classes, tuple(clips), reader, identity, (NOTICE,))


def _position(number):
  """Return (style, piece, clip of the piece) of a clip's number."""
  rest, clip = divmod(number, CLIPS_PER_PIECE)
  style, piece = divmod(rest, PIECES)
  return STYLES[style], piece, clip


@dataclasses.dataclass(frozen=True)
class SyntheticReader:
  """Reader that generates the audio of a clip."""

  seed: int

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of one clip, float32[frames, n_mels]."""
    return log_mel(synthesize(clip.index, frontend.sample_rate, self.seed), frontend)


def synthesize(number: int, sample_rate: int, seed: int = 0) -> np.ndarray:
  """Generate the audio of one clip.

  Args:
    number: Number of the clip, from 0.
    sample_rate: Hz.
    seed: Seed of the corpus.

  Returns:
    float32[samples], CLIP_SECONDS long, in [-1, 1].
  """
  from scipy.signal import lfilter  # here: prediction imports this module and does not need it

  style, piece, clip = _position(number)
  rhythm, timbre = style.split("_")
  of_piece = np.random.default_rng([seed, VERSION, number // CLIPS_PER_PIECE])
  rng = np.random.default_rng([seed, VERSION, number, 1])
  samples = int(CLIP_SECONDS * sample_rate)

  key = 90.0 * 2.0 ** of_piece.uniform(0, 1.5)
  scale = np.cumsum(of_piece.choice([2, 3], 5))
  formants = np.array(FORMANTS[timbre]) * 2.0 ** of_piece.uniform(-0.2, 0.2, 2)
  width = of_piece.uniform(0.25, 0.45)
  tilt = of_piece.uniform(-4.0, 2.0)  # dB per octave
  decay = of_piece.uniform(0.06, 0.13)  # seconds
  period = of_piece.uniform(0.62, 1.05) * rng.uniform(0.96, 1.04)  # seconds
  noise_db, drone_db = of_piece.uniform(-45, -26), of_piece.uniform(-40, -22)

  def gain(frequency):
    octaves = np.log2(np.maximum(frequency, 20.0)[:, None] / formants)
    peaks = np.exp(-0.5 * (octaves / width) ** 2).sum(axis=1) + 0.03
    return peaks * 10.0 ** (tilt * np.log2(np.maximum(frequency, 20.0) / 1000.0) / 20.0)

  def tone(pitch, length, seconds):
    """Return the sum of all partials by one inverse FFT, far cheaper than a sine for each."""
    partials = pitch * np.arange(1, 1 + int(min(8000.0, 0.45 * sample_rate) / pitch))
    weights = gain(partials)
    # Equal energy for all formants, so that loudness does not depend on the timbre.
    weights /= np.sqrt(np.sum(weights**2))
    bins = np.rint(partials * seconds).astype(int)
    spectrum = np.zeros(int(seconds * sample_rate) // 2 + 1, np.complex64)
    spectrum[bins] = weights * np.exp(1j * phases[: len(bins)])
    wave = scipy.fft.irfft(spectrum, int(seconds * sample_rate))[:length]
    return wave * np.float32(seconds * sample_rate / 2)

  phases = rng.uniform(0, 2 * np.pi, 400)
  length = min(samples, int(6 * decay * sample_rate))
  time = np.arange(length, dtype=np.float32) / sample_rate
  envelope = np.exp(-time / np.float32(decay)) * np.minimum(1.0, time / np.float32(0.004))
  notes = [tone(key * 2.0 ** (step / 12.0), length, 1.0) * envelope for step in (0, *scale)]
  audio = np.zeros(samples + length, np.float32)
  start = -rng.uniform(0, 1)
  while start * period < CLIP_SECONDS:
    for offset in (0.0, SECOND_STROKE[rhythm]):
      # Like a human player: small timing errors, accents, and few missed strokes.
      at = int((start + offset + rng.normal(0, 0.012)) * period * sample_rate)
      note, level = notes[rng.integers(len(notes))], 10.0 ** (rng.uniform(-5, 0) / 20.0)
      if 0 <= at < samples and rng.uniform() > 0.03:
        audio[at : at + length] += level * note
    start += 1.0
  audio = audio[:samples]
  drone = tone(key * 2.0 ** (rng.integers(-5, 5) / 12.0), samples, CLIP_SECONDS)
  audio += 10.0 ** (drone_db / 20.0) * drone
  pole = of_piece.uniform(0.0, 0.9)  # noise from white to low-pass
  noise = rng.standard_normal(samples).astype(np.float32) * (1.0 - pole)
  audio += 10.0 ** (noise_db / 20.0) * lfilter([1.0], [1.0, -pole], noise).astype(np.float32)
  level = 10.0 ** (rng.uniform(-20, -1) / 20.0)
  return (audio * (level / np.max(np.abs(audio)))).astype(np.float32)
