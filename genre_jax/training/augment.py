"""Augment a training batch at random: pure functions on the device, inside the compiled step.

`genre_jax/data/pipeline.py` makes the batch, and `training/steps.py` calls
`augment(rng, batch, config)` before the network gets it. Every augmentation is off unless its field
of `config` switches it on: `augment(rng, batch, {})` returns the batch unchanged.

Levels are in dB, as in the log-mel. Frames at or beyond `num_frames` are padding; they are set to
the lowest value that the segment had before.
"""

import jax
import jax.numpy as jnp

# Every field that `augment` reads. 0 switches an augmentation off.
DEFAULTS = {
  # Largest relative change of speed: 0.1 draws speeds from [1 / 1.1, 1.1].
  "time_stretch": 0.0,
  # Largest shift along frequency, in mel bands; fractions are interpolated.
  "mel_shift": 0.0,
  # Standard deviation, in dB, of a smooth random curve over frequency.
  "eq_db": 0.0,
  # Number of support points of that curve.
  "eq_knots": 6,
  # Largest attenuation of the highest bands, in dB, as by a resampler or a codec.
  "low_pass_db": 0.0,
  # Largest number of these bands.
  "low_pass_bands": 3,
  # Beta(alpha, alpha) mixing of each band's mean and deviation over time with those of another
  # segment, without mixing labels.
  "mixstyle_alpha": 0.0,
  # Share of segments that are mixed in that way.
  "mixstyle_share": 0.5,
  # Beta(alpha, alpha) mixing with another segment.
  "mixup_alpha": 0.0,
  # Share of segments that are mixed with another one.
  "mixup_share": 1.0,
  # SpecAugment along time: number of masks.
  "time_masks": 0,
  # Largest width of such a mask, in frames.
  "time_mask_frames": 0,
  # SpecAugment along frequency: number of masks.
  "frequency_masks": 0,
  # Largest width of such a mask, in mel bands.
  "frequency_mask_bands": 0,
}


def _valid(num_frames, length):
  """Return bool[B, T, 1], True before `num_frames`."""
  return (jnp.arange(length)[None] < num_frames[:, None])[:, :, None]


def _lowest(x, valid):
  """Return float[B, 1, 1], each segment's lowest valid value, or 0 if it has no valid frame."""
  lowest = jnp.where(valid, x, jnp.inf).min((1, 2), keepdims=True)
  return jnp.where(jnp.isfinite(lowest), lowest, 0.0)


def _take_linear(x, position, axis):
  """Interpolate float[B, T, M] at fractional positions float[B, n] along `axis` (1 or 2).

  Positions outside are moved to the nearest end.
  """
  size = x.shape[axis]
  position = jnp.clip(position, 0.0, size - 1.0)
  low = jnp.floor(position).astype(jnp.int32)
  high = jnp.minimum(low + 1, size - 1)
  fraction = (position - low.astype(position.dtype)).astype(x.dtype)
  fraction = fraction[:, :, None] if axis == 1 else fraction[:, None, :]
  take = jax.vmap(lambda row, index: jnp.take(row, index, axis=axis - 1))
  return take(x, low) * (1.0 - fraction) + take(x, high) * fraction


def time_stretch(rng, x, num_frames, amount):
  """Stretch each segment in time; a faster one ends early and has fewer valid frames.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    num_frames: int[B].
    amount: Speeds are log-uniform in [1 / (1 + amount), 1 + amount].

  Returns:
    The segments, float[B, T, M], and their numbers of valid frames, int[B].
  """
  limit = jnp.log1p(amount)
  speed = jnp.exp(jax.random.uniform(rng, (x.shape[0], 1), minval=-limit, maxval=limit))
  position = jnp.arange(x.shape[1], dtype=speed.dtype)[None] * speed
  last = jnp.maximum(num_frames - 1, 0).astype(speed.dtype)
  x = _take_linear(x, jnp.minimum(position, last[:, None]), 1)
  frames = jnp.floor(last / speed[:, 0]).astype(num_frames.dtype) + 1
  return x, jnp.where(num_frames > 0, jnp.minimum(frames, x.shape[1]), 0)


def mel_shift(rng, x, amount):
  """Shift each segment along frequency and repeat the outermost band.

  On the logarithmic part of the mel scale this changes the pitch: with 128 bands up to 11 kHz, one
  band is about half a semitone.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    amount: Largest shift in bands.

  Returns:
    float[B, T, M].
  """
  shift = jax.random.uniform(rng, (x.shape[0], 1), minval=-amount, maxval=amount)
  return _take_linear(x, jnp.arange(x.shape[2], dtype=shift.dtype)[None] + shift, 2)


def equalizer(rng, x, deviation, knots):
  """Add one smooth random curve over frequency to each segment, as other acoustics would.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    deviation: Standard deviation of the curve at its support points, in dB.
    knots: Number of support points.

  Returns:
    float[B, T, M].
  """
  values = deviation * jax.random.normal(rng, (x.shape[0], int(knots)), x.dtype)
  curve = jax.image.resize(values, (x.shape[0], x.shape[2]), "cubic")
  return x + curve[:, None, :]


def low_pass(rng, x, valid, attenuation, bands):
  """Attenuate the highest bands of each segment, as the edge of a resampler or a codec does.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    valid: bool[B, T, 1].
    attenuation: Largest attenuation in dB; uniform in [0, attenuation].
    bands: Largest number of bands; uniform in [0, bands].

  Returns:
    float[B, T, M], not below the segment's lowest value.
  """
  rng_level, rng_bands = jax.random.split(rng)
  level = jax.random.uniform(rng_level, (x.shape[0], 1, 1), x.dtype, 0.0, attenuation)
  count = jax.random.randint(rng_bands, (x.shape[0], 1, 1), 0, bands + 1)
  cut = jnp.arange(x.shape[2])[None, None] >= x.shape[2] - count
  return jnp.where(cut, jnp.maximum(x - level, _lowest(x, valid)), x)


def mixstyle(rng, x, valid, alpha, share):
  """Mix the statistics of each band with another segment's: Freq-MixStyle.

  The mean and the standard deviation over time of each band characterize a recording, an artist and
  a mastering. Moved towards those of another segment of the batch, they stay realistic, and the
  network has to learn the genre from the rest. Source: Schmid et al. 2022, DCASE task 1.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    valid: bool[B, T, 1].
    alpha: Parameter of the Beta distribution; a segment keeps at least half of its statistics.
    share: Share of the segments that are mixed.

  Returns:
    float[B, T, M].
  """
  rng_amount, rng_order, rng_share = jax.random.split(rng, 3)
  count = jnp.maximum(valid.sum(1, keepdims=True), 1).astype(x.dtype)
  mean = jnp.where(valid, x, 0.0).sum(1, keepdims=True) / count
  variance = jnp.where(valid, jnp.square(x - mean), 0.0).sum(1, keepdims=True) / count
  deviation = jnp.sqrt(variance + 1.0)  # 1 dB more, so that silent bands are not amplified
  amount = jax.random.beta(rng_amount, alpha, alpha, (x.shape[0], 1, 1)).astype(x.dtype)
  amount = jnp.maximum(amount, 1.0 - amount)
  amount = jnp.where(jax.random.bernoulli(rng_share, share, amount.shape), amount, 1.0)
  order = jax.random.permutation(rng_order, x.shape[0])
  new_mean = amount * mean + (1.0 - amount) * mean[order]
  new_deviation = amount * deviation + (1.0 - amount) * deviation[order]
  return (x - mean) / deviation * new_deviation + new_mean


def mixup(rng, x, num_frames, labels, label_mask, alpha, share):
  """Mix segments and their labels pairwise (Zhang et al. 2018, arXiv 1710.09412).

  Segments are mixed in dB, and the mixture is as long as the shorter one. A label of the mixture is
  known if it is known for both. A segment keeps at least half of itself.

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    num_frames: int[B].
    labels: float[B, C].
    label_mask: float[B, C].
    alpha: Parameter of the Beta distribution.
    share: Share of the segments that are mixed.

  Returns:
    The four arrays `x`, `num_frames`, `labels` and `label_mask`, mixed.
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
  """Set random runs to the segment's mean: SpecAugment (Park et al. 2019, arXiv 1904.08779).

  Args:
    rng: JAX random key.
    x: float[B, T, M].
    valid: bool[B, T, 1].
    count: Number of runs, static.
    width: Longest run; each run's width is uniform in [0, width].
    axis: 1 for time, 2 for frequency.

  Returns:
    float[B, T, M].
  """
  total = jnp.where(valid, x, 0.0).sum((1, 2), keepdims=True)
  mean = total / jnp.maximum(valid.sum((1, 2), keepdims=True) * x.shape[2], 1).astype(x.dtype)
  rng_width, rng_start = jax.random.split(rng)
  widths = jax.random.randint(rng_width, (x.shape[0], count, 1), 0, width + 1)
  positions = jnp.maximum(x.shape[axis] - widths + 1, 1)
  starts = jax.random.uniform(rng_start, widths.shape)
  starts = jnp.floor(starts * positions.astype(starts.dtype)).astype(widths.dtype)
  index = jnp.arange(x.shape[axis])[None, None]
  masked = ((index >= starts) & (index < starts + widths)).any(1)
  masked = masked[:, :, None] if axis == 1 else masked[:, None, :]
  return jnp.where(masked, mean.astype(x.dtype), x)


def augment(rng, batch, config):
  """Apply the augmentations that `config` switches on, in a fixed order.

  Args:
    rng: JAX random key; the same key gives the same batch.
    batch: Mapping with 'log_mel' float[B, T, M, 1] in dB, 'num_frames' int[B], 'labels'
      float[B, C] (one-hot, multi-hot or soft) and 'label_mask' float[B, C]. Other entries are
      returned unchanged.
    config: Mapping with any of the fields of `DEFAULTS`.

  Returns:
    The batch with these four entries augmented and their shapes and dtypes kept. Mixup makes labels
    fractions.

  Raises:
    ValueError: If `config` contains a field that is not in `DEFAULTS`.
  """
  unknown = set(config) - set(DEFAULTS)
  if unknown:
    raise ValueError(f"unknown augment fields {sorted(unknown)}: give some of {sorted(DEFAULTS)}")
  c = {**DEFAULTS, **dict(config)}
  # One key per augmentation: switching one on does not change the random numbers of the others.
  # Keys 5, 6 and 10 are unused; the others keep their index, so that seeds reproduce old runs.
  keys = jax.random.split(rng, 11)
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
  if c["low_pass_db"]:
    x = low_pass(keys[2], x, _valid(num_frames, length), c["low_pass_db"], c["low_pass_bands"])
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
