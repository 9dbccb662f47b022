"""Define `split_cnn`: learned kernels along time and along frequency, in two branches.

Its control, `square_cnn`, has square kernels with the same number of weights.

One branch has kernels along frequency only (1 x k) and learns the shape of spectra: timbre, chords.
The other has kernels along time only (k x 1) and learns how each band changes: onsets, rhythm. Each
branch gives one vector per frame. A short convolution over time mixes the two, and statistics over
the segment feed the classifier. After Pons, Lidy and Serra, "Experimenting with musically motivated
convolutional neural networks" (2016). A third input of the
classifier is the profile: statistics of single bands without any convolution, which restore what
pooling over bands loses (measured: docs/results/notebook.md).

Nothing pads time. A gain (a constant added to all dB) changes no logit: the frequency branch takes
each frame relative to itself, the first kernels of the time branch sum to zero, and the profile
takes frames relative to themselves and differences of frames.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.layers import (
  DB_SCALE,
  BatchNorm,
  Conv,
  at_least_float32,
  center_frames,
  frame_weights,
  mask_after,
  masked_statistics,
  pool_axis,
)


class SplitCnn(nn.Module):
  """A frequency branch, a time branch and a band profile, joined before the classifier.

  Kernel lengths of the branches are squares, so that a square kernel with the same number of
  weights exists.

  Attributes:
    num_classes: Number of logits.
    square: Replace every 1 x k and k x 1 kernel by a sqrt(k) x sqrt(k) one (the control network).
    frequency_frames: Frames averaged before the frequency branch.
    frequency_kernels: Kernel lengths of the frequency branch, in bands; the first has stride 2.
    frequency_channels: Their output channels.
    frequency_pools: Bands of the max-pooling after each.
    time_bands: Bands of the time branch, each the mean of neighboring mel bands.
    time_kernels: Kernel lengths of the time branch, in frames.
    time_channels: Their output channels.
    time_pools: Frames of the max-pooling after each.
    branch_features: Outputs of each branch per frame.
    fusion_kernels: Kernel lengths of the convolutions over both branches, in pooled frames.
    fusion_features: Their output channels.
    branch_dropout: Share of training segments for which a branch is set to zero, for each branch;
      both are never set to zero.
    profile_features: Outputs of the dense layer on the profile.
    profile_dropout: Share of training segments for which the profile is set to zero.
    profile_alone: Share of other training segments for which all but the profile is set to zero.
    floor_db: See `center_frames`.
    dropout: Dropout rate before the logits.
    dtype: Dtype of the computation.
  """

  normalization = "frame"  # each frame is relative to itself, and kernels sum to zero
  num_classes: int
  square: bool = False
  frequency_frames: int = 2
  frequency_kernels: tuple[int, ...] = (9, 9, 4)
  frequency_channels: tuple[int, ...] = (16, 32, 48)
  frequency_pools: tuple[int, ...] = (4, 2, 2)
  time_bands: int = 16
  time_kernels: tuple[int, ...] = (9, 4)
  time_channels: tuple[int, ...] = (16, 32)
  time_pools: tuple[int, ...] = (2, 1)
  branch_features: int = 64
  fusion_kernels: tuple[int, ...] = (3,)
  fusion_features: tuple[int, ...] = (128,)
  branch_dropout: float = 0.2
  profile_features: int = 128
  profile_dropout: float = 0.2
  profile_alone: float = 0.2
  floor_db: float = 60.0
  dropout: float = 0.3
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None if no frame is.
      train: True to use and update batch statistics and to apply dropout (rng 'dropout').

    Returns:
      float32[batch, num_classes] (float64 if `dtype` is).
    """
    wide = at_least_float32(self.dtype)
    log_mel = log_mel.astype(wide)
    mask = frame_weights(frame_mask, *log_mel.shape[:2], wide)
    parts = [self._frequency(log_mel, mask, train), self._time(log_mel, mask, train)]
    if train and self.branch_dropout:
      parts = self._drop_branch(parts)
    x, mask = _join(parts)
    x = nn.relu(self._norm("branches_norm", train)(x))
    for i, (kernel, features) in enumerate(
      zip(self.fusion_kernels, self.fusion_features, strict=True)
    ):
      x = Conv(features, (kernel, 1), dtype=self.dtype, name=f"fusion_{i}")(x[:, :, None])[:, :, 0]
      x = nn.relu(self._norm(f"fusion_norm_{i}", train)(x))
      mask = mask_after(mask, kernel)
    # A segment shorter than the 20 frames that one vector covers uses its first vector, padding
    # included.
    x = masked_statistics(x, mask.at[:, 0].set(1), ("mean", "std", "max"))
    x = BatchNorm(not train, dtype=wide, name="embedding_norm")(x)
    profile = self._profile(log_mel, frame_weights(frame_mask, *log_mel.shape[:2], wide), train)
    x = self._join_profile(x, profile.astype(wide), train)
    self.sow("intermediates", "embedding", x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.num_classes, dtype=wide, name="logits")(x)

  def _frequency(self, log_mel, mask, train):
    """Compute dtype[B, T', branch_features] and its mask from each frame's spectral shape."""
    x = center_frames(log_mel, self.floor_db) / DB_SCALE
    x = self._norm("band_norm", train)(x[..., 0])[..., None]  # each band has its own scale
    x = pool_axis(x, self.frequency_frames, 1, "mean")
    mask = mask_after(mask, self.frequency_frames, self.frequency_frames)
    for i, (length, channels, pool) in enumerate(
      zip(self.frequency_kernels, self.frequency_channels, self.frequency_pools, strict=True)
    ):
      kernel = self._kernel(1, length)
      x = Conv(channels, kernel, 2 if i == 0 else 1, dtype=self.dtype, name=f"frequency_{i}")(x)
      x = pool_axis(x, pool, 2)
      x = nn.relu(self._norm(f"frequency_norm_{i}", train)(x))
      mask = mask_after(mask, kernel[0])
    x = self._flatten("frequency_out", x)
    rest = self._stride() // self.frequency_frames
    return pool_axis(x, rest, 1, "mean"), mask_after(mask, rest, rest)

  def _time(self, log_mel, mask, train):
    """Compute dtype[B, T', branch_features] and its mask from the changes of each band."""
    x = pool_axis(log_mel / DB_SCALE, log_mel.shape[2] // self.time_bands, 2, "mean")
    for i, (length, channels, pool) in enumerate(
      zip(self.time_kernels, self.time_channels, self.time_pools, strict=True)
    ):
      kernel = self._kernel(length, 1)
      x = Conv(channels, kernel, zero_sum=i == 0, dtype=self.dtype, name=f"time_{i}")(x)
      x = pool_axis(x, pool, 1)
      x = nn.relu(self._norm(f"time_norm_{i}", train)(x))
      mask = mask_after(mask_after(mask, kernel[0]), pool, pool)
    return self._flatten("time_out", x), mask

  def _profile(self, log_mel, mask, train):
    """Compute dtype[B, profile_features] from the mean, deviation and mean step of each band."""
    shapes = center_frames(log_mel, self.floor_db)[..., 0] / DB_SCALE
    steps = jnp.abs(log_mel[:, 1:, :, 0] - log_mel[:, :-1, :, 0]) / DB_SCALE
    x = jnp.concatenate(
      [
        masked_statistics(shapes, mask, ("mean", "std")),
        masked_statistics(steps, mask_after(mask, 2), ("mean",)),
      ],
      -1,
    )
    x = self._norm("profile_in_norm", train)(x)
    x = nn.Dense(self.profile_features, use_bias=False, dtype=self.dtype, name="profile")(x)
    return nn.relu(self._norm("profile_norm", train)(x))

  def _join_profile(self, x, profile, train):
    """Append the profile to the branches' statistics; in training, set either to zero at times."""
    if train and (self.profile_dropout or self.profile_alone):
      if self.profile_dropout + self.profile_alone > 1:
        raise ValueError("profile_dropout and profile_alone: their sum must be at most 1")
      draw = jax.random.uniform(self.make_rng("dropout"), (x.shape[0], 1))
      profile = jnp.where(draw < self.profile_dropout, 0, profile)
      x = jnp.where(draw >= 1 - self.profile_alone, 0, x)
    return jnp.concatenate([x, profile], -1)

  def _drop_branch(self, parts):
    """Set one branch to zero for some segments, so that neither branch depends on the other.

    The shape of the spectrum identifies artists and recordings as easily as genres. Without this
    step the network relies on it (measured: docs/results/notebook.md).
    """
    if self.branch_dropout > 0.5:
      raise ValueError(f"branch_dropout={self.branch_dropout}: it must be at most 0.5")
    (frequency, frequency_mask), (time, time_mask) = parts
    draw = jax.random.uniform(self.make_rng("dropout"), (time.shape[0], 1, 1))
    frequency = jnp.where(draw < self.branch_dropout, 0, frequency)
    time = jnp.where(draw >= 1 - self.branch_dropout, 0, time)
    return [(frequency, frequency_mask), (time, time_mask)]

  def _stride(self):
    """Return the number of frames between two vectors after the branches."""
    return math.prod(self.time_pools)

  def _kernel(self, frames, bands):
    """Return (frames, bands), or the square kernel with the same number of weights."""
    if not self.square:
      return frames, bands
    size = math.isqrt(frames * bands)
    if size * size != frames * bands:
      raise ValueError(f"a square kernel needs a square number of weights, not {frames * bands}")
    return size, size

  def _norm(self, name, train):
    return BatchNorm(not train, dtype=self.dtype, name=name)

  def _flatten(self, name, x):
    """Compute one vector per frame from all bands and channels."""
    x = x.reshape(*x.shape[:2], -1)
    return nn.Dense(self.branch_features, use_bias=False, dtype=self.dtype, name=name)(x)


def _join(parts):
  """Concatenate branches; the longer one is cropped at both ends."""
  length = min(x.shape[1] for x, _ in parts)
  out, masks = [], []
  for x, mask in parts:
    start = (x.shape[1] - length) // 2
    out.append(x[:, start : start + length])
    masks.append(mask[:, start : start + length])
  mask = masks[0]
  for other in masks[1:]:
    mask = jnp.minimum(mask, other)
  return jnp.concatenate(out, -1), mask


class SquareCnn(SplitCnn):
  """`split_cnn` with square kernels of the same number of weights instead of 1 x k and k x 1."""

  square: bool = True
