"""Compute Grad-CAM: the parts of a segment that raise the score of a class.

`nn.intercept_methods` reads the outputs of modules, so that networks need no code for it. A module
counts as a layer for Grad-CAM if it is an `nn.Conv` or has an attribute `grad_cam_layer = True`.
The name of a layer gives its branch: 'time_0' and 'time/conv_1' belong to the branch 'time'. The
map of a branch is that of its last layer whose output has a time and a frequency axis.

Reference: Selvaraju et al., "Grad-CAM", ICCV 2017.
"""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models import layers

LOCATING_SEGMENTS = 2  # used to locate the positions of a map in the input
NORMS = (nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm, nn.LayerNorm, nn.RMSNorm, layers.BatchNorm)


@dataclasses.dataclass(frozen=True)
class FeatureMap:
  """Last activations of a branch.

  Attributes:
    branch: Name of the branch, as 'time'.
    layer: Path of the module whose output it is, as 'time/norm_1'.
    shape: Shape of the output for one segment: two axes and channels.
  """

  branch: str
  layer: str
  shape: tuple[int, int, int]


def _branch(path: tuple[str, ...]) -> str:
  """Return the branch of a module path.

  'time' for ('time_0',) and ('time', 'conv_1'); 'layers' for ('conv_3',), which names no branch.
  """
  stem = re.sub(r"_?\d+$", "", path[0])
  return "layers" if stem.lower() == "conv" else stem


def _is_grad_cam_layer(module: nn.Module) -> bool:
  return isinstance(module, nn.Conv) or getattr(module, "grad_cam_layer", False)


def _intercepted(run, on_output):
  """Call run() with every module's output replaced by on_output(module, output)."""

  def interceptor(next_function, args, kwargs, context):
    output = next_function(*args, **kwargs)
    if context.method_name != "__call__" or not isinstance(output, jax.Array):
      return output
    return on_output(context.module, output)

  with nn.intercept_methods(interceptor):
    return run()


def feature_maps(model: nn.Module, variables, segments: jax.ShapeDtypeStruct) -> list[FeatureMap]:
  """Return the last map of each branch.

  Args:
    model: Network.
    variables: Its parameters and batch statistics.
    segments: Shape and dtype of a batch of segments.

  Returns:
    One map for each branch; empty if no layer for Grad-CAM keeps both axes.
  """
  calls = []

  def record(module, output):
    if output.ndim == 4:
      calls.append((module, module.path, output.shape[1:]))
    return output

  jax.eval_shape(
    lambda v, x: _intercepted(lambda: model.apply(v, x, train=False), record), variables, segments
  )
  last: dict[str, FeatureMap] = {}
  for i, (module, path, shape) in enumerate(calls):
    if not _is_grad_cam_layer(module) or min(shape[:2]) < 2:
      continue
    branch = _branch(path)
    # A normalization that follows is closer to the input of the ReLU.
    if i + 1 < len(calls):
      following, following_path, following_shape = calls[i + 1]
      if isinstance(following, NORMS) and following_shape[2] == shape[2]:
        path, shape = following_path, following_shape
    last[branch] = FeatureMap(branch, "/".join(path), shape)
  return list(last.values())


def _apply(model, variables, log_mel, frame_mask, deltas):
  """Return (logits, {layer: output}) with deltas[layer] added to the output of each layer."""
  outputs = {}

  def add(module, output):
    layer = "/".join(module.path)
    if layer not in deltas:
      return output
    outputs[layer] = output + deltas[layer].astype(output.dtype)
    return outputs[layer]

  logits = _intercepted(lambda: model.apply(variables, log_mel, frame_mask, train=False), add)
  return logits, outputs


class GradCam:
  """Compute Grad-CAM of one network, compiled for one batch size.

  Args:
    model: Network.
    variables: Its parameters and batch statistics.
    log_mel: float32[batch, time, frequency, 1], segments of real audio in dB. Gradients on them
      locate each position of a map in the input.

  Attributes:
    maps: Feature map of each branch; empty if the network has none.
  """

  def __init__(self, model: nn.Module, variables, log_mel: np.ndarray):
    self._model, self._variables = model, variables
    self._num = len(log_mel)
    self._segment_shape = log_mel.shape[1:3]
    self.maps = feature_maps(model, variables, jax.ShapeDtypeStruct(log_mel.shape, jnp.float32))
    self._zeros = {m.layer: np.zeros((self._num, *m.shape), np.float32) for m in self.maps}

    def heat(variables, log_mel, frame_mask, classes):
      def score(deltas):
        logits, outputs = _apply(model, variables, log_mel, frame_mask, deltas)
        return jnp.take_along_axis(logits, classes[:, None], 1).sum(), outputs

      grads, outputs = jax.grad(score, has_aux=True)(self._zeros)
      heats = {}
      for layer, output in outputs.items():
        weight = grads[layer].astype(jnp.float32).mean((1, 2), keepdims=True)
        heats[layer] = nn.relu((weight * nn.relu(output.astype(jnp.float32))).sum(-1))
      return heats

    self._heat = jax.jit(heat)
    self._views = self._locate(log_mel) if self.maps else {}

  def _locate(self, log_mel):
    """Return {layer: (transposed, ((first, last time), (first, last band)))}.

    A position of a map is located at the center of its squared gradient over the input. Two
    positions on each axis give offset and step, whatever padding, pooling or transposition a
    network applies.
    """
    log_mel = log_mel[:LOCATING_SEGMENTS]
    zeros = {m.layer: np.zeros((len(log_mel), *m.shape), np.float32) for m in self.maps}
    rng = np.random.default_rng(0)
    places, energies = [], []

    def squared_gradient(variables, log_mel, lines):
      def outputs(x):
        return _apply(self._model, variables, x, None, zeros)[1]

      values, pull = jax.vjp(outputs, log_mel)
      lines = {layer: line.astype(values[layer].dtype) for layer, line in lines.items()}
      return jnp.square(pull(lines)[0][..., 0]).sum(0)

    squared_gradient = jax.jit(squared_gradient)
    for m in self.maps:
      for axis in (0, 1):
        length = m.shape[axis]
        for place in (length // 4, length - 1 - length // 4):
          # Random signs: a normalization would cancel a constant.
          signs = rng.choice(np.float32([-1, 1]), m.shape)
          line = np.zeros_like(zeros[m.layer])
          index = (slice(None),) * axis + (place,)
          line[(slice(None), *index)] = signs[index]
          energies.append(squared_gradient(self._variables, log_mel, {**zeros, m.layer: line}))
          places.append(place)
    energies = np.asarray(energies, np.float64)
    centers = np.stack([_center(energies.sum(2)), _center(energies.sum(1))], 1)  # time, band
    views = {}
    for number, m in enumerate(self.maps):
      ends = []
      for axis in (0, 1):
        at = 4 * number + 2 * axis
        first, last = places[at], places[at + 1]
        step = (centers[at + 1] - centers[at]) / max(last - first, 1)
        ends.append((centers[at] - first * step, centers[at] + (m.shape[axis] - 1 - first) * step))
      spans = np.array(
        [[abs(end[1][k] - end[0][k]) / self._segment_shape[k] for k in (0, 1)] for end in ends]
      )
      transposed = spans[0, 1] + spans[1, 0] > spans[0, 0] + spans[1, 1]
      time, band = (ends[1], ends[0]) if transposed else (ends[0], ends[1])
      views[m.layer] = (bool(transposed), ((time[0][0], time[1][0]), (band[0][1], band[1][1])))
    return views

  def __call__(self, log_mel, frame_mask, classes) -> dict[str, np.ndarray]:
    """Compute the maps of one class for each segment.

    Args:
      log_mel: float32[n, time, frequency, 1] in dB.
      frame_mask: bool[n, time], True for valid frames.
      classes: int[n], index of the class.

    Returns:
      {branch: float32[n, time, frequency]} in [0, 1], interpolated to the size of the segment. The
      maximum of a map is 1; a map is 0 everywhere if nothing in the branch raises the class score.
    """
    n = len(log_mel)
    parts: dict[str, list[np.ndarray]] = {m.branch: [] for m in self.maps}
    for begin in range(0, n, self._num):
      rows = np.minimum(np.arange(begin, begin + self._num), n - 1)
      heats = self._heat(
        self._variables, log_mel[rows], frame_mask[rows], np.asarray(classes)[rows]
      )
      for m in self.maps:
        transposed, ends = self._views[m.layer]
        heat = np.asarray(heats[m.layer], np.float32)[: n - begin]
        heat = _stretch(heat.swapaxes(1, 2) if transposed else heat, ends, self._segment_shape)
        heat = heat * frame_mask[rows][: n - begin, :, None]
        peak = heat.max((1, 2), keepdims=True)
        parts[m.branch].append(heat / np.where(peak > 0, peak, 1))
    return {branch: np.concatenate(part) for branch, part in parts.items()}


def _center(energy: np.ndarray) -> np.ndarray:
  """Return the mean position of float[n, length] energies; the middle if all are zero."""
  total = energy.sum(1)
  position = np.arange(energy.shape[1])
  middle = (energy.shape[1] - 1) / 2
  return np.where(total > 0, energy @ position / np.where(total > 0, total, 1), middle)


def _stretch(heat: np.ndarray, ends, shape: tuple[int, int]) -> np.ndarray:
  """Interpolate float[n, a, b], located between `ends` of the input, to the whole input."""
  for axis, (first, last) in enumerate(ends):
    length = heat.shape[axis + 1]
    at = (np.arange(shape[axis]) - first) / (last - first or 1) * (length - 1)
    at = np.clip(at, 0, length - 1)
    low = np.minimum(at.astype(int), max(length - 2, 0))
    share = (at - low).reshape((-1,) + (1,) * (1 - axis)).astype(heat.dtype)
    take = np.take(heat, low, axis + 1)
    heat = take + share * (np.take(heat, np.minimum(low + 1, length - 1), axis + 1) - take)
  return heat
