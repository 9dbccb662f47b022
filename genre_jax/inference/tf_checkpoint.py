"""Read the TensorFlow 1 checkpoints of musicnn and rename their variables for Flax."""

import os
import pathlib
import tempfile

import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError, missing_extra
from genre_jax.inference.model import variable_shapes
from genre_jax.models.musicnn import Musicnn

# Layers in the order of the graph: TensorFlow 1 numbers layers without a name.
_CONVOLUTIONS = (
  "timbral_0",
  "timbral_1",
  "temporal_0",
  "temporal_1",
  "temporal_2",
  "mid_0",
  "mid_1",
  "mid_2",
)
_LAYERS = {
  "conv2d": _CONVOLUTIONS,
  "dense": ("hidden", "logits"),
  "batch_normalization": (
    "input_norm",
    *(f"{name}_norm" for name in _CONVOLUTIONS),
    "pooled_norm",
    "hidden_norm",
  ),
}
# Flax collection and name of each variable of a TensorFlow layer.
_PARTS = {
  "conv2d": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
  "dense": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
  "batch_normalization": {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
  },
}


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
  """Read the variables of a checkpoint, without those of the optimizer.

  Args:
    index: Content of the file `.index`.
    data: Content of the file `.data-00000-of-00001`.

  Returns:
    {name in TensorFlow: array}.

  Raises:
    UserError: If the checkpoint is damaged, or TensorFlow is not installed.
  """
  try:
    import tensorflow as tf
  except ImportError as error:
    raise missing_extra("reading a TensorFlow checkpoint", "tensorflow", "train") from error

  with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
    # The wheel's own prefix file names a path of the machine where the network was trained.
    prefix = os.path.join(folder, "weights")
    pathlib.Path(f"{prefix}.index").write_bytes(index)
    pathlib.Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    try:
      reader = tf.train.load_checkpoint(prefix)
      parts = {part for parts in _PARTS.values() for part in parts}
      # Other variables belong to the optimizer: .../Adam, .../Adam_1, beta1_power.
      return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.split("/")[-1] in parts
      }
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
      raise UserError(f"the checkpoint in the wheel cannot be read ({str(error)[:200]})") from error


def to_flax(
  variables: dict[str, np.ndarray], network: Musicnn, frontend: FrontendConfig
) -> dict[str, np.ndarray]:
  """Rename and reshape checkpoint variables to those of a network.

  Args:
    variables: {name in TensorFlow: array}.
    network: The Flax module, which fixes names and shapes.
    frontend: Its front end.

  Returns:
    float32 arrays named 'params/...' and 'batch_stats/...'.

  Raises:
    UserError: If a variable is missing, left over, not finite, or has another shape.
  """
  renamed = {}
  for kind, layers in _LAYERS.items():
    for number, layer in enumerate(layers):
      for part, (collection, leaf) in _PARTS[kind].items():
        suffix = f"_{number}" if number else ""
        renamed[f"{collection}/{layer}/{leaf}"] = f"{kind}{suffix}/{part}"
  expected = variable_shapes(network, frontend)
  if set(renamed) != set(expected) or set(renamed.values()) != set(variables):
    unmatched = set(renamed.values()) ^ set(variables) or set(renamed) ^ set(expected)
    raise UserError(
      "the checkpoint does not fit the network:"
      f" {', '.join(sorted(unmatched)[:5])} missing or left over"
    )
  weights = {}
  for name, old_name in renamed.items():
    value = np.asarray(variables[old_name], np.float32)
    # The checkpoint stores the convolutions after the first layers as (frames, channels, 1,
    # filters), over a one-channel image; Flax has (frames, channels, filters).
    if "/mid_" in name and value.ndim == 4 and value.shape[2] == 1:
      value = value[:, :, 0]
    if value.shape != expected[name]:
      raise UserError(
        f"the checkpoint does not fit the network: {old_name} has shape {value.shape},"
        f" {name} needs {expected[name]}"
      )
    if not np.isfinite(value).all():
      raise UserError(f"the checkpoint contains NaN or infinity in {old_name}")
    weights[name] = value
  return weights
