"""Summarize a network: layers, output shapes, parameters and floating-point operations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from genre_jax.data.frontend import FrontendConfig
from genre_jax.models.registry import build_model, count_parameters
from genre_jax.training.setup import open_dataset


def network_summary(
  model: nn.Module, frontend: FrontendConfig
) -> tuple[list[tuple[str, str, tuple[int, ...], int]], int, float]:
  """Summarize the layers of a network for one segment.

  Args:
    model: The network.
    frontend: The front end, for the shape of a segment.

  Returns:
    (name, kind, output shape without batch, own parameters) of every layer in the order of their
    calls; the number of parameters; and the floating-point operations of one segment's forward
    pass, as XLA counts them.
  """
  segment = jax.ShapeDtypeStruct((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
  outputs: dict[tuple[str, ...], tuple[str, tuple[int, ...]]] = {}

  def record_output(call, arguments, keywords, context):
    result = call(*arguments, **keywords)
    if context.method_name == "__call__" and hasattr(result, "shape"):
      outputs[context.module.path] = (type(context.module).__name__, result.shape[1:])
    return result

  with nn.intercept_methods(record_output):
    variables = jax.eval_shape(model.init, jax.random.key(0), segment)
  own: dict[tuple[str, ...], int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
    owner = tuple(key.key for key in path[:-1])
    own[owner] = own.get(owner, 0) + leaf.size
  layers = [
    ("/".join(path), kind, shape, own.get(path, 0))
    for path, (kind, shape) in outputs.items()
    if path
  ]
  cost = jax.jit(model.apply).lower(variables, segment).compile().cost_analysis()
  return layers, count_parameters(variables["params"]), float(cost["flops"])


def print_summary(config: ml_collections.ConfigDict) -> None:
  """Print the summary of a config's network, without preparing data."""
  source, frontend = open_dataset(config)
  model = build_model(config.model.to_dict(), len(source.classes), config.dtype)
  layers, parameters, flops = network_summary(model, frontend)
  print(f"\n{'layer':28} {'kind':12} {'output':>18} {'parameters':>12}")
  for name, kind, shape, own in layers:
    print(f"{name:28} {kind:12} {' x '.join(map(str, shape)):>18} {own:>12,}")
  print(
    f"\n{config.model.name}: {parameters:,} parameters, {flops / 1e6:,.1f} MFLOP per segment of "
    f"{frontend.segment_seconds:.2f} s ({frontend.num_frames} frames x {frontend.n_mels} mels), "
    f"{len(source.classes)} classes"
  )
