"""musicnn: a music tagger that hears timbre and tempo apart, with weights that others trained.

Pons and Serra (2019), "musicnn: Pre-trained convolutional neural networks for music audio tagging",
arXiv 1909.06654; the front-end is that of Pons et al. (2018), arXiv 1711.02520. Tall filters over
frequency ("timbral") stand beside long filters over time ("temporal"), as the two branches of
`axis_features` do. Layer by layer it equals the graph of the released checkpoints, which
`genre_jax/inference/published_weights.py` reads; the numbers that the paper leaves open (padding,
order of ReLU and normalization, epsilon) are the graph's.
"""

import flax.linen as nn
import jax.numpy as jnp

# tf.layers.batch_normalization of TensorFlow 1, with which the weights were trained.
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.99


class Musicnn(nn.Module):
  """Timbral and temporal front-end, three residual convolutions, mean and max over time, dense.

  Unlike the other networks this one does not normalize its window: it was trained on absolute
  loudness, log10(1 + 10000 power) of audio in [-1, 1]. Attributes are the published sizes.

  Attributes:
    num_classes: number of logits.
    timbral_bands: mel bands that each kind of timbral filter spans, 0.4 and 0.7 of 96.
    timbral_frames: frames that a timbral filter spans.
    timbral_filters: how many of each kind, 1.6 * 128.
    temporal_frames: frames that each kind of temporal filter spans, one band each.
    temporal_filters: how many of each kind, 1.6 * 32.
    mid_channels: channels of each of the three convolutions after the front-end.
    mid_frames: frames that they span.
    hidden: width of the penultimate layer.
    dropout: rate before each of the two dense layers.
    dtype: what it computes in.
  """

  normalization = "none"
  num_classes: int
  timbral_bands: tuple[int, ...] = (38, 67)
  timbral_frames: int = 7
  timbral_filters: int = 204
  temporal_frames: tuple[int, ...] = (128, 64, 32)
  temporal_filters: int = 51
  mid_channels: int = 64
  mid_frames: int = 7
  hidden: int = 200
  dropout: float = 0.5
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Tag logits; their sigmoid is each tag's probability.

    A masked window gives what the valid frames alone would give: the network pads with zeros after
    its first normalization, so frames that are zeroed there are padding to every later layer.

    Args:
      log_mel: float[batch, time, frequency, 1], log10(1 + 10000 mel power); any number of frames,
        at least as many bands as the tallest filter. The published weights want 96 bands.
      frame_mask: bool[batch, time], False where a frame is padding; None where none is.
      train: dropout is on (needs the rng 'dropout') and batch statistics are used and updated.
    Returns:
      float32[batch, num_classes].
    Intermediates: 'pooled' float[batch, features, 2], the maximum and the mean over time of the
      front-end's and the three convolutions' channels; 'embedding' float[batch, hidden].
    """
    if frame_mask is None:
      frame_mask = jnp.ones(log_mel.shape[:2], bool)
    valid = frame_mask[:, :, None]
    wide = jnp.promote_types(self.dtype, jnp.float32)

    def norm(x, name, mask=None):
      return nn.BatchNorm(
        use_running_average=not train,
        momentum=NORM_MOMENTUM,
        epsilon=NORM_EPSILON,
        dtype=self.dtype,
        name=name,
      )(x, mask=mask)

    def conv(x, channels, kernel, padding, name):
      x = nn.relu(nn.Conv(channels, kernel, padding=padding, dtype=self.dtype, name=name)(x))
      # Batch statistics, too, are those of the valid frames.
      return norm(x, f"{name}_norm", valid if x.ndim == 3 else valid[..., None])

    def drop(x):
      return nn.Dropout(self.dropout, deterministic=not train)(x)

    x = norm(log_mel.astype(self.dtype), "input_norm", valid[..., None])
    x = jnp.where(valid[..., None], x, 0)
    # Timbral filters slide over frequency without padding and over time with it.
    half = self.timbral_frames // 2
    front = [
      conv(
        x,
        self.timbral_filters,
        (self.timbral_frames, bands),
        ((half, half), (0, 0)),
        f"timbral_{i}",
      )
      for i, bands in enumerate(self.timbral_bands)
    ]
    front += [
      conv(x, self.temporal_filters, (frames, 1), "SAME", f"temporal_{i}")
      for i, frames in enumerate(self.temporal_frames)
    ]
    x = jnp.concatenate([y.max(2) for y in front], axis=-1)
    x = jnp.where(valid, x, 0)
    layers, residual = [x], None
    for i in range(3):
      x = conv(x, self.mid_channels, (self.mid_frames,), "SAME", f"mid_{i}")
      x = jnp.where(valid, x if residual is None else x + residual, 0)
      layers.append(x)
      residual = x
    x = jnp.concatenate(layers, axis=-1).astype(wide)
    count = jnp.maximum(valid.sum(1, dtype=wide), 1)
    highest = jnp.where(valid, x, -jnp.inf).max(1)
    highest = jnp.where(valid.any(1), highest, 0)  # a window without frames
    # The graph flattens (features, 2), so maximum and mean of a feature stand side by side.
    pooled = jnp.stack([highest, x.sum(1) / count], axis=-1)
    self.sow("intermediates", "pooled", pooled)
    x = norm(pooled.reshape(pooled.shape[0], -1), "pooled_norm")
    x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(drop(x)))
    x = norm(x, "hidden_norm")
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(drop(x))
    return x.astype(wide)
