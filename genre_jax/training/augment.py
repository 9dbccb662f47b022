"""Random changes of a training batch: pure functions on the device, inside the compiled step.

Stands between `genre_jax/data/pipeline.py`, which fills the batch, and `training/steps.py`,
which calls `augment(rng, batch, config)` before the network sees it. Every change is off unless its
field of `config` says otherwise, so `augment(rng, batch, {})` returns the batch as it came. Levels
are in dB, as the log-mel arrives; frames at or beyond `num_frames` are padding and come out as the
lowest value that the window had before.
"""

import jax
import jax.numpy as jnp

# Every field that `augment` reads, with the value that switches it off.
DEFAULTS = {
  # Largest relative change of speed: 0.1 draws from [1 / 1.1, 1.1].
  "time_stretch": 0.0,
  # Largest shift along frequency, in mel bands; fractions are interpolated.
  "mel_shift": 0.0,
  # Standard deviation of a smooth random curve over frequency, and its support points.
  "eq_db": 0.0,
  "eq_knots": 6,
  # Beta(alpha, alpha) mixing of each band's mean and deviation over time with another window's,
  # labels kept, and the share of windows that it happens to.
  "mixstyle_alpha": 0.0,
  "mixstyle_share": 0.5,
  # Beta(alpha, alpha) mixing with another window, and the share of windows that are mixed.
  "mixup_alpha": 0.0,
  "mixup_share": 1.0,
  # SpecAugment along time: number of masks and their largest width in frames.
  "time_masks": 0,
  "time_mask_frames": 0,
  # SpecAugment along frequency: number of masks and their largest width in mel bands.
  "frequency_masks": 0,
  "frequency_mask_bands": 0,
}


def _valid(num_frames, length):
  """bool[B, T, 1]: True before `num_frames`."""
  return (jnp.arange(length)[None] < num_frames[:, None])[:, :, None]


def _lowest(x, valid):
  """float[B, 1, 1]: each window's lowest valid value; 0 where it has no valid frame."""
  lowest = jnp.where(valid, x, jnp.inf).min((1, 2), keepdims=True)
  return jnp.where(jnp.isfinite(lowest), lowest, 0.0)


def _take_linear(x, position, axis):
  """Values of float[B, T, M] at fractional positions float[B, n] along `axis` (1 or 2).

  Positions outside are moved to the nearest end.
  """
  size = x.shape[axis]
  position = jnp.clip(position, 0.0, size - 1.0)
  low = jnp.floor(position).astype(jnp.int32)
  high = jnp.minimum(low + 1, size - 1)
  fraction = (position - low).astype(x.dtype)
  fraction = fraction[:, :, None] if axis == 1 else fraction[:, None, :]
  take = jax.vmap(lambda row, index: jnp.take(row, index, axis=axis - 1))
  return take(x, low) * (1.0 - fraction) + take(x, high) * fraction


def time_stretch(rng, x, num_frames, amount):
  """Plays each window at a random speed; a faster one ends early and has fewer valid frames.

  Args:
    rng: key.
    x: float[B, T, M].
    num_frames: int[B].
    amount: speeds are log-uniform in [1 / (1 + amount), 1 + amount].
  Returns:
    float[B, T, M] and int[B].
  """
  limit = jnp.log1p(amount)
  speed = jnp.exp(jax.random.uniform(rng, (x.shape[0], 1), minval=-limit, maxval=limit))
  position = jnp.arange(x.shape[1])[None] * speed
  last = jnp.maximum(num_frames - 1, 0)
  x = _take_linear(x, jnp.minimum(position, last[:, None]), 1)
  frames = jnp.floor(last / speed[:, 0]).astype(num_frames.dtype) + 1
  return x, jnp.where(num_frames > 0, jnp.minimum(frames, x.shape[1]), 0)


def mel_shift(rng, x, amount):
  """Moves each float[B, T, M] window by up to `amount` bands, the outermost band repeated.

  On the logarithmic part of the mel scale this is a change of pitch: of 128 bands up to 11 kHz, one
  band is about half a semitone there.
  """
  shift = jax.random.uniform(rng, (x.shape[0], 1), minval=-amount, maxval=amount)
  return _take_linear(x, jnp.arange(x.shape[2])[None] + shift, 2)


def equalizer(rng, x, deviation, knots):
  """Adds one smooth random curve over frequency to each window: another room, another mastering."""
  values = deviation * jax.random.normal(rng, (x.shape[0], int(knots)), x.dtype)
  curve = jax.image.resize(values, (x.shape[0], x.shape[2]), "cubic")
  return x + curve[:, None, :]


def mixstyle(rng, x, valid, alpha, share):
  """Gives windows part of the sound of another: Freq-MixStyle (Schmid et al. 2022, DCASE task 1).

  The mean and the standard deviation over time of each band say much about a recording, an artist
  and a mastering; moved towards those of another window of the batch, they stay realistic, and the
  network has to find the genre in the rest.

  Args:
    rng: key.
    x: float[B, T, M].
    valid: bool[B, T, 1].
    alpha: of the Beta distribution; a window keeps at least half of its own sound.
    share: of the windows that are changed.
  Returns:
    float[B, T, M].
  """
  rng_amount, rng_order, rng_share = jax.random.split(rng, 3)
  count = jnp.maximum(valid.sum(1, keepdims=True), 1)
  mean = jnp.where(valid, x, 0.0).sum(1, keepdims=True) / count
  variance = jnp.where(valid, jnp.square(x - mean), 0.0).sum(1, keepdims=True) / count
  deviation = jnp.sqrt(variance + 1.0)  # 1 dB is added: a silent band is not blown up
  amount = jax.random.beta(rng_amount, alpha, alpha, (x.shape[0], 1, 1)).astype(x.dtype)
  amount = jnp.maximum(amount, 1.0 - amount)
  amount = jnp.where(jax.random.bernoulli(rng_share, share, amount.shape), amount, 1.0)
  order = jax.random.permutation(rng_order, x.shape[0])
  new_mean = amount * mean + (1.0 - amount) * mean[order]
  new_deviation = amount * deviation + (1.0 - amount) * deviation[order]
  return (x - mean) / deviation * new_deviation + new_mean


def mixup(rng, x, num_frames, labels, label_mask, alpha, share):
  """Mixes windows and their labels pairwise (Zhang et al. 2018, arXiv 1710.09412).

  The mixture is taken in dB and lasts as long as the shorter window; a label is known where both
  know it. A window keeps at least half of itself.

  Args:
    rng: key.
    x: float[B, T, M].
    num_frames: int[B].
    labels: float[B, C].
    label_mask: float[B, C].
    alpha: of the Beta distribution.
    share: of the windows that are mixed.
  Returns:
    The four arrays, mixed.
  """
  rng_amount, rng_order, rng_share = jax.random.split(rng, 3)
  size = x.shape[0]
  amount = jax.random.beta(rng_amount, alpha, alpha, (size,)).astype(x.dtype)
  mixed = jax.random.bernoulli(rng_share, share, (size,))
  amount = jnp.where(mixed, jnp.maximum(amount, 1.0 - amount), 1.0)
  order = jax.random.permutation(rng_order, size)
  x = amount[:, None, None] * x + (1.0 - amount)[:, None, None] * x[order]
  labels = amount[:, None] * labels + (1.0 - amount)[:, None] * labels[order]
  num_frames = jnp.where(mixed, jnp.minimum(num_frames, num_frames[order]), num_frames)
  known = jnp.where(mixed[:, None], jnp.minimum(label_mask, label_mask[order]), label_mask)
  return x, num_frames, labels, known


def spec_mask(rng, x, valid, count, width, axis):
  """SpecAugment (Park et al. 2019, arXiv 1904.08779): sets random runs to the window's mean.

  Args:
    rng: key.
    x: float[B, T, M].
    valid: bool[B, T, 1].
    count: number of runs, static.
    width: longest run; each run's width is uniform in [0, width].
    axis: 1 for time, 2 for frequency.
  Returns:
    float[B, T, M].
  """
  total = jnp.where(valid, x, 0.0).sum((1, 2), keepdims=True)
  mean = total / jnp.maximum(valid.sum((1, 2), keepdims=True) * x.shape[2], 1)
  rng_width, rng_start = jax.random.split(rng)
  widths = jax.random.randint(rng_width, (x.shape[0], count, 1), 0, width + 1)
  room = jnp.maximum(x.shape[axis] - widths + 1, 1)
  starts = jnp.floor(jax.random.uniform(rng_start, widths.shape) * room)
  index = jnp.arange(x.shape[axis])[None, None]
  hit = ((index >= starts) & (index < starts + widths)).any(1)
  hit = hit[:, :, None] if axis == 1 else hit[:, None, :]
  return jnp.where(hit, mean.astype(x.dtype), x)


def augment(rng, batch, config):
  """Applies the changes that `config` switches on, in a fixed order.

  Args:
    rng: key; the same key gives the same batch.
    batch: mapping with 'log_mel' float[B, T, M, 1] in dB, 'num_frames' int[B], 'labels'
      float[B, C] (one-hot, multi-hot or soft) and 'label_mask' float[B, C]; other entries pass.
    config: mapping of plain values, any of the fields of `DEFAULTS`.
  Returns:
    The batch with those four entries changed, shapes and dtypes kept; mixup makes labels fractions.
  Raises:
    ValueError: if `config` holds a field that is not in `DEFAULTS`.
  """
  unknown = set(config) - set(DEFAULTS)
  if unknown:
    raise ValueError(f"unknown augment fields {sorted(unknown)}: give some of {sorted(DEFAULTS)}")
  c = {**DEFAULTS, **dict(config)}
  # One key per change: switching one on leaves the randomness of the others as it was.
  keys = jax.random.split(rng, 11)  # those that no change uses keep the others' places
  rng_stretch, rng_shift, rng_eq, rng_style = keys[0], keys[1], keys[3], keys[4]
  rng_mixup, rng_time, rng_frequency = keys[7], keys[8], keys[9]
  x = batch["log_mel"][..., 0]
  num_frames, labels, label_mask = batch["num_frames"], batch["labels"], batch["label_mask"]
  length = x.shape[1]
  padding = _lowest(x, _valid(num_frames, length))

  if c["time_stretch"]:
    x, num_frames = time_stretch(rng_stretch, x, num_frames, c["time_stretch"])
  if c["mel_shift"]:
    x = mel_shift(rng_shift, x, c["mel_shift"])
  if c["eq_db"]:
    x = equalizer(rng_eq, x, c["eq_db"], c["eq_knots"])
  if c["mixstyle_alpha"]:
    x = mixstyle(rng_style, x, _valid(num_frames, length), c["mixstyle_alpha"], c["mixstyle_share"])
  if c["mixup_alpha"]:
    x, num_frames, labels, label_mask = mixup(
      rng_mixup, x, num_frames, labels, label_mask, c["mixup_alpha"], c["mixup_share"]
    )
  valid = _valid(num_frames, length)
  if c["time_masks"] and c["time_mask_frames"]:
    x = spec_mask(rng_time, x, valid, c["time_masks"], c["time_mask_frames"], 1)
  if c["frequency_masks"] and c["frequency_mask_bands"]:
    x = spec_mask(rng_frequency, x, valid, c["frequency_masks"], c["frequency_mask_bands"], 2)
  x = jnp.where(valid, x, padding)[..., None]
  return {
    **batch,
    "log_mel": x.astype(batch["log_mel"].dtype),
    "num_frames": num_frames.astype(batch["num_frames"].dtype),
    "labels": labels.astype(batch["labels"].dtype),
    "label_mask": label_mask.astype(batch["label_mask"].dtype),
  }
