"""Define musicnn, a published music tagger with timbral and temporal filters.

Source: Pons and Serra (2019), "musicnn: Pre-trained convolutional neural networks for music audio
tagging", arXiv 1909.06654. Its first layers are those of Pons et al. (2018), arXiv 1711.02520: tall
filters over frequency ("timbral") in parallel with long filters over time ("temporal").

Each layer equals that of the released checkpoints' graph, which
`genre_jax/inference/musicnn_weights.py` reads. Padding, epsilon, and the order of ReLU and
normalization, which the paper does not state, are taken from the graph.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.models.fast_conv import blocks_1d, same_padding
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
# A filter is left out if no input of size 1 changes its normalized output by more than this.
NO_EFFECT = 1e-6
# XLA's convolution on CPU takes longer with fewer filters.
FEWEST_FILTERS = 17

UsedFilters = tuple[tuple[str, tuple[int, ...]], ...]


def find_used_filters(params: dict[str, Any]) -> UsedFilters:
  """Find the filters to compute: those with an effect. The output of the others is their bias.

  Nine in ten timbral and temporal filters of `musicnn_msd` are zero up to rounding.

  Args:
    params: Parameters of a `Musicnn`, arrays.

  Returns:
    (layer, numbers of its filters) for each convolution that has others, as
    `Musicnn.used_filters` takes it.
  """
  found = []
  for name, values in sorted(params.items()):
    if name.startswith(("timbral_", "temporal_", "mid_")) and "kernel" in values:
      kernel = np.abs(np.asarray(values["kernel"], np.float64))
      scale = np.abs(np.asarray(params[f"{name}_norm"]["scale"], np.float64))
      effects = kernel.reshape(-1, len(scale)).sum(0) * scale / NORM_EPSILON**0.5
      least = FEWEST_FILTERS if name.startswith("timbral_") else 1
      count = max(int((effects > NO_EFFECT).sum()), least)
      if count < len(scale):
        found.append((name, tuple(np.sort(np.argsort(-effects, kind="stable")[:count]).tolist())))
  return tuple(found)


class _Conv(nn.Module):
  """Convolution with the parameters of `flax.linen.Conv`, and ReLU.

  Attributes:
    features: Number of filters.
    kernel_size, padding, dtype: As of `flax.linen.Conv`.
    used: Numbers of the filters to compute; None for all.
  """

  grad_cam_layer = True  # Grad-CAM may show this layer's output
  features: int
  kernel_size: tuple[int, ...]
  padding: Any
  dtype: jax.typing.DTypeLike = jnp.float32
  used: tuple[int, ...] | None = None

  @nn.compact
  def __call__(self, x):
    """Return dtype[..., used filters]."""
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
    x, kernel, bias = (value.astype(self.dtype) for value in (x, kernel, bias))
    form = self._convolve
    if self.used is not None:
      used = np.array(self.used)
      kernel, bias = kernel[..., used], bias[used]
      if kernel.shape[1:3] == (1, 1):
        form = self._along_time
    return nn.relu(form(x, kernel) + bias.reshape((1,) * (x.ndim - 1) + (-1,)))

  def all_filters(self, y):
    """Return dtype[..., features]: outputs of the used filters, and of the others their bias."""
    if self.used is None:
      return y
    bias = nn.relu(self.get_variable("params", "bias").astype(self.dtype))
    bias = jnp.broadcast_to(bias.reshape((1,) * (y.ndim - 1) + (-1,)), (*y.shape[:-1], len(bias)))
    order = len(self.used) + np.arange(self.features)
    order[list(self.used)] = np.arange(len(self.used))
    return jnp.concatenate([y, bias], -1)[..., order]

  def _convolve(self, x, kernel):
    names = ("NWC", "WIO", "NWC") if x.ndim == 3 else ("NHWC", "HWIO", "NHWC")
    strides = (1,) * len(self.kernel_size)
    return jax.lax.conv_general_dilated(x, kernel, strides, self.padding, dimension_numbers=names)

  def _along_time(self, x, kernel):
    """Convolve each band as `_convolve` does; 3 to 10 times as fast on CPU for few filters."""
    batch, time, bands, _ = x.shape
    frames = len(kernel)
    rows = x.swapaxes(1, 2).reshape(batch * bands, time)
    y = blocks_1d(rows, kernel[:, 0, 0], same_padding(frames))
    return y.reshape(batch, bands, time, -1).swapaxes(1, 2)


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
    used_filters: The filters to compute if train is False, of `find_used_filters`; those of a layer
      that is not named are all computed.
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
  used_filters: UsedFilters = ()

  def for_inference(self, params: dict[str, Any]) -> "Musicnn":
    """Return the network that leaves out the filters without effect."""
    return self.clone(used_filters=find_used_filters(params))

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

    def norm(name):
      layer = nn.BatchNorm(
        use_running_average=not train,
        momentum=NORM_MOMENTUM,
        epsilon=NORM_EPSILON,
        dtype=self.dtype,
        name=name,
      )

      def apply(x, mask=None):
        # With another dtype than float32 Flax combines it with float32 statistics.
        with jax.numpy_dtype_promotion("standard"):
          return layer(x, mask=mask)

      return apply

    used = {} if train else dict(self.used_filters)

    def conv(x, channels, kernel, padding, name):
      layer = _Conv(channels, kernel, padding, self.dtype, used.get(name), name=name)
      normalize = norm(f"{name}_norm")
      x = layer(x)
      if train:  # Batch statistics are computed over the valid frames alone.
        return normalize(x, valid) if x.ndim == 3 else normalize(x, valid[..., None]).max(2)
      if x.ndim == 3:
        return normalize(layer.all_filters(x))
      # Each channel's normalization rises or falls, so the maximum is that of one of two values.
      ends = [normalize(layer.all_filters(y)) for y in (x.max(2), x.min(2))]
      return jnp.maximum(*ends)

    def drop(x):
      return nn.Dropout(self.dropout, deterministic=not train)(x)

    x = norm("input_norm")(log_mel.astype(self.dtype), valid[..., None])
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
    x = jnp.concatenate(front, axis=-1)
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
    x = norm("pooled_norm")(pooled.reshape(pooled.shape[0], -1))
    x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(drop(x)))
    x = norm("hidden_norm")(x)
    self.sow("intermediates", "embedding", x)
    logits = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(drop(x))
    return pooled, x.astype(wide), logits.astype(wide)
