"""Where in a window a network finds a genre: Grad-CAM for any network with convolutions.

Works on modules from outside, with `nn.intercept_methods`: no network needs a line for it. A
network's branches are told apart by the names of its convolutions ('time_0', 'time/conv_1': the
branch time), and the last convolution of each branch that keeps both axes is shown. Used by
`report.py`.

Reference: Selvaraju et al., "Grad-CAM", ICCV 2017.
"""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

LOOKED_AT = 2  # windows by which a map's place in the input is found


@dataclasses.dataclass(frozen=True)
class FeatureMap:
  """A branch's last activations.

  Attributes:
    branch: its name, as 'time'.
    layer: the module whose output it is, as 'time/norm_1'.
    shape: of the output for one window: two axes and channels.
  """

  branch: str
  layer: str
  shape: tuple[int, int, int]


def _branch(path: tuple[str, ...]) -> str:
  """'time' of ('time_0',) and of ('time', 'conv_1'); 'layers' of ('conv_3',), which names none."""
  stem = re.sub(r"_?\d+$", "", path[0])
  return "layers" if stem.lower() == "conv" else stem


def _kind(module: nn.Module) -> str:
  """'conv', 'norm' or '', by the name of the class: Flax's own and those of `models/layers.py`."""
  name = type(module).__name__
  return "conv" if name.endswith("Conv") else "norm" if name.endswith("Norm") else ""


def _intercepted(run, on_output):
  """Calls run() with on_output(module, output) -> output in place of every module's output."""

  def interceptor(next_function, args, kwargs, context):
    output = next_function(*args, **kwargs)
    if context.method_name != "__call__" or not isinstance(output, jax.Array):
      return output
    return on_output(context.module, output)

  with nn.intercept_methods(interceptor):
    return run()


def feature_maps(model: nn.Module, variables, window: jax.ShapeDtypeStruct) -> list[FeatureMap]:
  """The last map of each branch; empty for a network without convolutions over both axes.

  Args:
    model: the network.
    variables: its parameters and batch statistics.
    window: shape and dtype of a batch of windows.
  """
  seen = []

  def note(module, output):
    if output.ndim == 4:
      seen.append((_kind(module), module.path, output.shape[1:]))
    return output

  jax.eval_shape(
    lambda v, x: _intercepted(lambda: model.apply(v, x, train=False), note), variables, window
  )
  last: dict[str, FeatureMap] = {}
  for i, (kind, path, shape) in enumerate(seen):
    if kind != "conv" or min(shape[:2]) < 2:
      continue
    branch = _branch(path)
    # The normalization that follows is nearer to what the ReLU lets through.
    if i + 1 < len(seen) and seen[i + 1][0] == "norm" and seen[i + 1][2][2] == shape[2]:
      _, path, shape = seen[i + 1]
    last[branch] = FeatureMap(branch, "/".join(path), shape)
  return list(last.values())


def _apply(model, variables, log_mel, frame_mask, deltas):
  """(logits, {layer: output}) with deltas[layer] added to each layer's output."""
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
  """Grad-CAM of one network, compiled once for one batch size.

  Args:
    model: the network.
    variables: its parameters and batch statistics.
    log_mel: float32[batch, time, frequency, 1], windows of music by which to find out what part of
      the input each position of a map sees.

  Attributes:
    maps: the branches that can be shown.
  """

  def __init__(self, model: nn.Module, variables, log_mel: np.ndarray):
    self._model, self._variables = model, variables
    self._num = len(log_mel)
    self._window = log_mel.shape[1:3]
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
    self._views = self._look(log_mel) if self.maps else {}

  def _look(self, log_mel):
    """{layer: (transposed, ((time of first, of last), (band of first, of last)))}.

    What a position sees is where the input changes it: the center of the squared gradient. Two
    positions on each axis give place and step, whatever a network pads, pools or transposes.
    """
    log_mel = log_mel[:LOOKED_AT]
    zeros = {m.layer: np.zeros((len(log_mel), *m.shape), np.float32) for m in self.maps}
    rng = np.random.default_rng(0)
    places, energies = [], []

    def sees(variables, log_mel, lines):
      def outputs(x):
        return _apply(self._model, variables, x, None, zeros)[1]

      seen, pull = jax.vjp(outputs, log_mel)
      lines = {layer: line.astype(seen[layer].dtype) for layer, line in lines.items()}
      return jnp.square(pull(lines)[0][..., 0]).sum(0)

    sees = jax.jit(sees)
    for m in self.maps:
      for axis in (0, 1):
        length = m.shape[axis]
        for place in (length // 4, length - 1 - length // 4):
          # Random signs, lest what a normalization removes cancel the rest.
          signs = rng.choice(np.float32([-1, 1]), m.shape)
          line = np.zeros_like(zeros[m.layer])
          index = (slice(None),) * axis + (place,)
          line[(slice(None), *index)] = signs[index]
          energies.append(sees(self._variables, log_mel, {**zeros, m.layer: line}))
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
        [[abs(end[1][k] - end[0][k]) / self._window[k] for k in (0, 1)] for end in ends]
      )
      transposed = spans[0, 1] + spans[1, 0] > spans[0, 0] + spans[1, 1]
      time, band = (ends[1], ends[0]) if transposed else (ends[0], ends[1])
      views[m.layer] = (bool(transposed), ((time[0][0], time[1][0]), (band[0][1], band[1][1])))
    return views

  def __call__(self, log_mel, frame_mask, classes) -> dict[str, np.ndarray]:
    """Evidence for one class of each window.

    Args:
      log_mel: float32[n, time, frequency, 1].
      frame_mask: bool[n, time].
      classes: int[n].
    Returns:
      {branch: float32[n, time, frequency]}, the map of its last layer stretched over the part of
      the window that it sees, 1 at its highest; 0 everywhere where nothing there speaks for the
      class.
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
        heat = _stretch(heat.swapaxes(1, 2) if transposed else heat, ends, self._window)
        heat = heat * frame_mask[rows][: n - begin, :, None]
        peak = heat.max((1, 2), keepdims=True)
        parts[m.branch].append(heat / np.where(peak > 0, peak, 1))
    return {branch: np.concatenate(part) for branch, part in parts.items()}


def _center(energy: np.ndarray) -> np.ndarray:
  """Mean position of float[n, length] energies; the middle where there is none."""
  total = energy.sum(1)
  position = np.arange(energy.shape[1])
  middle = (energy.shape[1] - 1) / 2
  return np.where(total > 0, energy @ position / np.where(total > 0, total, 1), middle)


def _stretch(heat: np.ndarray, ends, window: tuple[int, int]) -> np.ndarray:
  """Linear interpolation of float[n, a, b] from positions `ends` of the input to all of it."""
  for axis, (first, last) in enumerate(ends):
    length = heat.shape[axis + 1]
    at = (np.arange(window[axis]) - first) / (last - first or 1) * (length - 1)
    at = np.clip(at, 0, length - 1)
    low = np.minimum(at.astype(int), max(length - 2, 0))
    share = (at - low).reshape((-1,) + (1,) * (1 - axis)).astype(heat.dtype)
    take = np.take(heat, low, axis + 1)
    heat = take + share * (np.take(heat, np.minimum(low + 1, length - 1), axis + 1) - take)
  return heat
