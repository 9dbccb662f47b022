"""Define a linear layer on two published networks, musicnn and YAMNet, over a waveform.

The two take different spectrograms, so the input is the waveform and the spectrograms are computed
in the network. What they know comes from the Million Song Dataset and AudioSet; see `musicnn.py`
and `yamnet.py`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel_jax
from genre_jax.models import musicnn, yamnet
from genre_jax.models.layers import at_least_float32

# 10 ms of samples per frame, 3 s: the segment of musicnn, and three of YAMNet.
FRONTEND = FrontendConfig(
  sample_rate=16000,
  n_fft=160,
  win_length=160,
  hop_length=160,
  center=False,
  n_mels=160,
  fmax=8000.0,
  compression="waveform",
  db_ref="full_scale",
  top_db=0.0,
  frame_stride=1.0,
  num_frames=300,
)

# Root mean square to which each segment is amplified: the median of GTZAN's excerpts. A tone of one
# step of 24-bit audio has LEAST_POWER.
LEVEL, LEAST_POWER = 10 ** (-16 / 20), 1e-14
# A label that is limited by others stays this much below the most likely of them, so that it is
# never the first.
LIMIT_MARGIN = 0.1
# Logits of tags and sounds are clipped: near silence they reach -50.
LOGIT_LIMIT = 10.0


def limit_labels(logits, limits):
  """Return logits, some of which are lowered to just below the highest one of others.

  Args:
    logits: float[batch, labels].
    limits: For each label the numbers of the labels that limit it, none if it has no limit.

  Returns:
    float[batch, labels].
  """
  numbers = np.arange(logits.shape[-1])
  mask = np.array([np.isin(numbers, some) for some in limits])
  highest = jnp.where(mask, logits[:, None], -jnp.inf).max(-1) - LIMIT_MARGIN
  return jnp.where(mask.any(1), jnp.minimum(logits, highest), logits)


class MusicnnYamnet(nn.Module):
  """A linear layer on the embeddings and the logits of musicnn and YAMNet.

  Attributes:
    num_classes: Number of logits.
    not_music: Number of logits, the last ones, of sounds other than music. The more likely one of
      them is, the less likely are all genres.
    limits: As of `limit_labels`, for the other logits; empty for no limits.
    tags: Tags of musicnn.
    sounds: Kinds of sound of YAMNet.
    dtype: Dtype of the computation.
    used_filters: As of `Musicnn`.
  """

  normalization = "none"
  num_classes: int
  not_music: int = 0
  limits: tuple[tuple[int, ...], ...] = ()
  tags: int = 50
  sounds: int = 521
  dtype: jax.typing.DTypeLike = jnp.float32
  used_filters: musicnn.UsedFilters = ()

  def for_inference(self, params: dict[str, Any]) -> "MusicnnYamnet":
    """Return the network that leaves out the filters without effect."""
    return self.clone(used_filters=musicnn.find_used_filters(params["musicnn"]))

  @nn.compact
  def __call__(self, frames, frame_mask=None, *, train=False):
    """Return logits.

    The collection 'intermediates' gets 'embedding', float32[batch, 1923]: the maximum and the mean
    over time of musicnn's last convolution (128), its penultimate layer (200) and logits (50), the
    penultimate layer of YAMNet (1024) and its logits (521).

    Args:
      frames: float[batch, time, samples per frame, 1], a waveform at 16 kHz cut into frames.
      frame_mask: bool[batch, time], False where a frame is padding at the end; None if none is.
      train: As of `Musicnn`.

    Returns:
      float32[batch, num_classes].
    """
    batch, count, hop, _ = frames.shape
    if frame_mask is None:
      frame_mask = jnp.ones((batch, count), bool)
    samples = frame_mask.sum(1, dtype=jnp.int32) * hop  # that are not padding
    frames = jnp.where(frame_mask[:, :, None], frames[..., 0].astype(jnp.float32), 0)
    waveform = frames.reshape(batch, count * hop)
    # The two networks know levels; a gain must not change a genre.
    power = (waveform**2).sum(1) / jnp.maximum(samples, 1).astype(jnp.float32)
    waveform = waveform * (LEVEL / jnp.sqrt(jnp.maximum(power, LEAST_POWER)))[:, None]
    embedding = jnp.concatenate(
      [*self._musicnn(waveform, samples, train), *self._yamnet(waveform, samples)], -1
    )
    self.sow("intermediates", "embedding", embedding)
    head = nn.Dense(self.num_classes, dtype=self.dtype, name="head")
    logits = head(embedding.astype(self.dtype)).astype(at_least_float32(self.dtype))
    genres, sounds = jnp.split(logits, [self.num_classes - self.not_music], -1)
    if self.limits:
      genres = limit_labels(genres, self.limits)
    if self.not_music:
      genres = genres - nn.softplus(sounds.max(-1, keepdims=True))
    return jnp.concatenate([genres, sounds], -1)

  def _musicnn(self, waveform, samples, train):
    """Return the pooled last convolution, the penultimate layer and the logits of musicnn."""
    frontend = musicnn.FRONTEND
    log_mel = log_mel_jax(waveform, frontend)[:, : frontend.num_frames, :, None]
    mask = jnp.arange(log_mel.shape[1])[None] <= samples[:, None] // frontend.hop_length
    network = musicnn.Musicnn(
      num_classes=self.tags, dtype=self.dtype, used_filters=self.used_filters, name="musicnn"
    )
    pooled, embedding, logits = network.features_and_logits(log_mel, mask, train=train)
    pooled = pooled[:, -network.mid_channels :].reshape(waveform.shape[0], -1)
    return pooled, embedding, jnp.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)

  def _yamnet(self, waveform, samples):
    """Return the penultimate layer and the logits of YAMNet, means over its segments."""
    frontend = yamnet.FRONTEND
    log_mel = log_mel_jax(waveform, frontend)
    length = frontend.num_frames
    if (missing := length - log_mel.shape[1]) > 0:
      log_mel = jnp.pad(log_mel, ((0, 0), (0, missing), (0, 0)), constant_values=yamnet.SILENCE)
    count = log_mel.shape[1] // length
    segments = log_mel[:, : count * length].reshape(-1, length, frontend.n_mels, 1)
    network = yamnet.Yamnet(num_classes=self.sounds, dtype=self.dtype, name="yamnet")
    outputs = network.embedding_and_logits(segments)
    # A segment counts if at least half of it is not padding, the first one always.
    half = (2 * jnp.arange(count) + 1) * length * frontend.hop_length // 2
    weights = (half[None] <= samples[:, None]).at[:, 0].set(True).astype(jnp.float32)
    weights = (weights / weights.sum(1, keepdims=True))[..., None]
    shape = waveform.shape[0], count, -1
    embedding, logits = ((x.reshape(shape) * weights).sum(1) for x in outputs)
    return embedding, jnp.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)
