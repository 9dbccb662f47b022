"""Read the TensorFlow 1 checkpoints of musicnn and rename their variables for Flax."""

import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.inference.model import variable_shapes
from genre_jax.inference.protobuf import fields, varint, varints
from genre_jax.models.musicnn import Musicnn

FOOTER, MAGIC = 48, bytes.fromhex("57fb808b247547db")  # the last bytes of a table
DATA_TYPE, SHAPE, OFFSET, NUM_BYTES = 1, 2, 4, 5  # fields of BundleEntryProto
SIZE = 1  # of TensorShapeProto.Dim
FLOAT = 1  # a data type

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

  The index is a sorted table of LevelDB (its doc/table_format.md): blocks of entries, whose keys
  leave out what they share with the key before. Each value is a BundleEntryProto of TensorFlow
  (core/protobuf/tensor_bundle.proto), which says where in the data a variable is.

  Args:
    index: Content of the file `.index`.
    data: Content of the file `.data-00000-of-00001`.

  Returns:
    {name in TensorFlow: array}.

  Raises:
    UserError: If the checkpoint is damaged.
  """
  parts = {part for parts in _PARTS.values() for part in parts}
  try:
    if len(index) < FOOTER or index[-8:] != MAGIC:
      raise ValueError("the index is not a table")
    handles = list(varints(index[-FOOTER:-8]))[
      2:4
    ]  # those of two blocks: of metadata, of the index
    variables = {}
    for _, handle in _entries(index, *handles):
      for key, entry in _entries(index, *varints(handle)):
        # Other variables belong to the optimizer: .../Adam, .../Adam_1, beta1_power.
        if key.decode().split("/")[-1] in parts:
          variables[key.decode()] = _variable(entry, data)
    return variables
  except (IndexError, ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
    raise UserError(f"the checkpoint in the wheel cannot be read ({error})") from error


def _entries(index, offset, size):
  """Yield the keys and the values of a block that is not compressed."""
  block, end = index[offset : offset + size], index[offset + size]
  if len(block) < size or end != 0:
    raise ValueError("a block of the index is cut or compressed")
  restarts = int.from_bytes(block[-4:], "little")
  at, key = 0, b""
  while at < size - 4 * (restarts + 1):
    shared, at = varint(block, at)
    added, at = varint(block, at)
    length, at = varint(block, at)
    key = key[:shared] + block[at : at + added]
    yield key, block[at + added : at + added + length]
    at += added + length


def _variable(entry, data):
  """Return the float32 array that a BundleEntryProto describes."""
  values = dict(fields(entry))
  dims = [dict(fields(dim)).get(SIZE, 0) for number, dim in fields(values.get(SHAPE, b""))]
  offset, size = values.get(OFFSET, 0), values[NUM_BYTES]
  if values[DATA_TYPE] != FLOAT or offset + size > len(data):
    raise ValueError("a variable is not float32 or is outside of the data")
  return np.frombuffer(data[offset : offset + size], "<f4").reshape(dims)


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
