"""Define `split_cnn_musicnn`: `split_cnn` beside a published network that knows more music.

musicnn (`musicnn.py`) has tall kernels along frequency beside long kernels along time, too, and was
trained on the Million Song Dataset. Its embedding and its tags join the statistics of `split_cnn`.
Its weights come from `config.init_from=musicnn_msd` and stay as they are; the kernels and heads of
`split_cnn` are trained.

musicnn takes another front end. The segment is resampled to it: bands by interpolation on the mel
scale, frames by interpolation in time. Detail of less than 78 ms is absent from the log-mels of
12.9 frames a second, which lowers what musicnn gives (measured: docs/results/notebook.md).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.mel import hz_to_mel
from genre_jax.models.musicnn import Musicnn, UsedFilters, find_used_filters
from genre_jax.models.split_cnn import SplitCnn

FRAME_RATE = 22050 / 512 / (1292 / 387)  # of the log-mel archive of GTZAN
TOP_HZ, BANDS = 11025.0, 128
MUSICNN_FRAME_RATE, MUSICNN_FRAMES = 16000 / 256, 187
MUSICNN_TOP_HZ, MUSICNN_BANDS = 8000.0, 96
# Highest mel power of musicnn's front end, in dB: the median of 25 excerpts of GTZAN is 20.
PEAK_DB = 20.0
TAGS = 50


def band_matrix():
  """Return float32[BANDS, MUSICNN_BANDS], which interpolates levels at musicnn's bands."""
  step = hz_to_mel(TOP_HZ, "slaney") / (BANDS + 1)
  musicnn_step = hz_to_mel(MUSICNN_TOP_HZ, "slaney") / (MUSICNN_BANDS + 1)
  position = np.arange(1, MUSICNN_BANDS + 1) * musicnn_step / step - 1
  distance = np.abs(position[None] - np.arange(BANDS)[:, None])
  return np.float32(np.maximum(1 - distance, 0) / np.maximum(1 - distance, 0).sum(0))


def resample(log_mel, mask):
  """Return the middle 3 s of each segment as musicnn's front end would give them.

  Args:
    log_mel: float[B, T, BANDS, 1] in dB; a constant added to it changes nothing.
    mask: float[B, T], valid frames first.

  Returns:
    float[B, MUSICNN_FRAMES, MUSICNN_BANDS, 1], log10(1 + 10000 power), its maximum at PEAK_DB.
  """
  x = log_mel[..., 0]
  if x.shape[2] != BANDS:
    raise ValueError(f"{x.shape[2]} bands: musicnn's front end is interpolated from {BANDS}")
  peak = jnp.where(mask[..., None] > 0, x, -jnp.inf).max((1, 2), keepdims=True)
  x = (x - jnp.where(jnp.isfinite(peak), peak, 0)) @ jnp.asarray(band_matrix(), x.dtype)
  count = jnp.maximum(mask.sum(1, keepdims=True), 1)
  length = (MUSICNN_FRAMES - 1) * FRAME_RATE / MUSICNN_FRAME_RATE
  first = jnp.maximum((count - 1 - length) / 2, 0)
  frame = np.arange(MUSICNN_FRAMES, dtype=np.float32) * np.float32(FRAME_RATE / MUSICNN_FRAME_RATE)
  position = jnp.minimum(first + jnp.asarray(frame, x.dtype)[None], count - 1)
  low = jnp.floor(position).astype(jnp.int32)
  high = jnp.minimum(low + 1, x.shape[1] - 1)
  share = (position - low.astype(x.dtype))[..., None]
  take = jax.vmap(lambda row, index: row[index])
  x = take(x, low) * (1 - share) + take(x, high) * share
  return jnp.log10(1 + 1e4 * 10 ** ((x + PEAK_DB) / 10))[..., None]


class SplitCnnMusicnn(SplitCnn):
  """`split_cnn` with the embedding and the tags of musicnn among its statistics.

  Attributes:
    tags: Number of musicnn's tags.
    used_filters: As of `Musicnn`.
  """

  backbone = "musicnn"  # whose weights `config.init_from` may give
  tags: int = TAGS
  used_filters: UsedFilters = ()

  def for_inference(self, params: dict[str, Any]) -> "SplitCnnMusicnn":
    """Return the network that leaves out the filters without effect."""
    return self.clone(used_filters=find_used_filters(params[self.backbone]))

  def _statistics(self, log_mel, mask):
    x = super()._statistics(log_mel, mask)
    network = Musicnn(
      num_classes=self.tags,
      dtype=self.dtype,
      used_filters=self.used_filters,
      name=self.backbone,
    )
    _, *outputs = network.features_and_logits(resample(log_mel, mask))
    return jnp.concatenate([x, *(jax.lax.stop_gradient(y).astype(x.dtype) for y in outputs)], -1)
