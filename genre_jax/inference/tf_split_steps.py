"""`tf_split` a few frames at a time: no frame passes a layer twice.

The network pads nothing in time, so each layer needs of the past only the frames that its kernel
still covers. A step takes as many frames as stand between two of the network's vectors (2), carries
those over for every layer, and makes one vector; statistics over the last vectors, and over the
profile of the last frames, feed the classifier. The layers are the network's own
(`models/tf_split.py`) with the network's weights.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models.layers import BatchNorm, Conv, center_frames, masked_statistics, pool_axis
from genre_jax.models.tf_split import _DB_SCALE, TfSplit

Carry = dict[str, jax.Array]


class TfSplitSteps:
  """A tf_split that listens.

  Args:
    network: the network.
    variables: its parameters and batch statistics.
    n_mels: bands of a frame.
    window: frames over which it answers; rounded to whole steps.

  Attributes:
    frames_per_step: frames that one step takes.
    sees: frames that one vector sees.
    window: frames over which it answers.
  """

  def __init__(self, network: TfSplit, variables: dict[str, Any], n_mels: int, window: int):
    self._network, self._variables = network, variables
    self.frames_per_step = math.prod(network.time_pools)
    self._n_mels = n_mels
    self._warm_up, self._carry = self._layout()
    self.sees = (self._warm_up + 1) * self.frames_per_step
    size = max(1, window // self.frames_per_step - self._warm_up)
    self.window = (size + self._warm_up) * self.frames_per_step
    features = (network.branch_features * len(network.branches), *network.fusion_features)[-1]
    # The last vectors, and of the last frames the shape of the spectrum and the step to it.
    rings = {"vectors": (size, features)}
    if network.profile_features:
      rings |= {name: (self.window, n_mels) for name in ("shapes", "steps", "last")}
      rings["last"] = (1, n_mels)
    self._rings = {name: jnp.zeros((1, *shape), jnp.float32) for name, shape in rings.items()}
    self._steps = 0
    self._step = _step_of(network)

  def push(self, frames: np.ndarray) -> jax.Array | None:
    """Takes float32[frames_per_step, n_mels] in dB.

    Returns:
      Logits float32[classes] over the window that ends here; None before there is a vector.
    """
    self._carry, self._rings, logits = self._step(
      self._variables, self._carry, self._rings, frames[None, ..., None],
      np.int32(self._steps), np.int32(self._steps - self._warm_up))
    self._steps += 1
    return logits[0] if self._steps > self._warm_up else None

  def _layout(self) -> tuple[int, Carry]:
    """Steps before the first vector, and carries of zeros."""
    shapes: dict[str, tuple] = {}
    late = []
    frames = jax.ShapeDtypeStruct((1, self.frames_per_step, self._n_mels, 1), jnp.float32)
    jax.eval_shape(
      lambda frames: late.append(
        _Trace(self._network, self._variables, {}, shapes).vector(frames)[1]), frames)
    return late[0], {name: jnp.zeros(*about) for name, about in shapes.items()}


@functools.lru_cache(maxsize=8)
def _step_of(network: TfSplit):
  """The compiled step of a network; listeners of one model share it."""

  def step(variables, carry, rings, frames, taken, number):
    trace = _Trace(network, variables, carry, {})
    x, _ = trace.vector(frames)
    # The order of vectors is nothing to their statistics.
    vectors = _put(rings["vectors"], x, jnp.maximum(number, 0))
    mask = (jnp.arange(vectors.shape[1])[None] <= number).astype(jnp.float32)
    rings = {**rings, "vectors": vectors}
    pooled = masked_statistics(vectors, mask, network.statistics)
    pooled = BatchNorm(True).apply(_of(variables, "embedding_norm"), pooled)
    if network.profile_features:
      profile, rings = _profile(network, variables, rings, frames, taken)
      pooled = jnp.concatenate([pooled, profile], -1)
    logits = nn.Dense(network.num_classes).apply(_of(variables, "logits"), pooled)
    return trace.new, rings, logits

  return jax.jit(step)


def _put(ring, x, number):
  """A ring of float[1, size, D] whose rows take the place of the oldest, `number` blocks later."""
  at = number * x.shape[1] % ring.shape[1]
  return jax.lax.dynamic_update_slice(ring, x.astype(ring.dtype), (0, at, 0))


def _profile(network: TfSplit, variables, rings, frames, taken):
  """float[1, profile_features] of the frames of the window, and the rings with the new frames."""
  new = frames[..., 0].astype(jnp.float32)
  count, size = new.shape[1], rings["shapes"].shape[1]
  before = jnp.concatenate([rings["last"], new[:, :-1]], 1)
  rings = {**rings, "last": new[:, -1:],
           "shapes": _put(rings["shapes"], network.shape_of(new[..., None]), taken),
           "steps": _put(rings["steps"], network.steps_of(before, new), taken)}
  heard = (taken + 1) * count
  age = (heard - 1 - jnp.arange(size)) % size  # of each place, in frames; 0 is the newest
  there = (jnp.arange(size) < heard)[None].astype(jnp.float32)
  # The step to the window's first frame comes from outside.
  inside = there * (age < jnp.minimum(heard, size) - 1)[None]
  profile = network.profile_of(rings["shapes"], there, rings["steps"], inside)
  x = BatchNorm(True, dtype=network.dtype).apply(_of(variables, "profile_in_norm"), profile)
  dense = nn.Dense(network.profile_features, use_bias=False, dtype=network.dtype)
  x = BatchNorm(True, dtype=network.dtype).apply(
    _of(variables, "profile_norm"), dense.apply(_of(variables, "profile"), x))
  return nn.relu(x).astype(jnp.float32), rings


def _of(variables, name):
  """The variables of one layer."""
  return {kind: tree[name] for kind, tree in variables.items() if name in tree}


class _Trace:
  """One step through the layers.

  `late` counts how many frames (of the rate at that layer) the outputs lag behind the inputs; it
  depends on the network alone.

  Attributes:
    new: the carries for the next step.
  """

  def __init__(self, network: TfSplit, variables, carry: Carry, shapes: dict[str, tuple]):
    self._network, self._variables, self._old = network, variables, carry
    self._shapes = shapes  # filled with those of the carries; zeros stand for those not given
    self.new: Carry = {}

  def vector(self, frames):
    """The vector, float[1, 1, features], that float[1, frames, bands, 1] complete, and its lag."""
    network, parts = self._network, {}
    if "frequency" in network.branches:
      parts["frequency"] = self._frequency(frames)
    if "time" in network.branches:
      parts["time"] = self._time(frames)
    # The longer branch loses vectors at both ends: so many at the beginning.
    lost = {name: late for name, (_, late) in parts.items()}
    extra = {name: (max(lost.values()) - late) // 2 for name, late in lost.items()}
    latest = max(late + extra[name] for name, late in lost.items())
    x = jnp.concatenate([self._hold(f"{name}_wait", x, latest - late - extra[name])
                         for name, (x, late) in parts.items()], -1)
    x = nn.relu(self._norm("branches_norm", x))
    for i, (kernel, features) in enumerate(
        zip(network.fusion_kernels, network.fusion_features, strict=True)):
      x = self._conv(f"fusion_{i}", x[:, :, None], (kernel, 1), features)[:, :, 0]
      x = nn.relu(self._norm(f"fusion_norm_{i}", x))
      latest += kernel - 1
    return x, latest

  def _frequency(self, frames):
    network, late = self._network, 0
    x = center_frames(frames, network.floor_db) / _DB_SCALE
    x = self._norm("band_norm", x[..., 0])[..., None]
    x = pool_axis(x, network.frequency_frames, 1, "mean")
    for i, (length, channels, pool) in enumerate(zip(
        network.frequency_kernels, network.frequency_channels, network.frequency_pools,
        strict=True)):
      kernel = network._kernel(1, length)
      x = self._conv(f"frequency_{i}", x, kernel, channels, 2 if i == 0 else 1)
      x = nn.relu(self._norm(f"frequency_norm_{i}", pool_axis(x, pool, 2)))
      late += kernel[0] - 1
    x, late = self._pool("frequency_pool", self._flat("frequency_out", x), late,
                         network._stride() // network.frequency_frames, "mean")
    return x, late

  def _time(self, frames):
    network, late = self._network, 0
    x = pool_axis(frames / _DB_SCALE, frames.shape[2] // network.time_bands, 2, "mean")
    for i, (length, channels, pool) in enumerate(zip(
        network.time_kernels, network.time_channels, network.time_pools, strict=True)):
      kernel = network._kernel(length, 1)
      x = self._conv(f"time_{i}", x, kernel, channels, zero_sum=i == 0)
      x, late = self._pool(f"time_pool_{i}", x, late + kernel[0] - 1, pool, "max")
      x = nn.relu(self._norm(f"time_norm_{i}", x))
    return self._flat("time_out", x), late

  def _conv(self, name, x, kernel, features, stride=1, zero_sum=False):
    """As many outputs as new inputs."""
    x = self._with_past(name, x, kernel[0] - 1)
    return Conv(features, kernel, stride, zero_sum, self._network.dtype).apply(
      _of(self._variables, name), x)

  def _pool(self, name, x, late, size, kind):
    """Pools in the groups in which the whole network does, which begin at its first output."""
    wait = -late % size
    return pool_axis(self._hold(name, x, wait), size, 1, kind), (late + wait) // size

  def _with_past(self, name, x, count):
    """x with the last `count` frames before it; keeps its own last for the next step."""
    if not count:
      return x
    shape = (1, count, *x.shape[2:])
    self._shapes[name] = (shape, x.dtype)
    past = self._old[name] if name in self._old else jnp.zeros(shape, x.dtype)
    x = jnp.concatenate([past, x], 1)
    self.new[name] = x[:, -count:]
    return x

  def _hold(self, name, x, count):
    """x delayed by `count` frames."""
    return self._with_past(name, x, count)[:, :x.shape[1]]

  def _norm(self, name, x):
    return BatchNorm(True, dtype=self._network.dtype).apply(_of(self._variables, name), x)

  def _flat(self, name, x):
    x = x.reshape(*x.shape[:2], -1)
    dense = nn.Dense(self._network.branch_features, use_bias=False, dtype=self._network.dtype)
    return dense.apply(_of(self._variables, name), x)
