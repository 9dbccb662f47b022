"""Define musicnn, a published music tagger with timbral and temporal filters.

Source: Pons and Serra (2019), "musicnn: Pre-trained convolutional neural networks for music audio
tagging", arXiv 1909.06654. Its first layers are those of Pons et al. (2018), arXiv 1711.02520: tall
filters over frequency ("timbral") in parallel with long filters over time ("temporal").

Each layer equals that of the released checkpoints' graph, which
`genre_jax/inference/musicnn_weights.py` reads. Padding, epsilon, and the order of ReLU and
normalization, which the paper does not state, are taken from the graph.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.data.frontend import FrontendConfig
from genre_jax.models.layers import at_least_float32

# Defaults of tf.layers.batch_normalization in TensorFlow 1, with which the weights were trained.
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.99
# 16 kHz, FFT 512, hop 256, 96 mel bands, 187 frames (3 s): Pons and Serra (2019). The rest are the
# defaults of librosa.feature.melspectrogram before 0.10, which computed the training data.
FRONTEND = FrontendConfig(
  sample_rate=16000,
  n_fft=512,
  win_length=512,
  hop_length=256,
  window="hann",
  center=True,
  pad_mode="reflect",
  n_mels=96,
  fmin=0.0,
  fmax=8000.0,
  mel_scale="slaney",
  mel_norm="slaney",
  power=2.0,
  compression="log10_10000",
  db_ref="full_scale",
  top_db=0.0,
  frame_stride=1.0,
  num_frames=187,
)


class Musicnn(nn.Module):
  """Timbral and temporal filters, three residual convolutions, pooling over time, dense layers.

  Unlike the other networks, this one does not normalize its segments. It was trained on absolute
  levels: log10(1 + 10000 power) of audio in [-1, 1]. The defaults are the published sizes.

  Attributes:
    num_classes: Number of logits.
    timbral_bands: Mel bands that each kind of timbral filter spans: 0.4 and 0.7 of 96.
    timbral_frames: Frames that a timbral filter spans.
    timbral_filters: Number of filters of each kind, 1.6 * 128.
    temporal_frames: Frames that each kind of temporal filter spans; all span one band.
    temporal_filters: Number of filters of each kind, 1.6 * 32.
    mid_channels: Channels of each of the three convolutions after the filters.
    mid_frames: Frames that these convolutions span.
    hidden: Width of the penultimate layer.
    dropout: Dropout rate before each of the two dense layers.
    dtype: Dtype of the computation.
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
  dtype: jax.typing.DTypeLike = jnp.float32

  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return tag logits; their sigmoid is each tag's probability.

    A masked segment gives the logits of its valid frames alone. The network pads with zeros after
    its first normalization, so frames set to zero there are padding to every later layer.

    The collection 'intermediates' gets 'pooled', float[batch, features, 2], and 'embedding',
    float[batch, hidden]. 'pooled' is the maximum and the mean over time of the channels of the
    filters and of the three convolutions.

    Args:
      log_mel: float[batch, time, frequency, 1], log10(1 + 10000 mel power). Any number of frames;
        at least the bands of the tallest filter. The published weights need 96 bands.
      frame_mask: bool[batch, time], False where a frame is padding; None if no frame is.
      train: True to use and update batch statistics and to apply dropout (rng 'dropout').

    Returns:
      float32[batch, num_classes].
    """
    return self.features_and_logits(log_mel, frame_mask, train=train)[2]

  @nn.compact
  def features_and_logits(self, log_mel, frame_mask=None, *, train=False):
    """Return 'pooled', 'embedding' and the logits; see `__call__`."""
    if frame_mask is None:
      frame_mask = jnp.ones(log_mel.shape[:2], bool)
    valid = frame_mask[:, :, None]
    wide = at_least_float32(self.dtype)

    def norm(x, name, mask=None):
      layer = nn.BatchNorm(
        use_running_average=not train,
        momentum=NORM_MOMENTUM,
        epsilon=NORM_EPSILON,
        dtype=self.dtype,
        name=name,
      )
      # With another dtype than float32 Flax combines it with float32 statistics.
      with jax.numpy_dtype_promotion("standard"):
        return layer(x, mask=mask)

    def conv(x, channels, kernel, padding, name):
      x = nn.relu(nn.Conv(channels, kernel, padding=padding, dtype=self.dtype, name=name)(x))
      # Batch statistics are also computed over the valid frames alone.
      return norm(x, f"{name}_norm", valid if x.ndim == 3 else valid[..., None])

    def drop(x):
      return nn.Dropout(self.dropout, deterministic=not train)(x)

    x = norm(log_mel.astype(self.dtype), "input_norm", valid[..., None])
    x = jnp.where(valid[..., None], x, 0)
    # Timbral filters move over frequency without padding and over time with padding.
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
    highest = jnp.where(valid.any(1), highest, 0)  # a segment without valid frames
    # The published graph flattens (features, 2): each feature's maximum, then its mean.
    pooled = jnp.stack([highest, x.sum(1) / count], axis=-1)
    self.sow("intermediates", "pooled", pooled)
    x = norm(pooled.reshape(pooled.shape[0], -1), "pooled_norm")
    x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(drop(x)))
    x = norm(x, "hidden_norm")
    self.sow("intermediates", "embedding", x)
    logits = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(drop(x))
    return pooled, x.astype(wide), logits.astype(wide)
