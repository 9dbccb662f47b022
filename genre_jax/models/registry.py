"""Map names to networks and build a network from config values."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError, did_you_mean
from genre_jax.models.axis_features import (
  AxisFeatures,
  AxisFeatures2d,
  AxisFeaturesFrequency,
  AxisFeaturesTime,
)
from genre_jax.models.axis_features_student import AxisFeaturesStudent
from genre_jax.models.baseline import Baseline
from genre_jax.models.musicnn import Musicnn
from genre_jax.models.musicnn_yamnet import MusicnnYamnet
from genre_jax.models.published import PublishedBaseline, PublishedTfSplit
from genre_jax.models.split_cnn import SplitCnn, SquareCnn
from genre_jax.models.split_cnn_musicnn import SplitCnnMusicnn
from genre_jax.models.yamnet import Yamnet

MODELS: dict[str, type[nn.Module]] = {
  "published_baseline": PublishedBaseline,
  "published_tf_split": PublishedTfSplit,
  "baseline": Baseline,
  "axis_features": AxisFeatures,
  "axis_features_time": AxisFeaturesTime,
  "axis_features_frequency": AxisFeaturesFrequency,
  "axis_features_2d": AxisFeatures2d,
  "split_cnn": SplitCnn,
  "square_cnn": SquareCnn,
  "split_cnn_musicnn": SplitCnnMusicnn,
  "axis_features_student": AxisFeaturesStudent,
  "musicnn": Musicnn,
  "yamnet": Yamnet,
  "musicnn_yamnet": MusicnnYamnet,
}

# Attributes of networks that no config sets.
NO_SIZES = {"parent", "name", "num_classes", "dtype", "used_filters"}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


def build_model(fields: dict[str, Any], num_classes: int, dtype: str = "float32") -> nn.Module:
  """Build the network that `config.model` describes.

  Args:
    fields: `name`, and the attributes of that network that differ from its defaults.
    num_classes: Number of logits.
    dtype: Dtype of the computation, a key of `DTYPES`.

  Returns:
    The Flax module.

  Raises:
    UserError: If the name, an attribute or the dtype is unknown, or float64 is not enabled.
  """
  sizes = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in fields.items()
    if key != "name"
  }
  name = fields["name"]
  if name not in MODELS:
    raise UserError(
      f"--config.model.name={name}: no such network{did_you_mean(name, MODELS)}; there are "
      + ", ".join(MODELS)
    )
  if dtype not in DTYPES:
    raise UserError(f"--config.dtype={dtype}: give one of {', '.join(DTYPES)}")
  if dtype == "float64" and not jax.config.values["jax_enable_x64"]:
    raise UserError("--config.dtype=float64 needs the environment variable JAX_ENABLE_X64=1")
  known = {field.name for field in dataclasses.fields(MODELS[name])}
  known -= NO_SIZES
  for size in sizes:
    if size not in known:
      raise UserError(
        f"config.model.{size}: {name} has no such size; it has {', '.join(sorted(known))}. Use the"
        " experiment file of the network that has it"
      )
  return MODELS[name](num_classes=num_classes, dtype=DTYPES[dtype], **sizes)


def count_parameters(params) -> int:
  """Return the number of trained parameters of a tree of arrays or shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
