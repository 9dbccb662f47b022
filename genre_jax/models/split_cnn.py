"""Define `split_cnn`: learned kernels along time and along frequency that start from fixed ones.

The kernels along frequency are as tall as the spectrum and start as cosines; the kernels along time
are long and start as waves. They are those of `axis_features.py`, and statistics over the segment
and two small heads follow as there. Each kernel is its start plus a learned change. The change
starts at 0 and weight decay pulls it back to 0, so that few training artists move the kernels only
where that lowers the loss.

Its control, `square_cnn`, has square kernels in place of the waves along time.

Prior work:
  Pons, Lidy and Serra, "Experimenting with musically motivated convolutional neural networks",
    CBMI 2016, and Pons et al., "End-to-end learning for music audio tagging at scale", ISMIR 2018:
    tall kernels along frequency beside long kernels along time.
  Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018, and
    Zeghidour et al., "LEAF: A learnable frontend for audio classification", ICLR 2021: learned
    filters that start from designed ones.
  Li, Grandvalet and Davoine, "Explicit inductive bias for transfer learning with convolutional
    networks", ICML 2018: L2-SP, the penalty on the distance from the start.
"""

import flax.linen as nn
import jax.numpy as jnp

from genre_jax.models.axis_features import AxisFeatures
from genre_jax.models.axis_kernels import MODULATION_FRAMES, wave_kernel


class SplitCnn(AxisFeatures):
  """`axis_features` with learned changes of its kernels along frequency and along time.

  Attributes:
    kernel_scale: Factor of the learned changes, which sets their learning rate relative to that of
      the heads. With 0 the network is `axis_features`.
  """

  kernel_scale: float = 0.1

  def _cosine_kernel(self, bands):
    start = super()._cosine_kernel(bands)
    change = self.param("cosines_kernel", nn.initializers.zeros, start.shape)
    return self._changed(start, change)

  def _wave_kernel(self, name, rates, frames):
    start = super()._wave_kernel(name, rates, frames)
    shape = wave_kernel(rates, MODULATION_FRAMES, self.square).shape
    change = self.param(f"{name}_kernel", nn.initializers.zeros, shape)
    first = (shape[0] - start.shape[0]) // 2  # a segment can be shorter than the kernel
    change = change[first : first + start.shape[0]]
    # The sum stays 0: a gain changes no logit.
    return self._changed(start, change - change.mean(tuple(range(change.ndim - 1)), keepdims=True))

  def _changed(self, start, change):
    if not self.kernel_scale:
      return start
    return jnp.asarray(start, change.dtype) + self.kernel_scale * change


class SquareCnn(SplitCnn):
  """`split_cnn` with square kernels in place of those along time, of about as many weights."""

  square: bool = True
