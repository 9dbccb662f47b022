"""Define YAMNet, a published network that recognizes 521 kinds of sound, music genres among them.

Source: Plakal and Ellis, YAMNet, in the TensorFlow Models repository (research/audioset/yamnet,
Apache-2.0), trained on AudioSet (Gemmeke et al., 2017). The architecture is MobileNet v1 (Howard et
al., 2017, arXiv 1704.04861). The weights that `pretrained fetch yamnet` reads contain batch
normalization folded into the convolutions, so the network has none.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.data.frontend import FrontendConfig
from genre_jax.models.layers import at_least_float32

# (stride, channels) of each pair of a depthwise and a pointwise convolution.
PAIRS = (
  (1, 64),
  (2, 128),
  (1, 128),
  (2, 256),
  (1, 256),
  (2, 512),
  (1, 512),
  (1, 512),
  (1, 512),
  (1, 512),
  (1, 512),
  (2, 1024),
  (1, 1024),
)
SILENCE = -6.907755  # log(0.001), the front end's value for no power
# 16 kHz, windows of 25 ms every 10 ms, magnitudes, 64 bands from 125 to 7500 Hz, log(x + 0.001),
# segments of 0.96 s: the file params.py of YAMNet in the TensorFlow Models repository. YAMNet's
# windows begin 56 samples later in a frame of the FFT, which changes no magnitude.
FRONTEND = FrontendConfig(
  sample_rate=16000,
  n_fft=512,
  win_length=400,
  hop_length=160,
  window="hann",
  center=False,
  n_mels=64,
  fmin=125.0,
  fmax=7500.0,
  mel_scale="htk_mel",
  mel_norm="none",
  power=1.0,
  compression="ln_0.001",
  db_ref="full_scale",
  top_db=0.0,
  frame_stride=1.0,
  num_frames=96,
)


class DepthwiseConv(nn.Module):
  """Convolution of each channel with a kernel of 3 x 3, with the parameters of `flax.linen.Conv`.

  A sum of nine shifted products: XLA's grouped convolution on CPU takes 30 times as long.

  Attributes:
    stride: Positions between outputs, along both axes.
    dtype: Dtype of the computation.
  """

  stride: int
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x):
    """Convolve float[B, T, F, C] with 'SAME' padding to dtype[B, T / stride, F / stride, C]."""
    channels, stride = x.shape[-1], self.stride
    shape = (3, 3, 1, channels)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    counts = [-(-size // stride) for size in x.shape[1:3]]
    missing = [
      max((count - 1) * stride + 3 - size, 0)
      for count, size in zip(counts, x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)])
    ends = [(count - 1) * stride + 1 for count in counts]
    terms = [
      x[:, i : i + ends[0] : stride, j : j + ends[1] : stride]
      * kernel[None, i : i + 1, j : j + 1, 0]
      for i in range(3)
      for j in range(3)
    ]
    return sum(terms[1:], terms[0]) + bias.astype(self.dtype)[None, None, None]


class Yamnet(nn.Module):
  """A convolution, 13 pairs of depthwise and pointwise convolutions, a mean, a dense layer.

  Like `Musicnn` it does not normalize its segments: it was trained on absolute levels.

  Attributes:
    num_classes: Number of logits.
    first_channels: Channels of the first convolution.
    dtype: Dtype of the computation.
  """

  normalization = "none"
  num_classes: int
  first_channels: int = 32
  dtype: jax.typing.DTypeLike = jnp.float32

  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return logits; their sigmoid is the probability of each kind of sound.

    The collection 'intermediates' gets 'embedding', float[batch, 1024], the mean over time and
    frequency of the last convolution.

    Args:
      log_mel: float[batch, time, frequency, 1], log(mel magnitude + 0.001). The published weights
        need 96 frames of 64 bands.
      frame_mask: bool[batch, time], False where a frame is padding; such frames become silence.
      train: Has no effect; the network has neither dropout nor batch statistics.

    Returns:
      float32[batch, num_classes].
    """
    return self.embedding_and_logits(log_mel, frame_mask)[1]

  @nn.compact
  def embedding_and_logits(self, log_mel, frame_mask=None):
    """Return the embedding, float32[batch, 1024], and the logits; see `__call__`."""
    x = log_mel.astype(self.dtype)
    if frame_mask is not None:
      x = jnp.where(frame_mask[:, :, None, None], x, jnp.asarray(SILENCE, self.dtype))

    def conv(x, channels, size, stride, number):
      layer = nn.Conv(
        channels, (size, size), strides=stride, dtype=self.dtype, name=f"conv_{number}"
      )
      return nn.relu(layer(x))

    x = conv(x, self.first_channels, 3, 2, 0)
    for pair, (stride, channels) in enumerate(PAIRS):
      number = 2 * pair + 1
      x = nn.relu(DepthwiseConv(stride, dtype=self.dtype, name=f"conv_{number}")(x))
      x = conv(x, channels, 1, 1, number + 1)
    x = x.astype(at_least_float32(self.dtype)).mean((1, 2))
    self.sow("intermediates", "embedding", x)
    logits = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x.astype(self.dtype))
    return x, logits.astype(at_least_float32(self.dtype))
