"""The networks by name, and how one is built from config values."""

import dataclasses
import difflib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.errors import UserError
from genre_jax.models.axis_features import (
  AxisFeatures,
  AxisFeatures2d,
  AxisFeaturesFrequency,
  AxisFeaturesTime,
)
from genre_jax.models.baseline import Baseline
from genre_jax.models.musicnn import Musicnn
from genre_jax.models.published import PublishedBaseline, PublishedTfSplit
from genre_jax.models.split_cnn import SplitCnn, SquareCnn

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
  "musicnn": Musicnn,
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


def build_model(fields: dict[str, Any], num_classes: int, dtype: str = "float32") -> nn.Module:
  """The network that `config.model` describes.

  Args:
    fields: `name`, and sizes of that network that are not its defaults.
    num_classes: number of logits.
    dtype: what it computes in.
  Raises:
    UserError: for an unknown name, size or dtype.
  """
  sizes = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in fields.items()
    if key != "name"
  }
  name = fields["name"]
  if name not in MODELS:
    near = difflib.get_close_matches(name, MODELS, 1)
    raise UserError(
      f"--config.model.name={name}: no such network{_did_you_mean(near)}; there are "
      + ", ".join(MODELS)
    )
  if dtype not in DTYPES:
    raise UserError(f"--config.dtype={dtype}: give one of {', '.join(DTYPES)}")
  if dtype == "float64" and not jax.config.jax_enable_x64:
    raise UserError("--config.dtype=float64 needs the environment variable JAX_ENABLE_X64=1")
  known = {field.name for field in dataclasses.fields(MODELS[name])}
  known -= {"parent", "name", "num_classes", "dtype"}
  for size in sizes:
    if size not in known:
      raise UserError(
        f"config.model.{size}: {name} has no such size; it has {', '.join(sorted(known))}. Another"
        " network has an experiment file of its own"
      )
  return MODELS[name](num_classes=num_classes, dtype=DTYPES[dtype], **sizes)


def count_parameters(params) -> int:
  """Number of trained parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def _did_you_mean(near: list[str]) -> str:
  return f" (did you mean {near[0]}?)" if near else ""
