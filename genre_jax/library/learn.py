"""Train a model on a user's own genres, from the embeddings of a library: `library learn`.

The network of the library's model stays; a linear layer on its embedding replaces its last layer.
The new layer is the old one, for genres that the model knows, plus a change that the songs decide.
Artists are kept apart in cross-validation.
"""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import genre_jax
from genre_jax.data.groups import assign_groups
from genre_jax.data.names import name_key, printable_path
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import (
  apply_temperature,
  fit_temperature,
  negative_log_likelihood,
)
from genre_jax.evaluation.metrics import Predictions, softmax, summarize
from genre_jax.inference.model_dir import named_folders, write_model
from genre_jax.library import softmax_regression
from genre_jax.library.label_names import read_names, tag_of
from genre_jax.library.learning_examples import MIN_ARTISTS, Examples

FOLDS = 5
# Weights of the squared length of the change, of which cross-validation chooses one, on at most
# COMPARED songs.
DECAYS = (0.01, 0.1, 1.0, 10.0)
COMPARED = 2000
# {numbers of an embedding: the first ones that are learned from}. Without the logits of YAMNet, the
# last 521 of musicnn_yamnet, cross-validation is better; see docs/how-to/library.md.
LEARNED = {1923: 1402}


def cross_validate(examples: Examples, start: np.ndarray) -> tuple[Predictions, float, float]:
  """Predict each song by a layer that was trained on other artists.

  Args:
    examples: Songs with a genre.
    start: float32[songs, genres], logits to which those of the layer are added.

  Returns:
    The predictions before the temperature, the temperature fitted on them, and the weight of
    DECAYS at which songs are most probable.
  """
  count = len(examples.genres)
  names, group = np.unique(np.array(examples.groups), return_inverse=True)
  counts = np.zeros((len(names), count), np.int64)
  np.add.at(counts, (group, examples.labels), 1)
  folds = min(FOLDS, len(names))
  fold = assign_groups(counts, np.full(folds, 1 / folds), np.random.default_rng(0))[group]

  def predicted(decay, step):
    """Return the probabilities of songs 0, `step`, 2 `step` and so on, and their temperature."""
    x, labels, part = examples.features[::step], examples.labels[::step], fold[::step]
    first, probabilities = start[::step], np.zeros((len(part), count))
    for number in np.unique(part):
      test = part == number
      kernel, bias = softmax_regression.fit(x[~test], labels[~test], first[~test], decay)
      probabilities[test] = softmax(first[test] + x[test] @ kernel + bias)
    return probabilities, fit_temperature(probabilities, labels)

  def loss(decay):
    step = -(-len(fold) // COMPARED)
    probabilities, temperature = predicted(decay, step)
    calibrated = apply_temperature(probabilities, temperature)
    return negative_log_likelihood(calibrated, examples.labels[::step], 1e-12)

  decay = min(DECAYS, key=loss)
  probabilities, temperature = predicted(decay, 1)
  predictions = Predictions(
    examples.paths, examples.groups, examples.labels, probabilities, examples.genres
  )
  return predictions, temperature, decay


def suspicious(predictions: Predictions) -> list[tuple[str, str, str, float]]:
  """Return the songs whose genre looks wrong, the clearest first.

  A song is suspicious if another genre is at least as probable as it is on average for the songs
  of that genre. Source: Northcutt et al., "Confident learning", JAIR 70 (2021) 1373.

  Returns:
    (path, genre in the tags, more probable genre, its probability less that of the tag's genre).
  """
  p, labels = predictions.probabilities, predictions.labels
  least = np.array(
    [p[labels == k, k].mean() if (labels == k).any() else 2.0 for k in range(p.shape[1])]
  )
  confident = np.where(p >= least, p, -1.0)
  other = confident.argmax(1)
  rows = np.flatnonzero((confident.max(1) > 0) & (other != labels))
  margin = p[rows, other[rows]] - p[rows, labels[rows]]
  names = predictions.classes
  return [
    (predictions.names[row], names[labels[row]], names[other[row]], float(margin[i]))
    for i, row in [(int(i), int(rows[i])) for i in np.argsort(-margin, kind="stable")]
    if margin[i] > 0
  ]


def known_layer(
  metadata: dict[str, Any], variables: dict[str, Any], genres: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Return the layer of a network for genres, of which it knows some under their names in tags.

  Args:
    metadata: Content of model.json.
    variables: 'params' and others, as nested dicts.
    genres: The genres.

  Returns:
    float32[features, genres] and float32[genres], kernel and bias on the embedding; zeros for
    genres that the network does not know, and for all where the layer is only a part of the logits.

  Raises:
    UserError: If the network has no linear layer on its embedding.
  """
  params = variables["params"]
  last = next((name for name in ("head", "logits", "logits_hidden") if name in params), "")
  if not last:
    raise UserError(
      f"the network {metadata['model']['name']} has no linear layer on its embedding; scan with"
      " another model"
    )
  names = read_names()
  labels = metadata["classes"] if last != "logits_hidden" else ()  # the other part is not known
  columns = {name_key(tag_of(label, names)): i for i, label in enumerate(labels)}
  kernel = np.zeros((len(params[last]["kernel"]), len(genres)), np.float32)
  bias = np.zeros(len(genres), np.float32)
  for number, genre in enumerate(genres):
    column = columns.get(name_key(tag_of(genre, names)))
    if column is not None:
      kernel[:, number] = params[last]["kernel"][:, column]
      bias[number] = params[last]["bias"][column]
  return kernel, bias


def with_head(variables: dict[str, Any], kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
  """Return the parameters of a network whose last layer is replaced.

  Args:
    variables: 'params' and others, as nested dicts; not changed. `known_layer` takes them.
    kernel: float32[features, classes].
    bias: float32[classes].
  """
  params = dict(variables["params"])
  if "logits_hidden" in params:  # the mean of two layers
    size = len(params["logits_linear"]["kernel"])
    zeros = np.zeros((size, len(bias)), np.float32)
    params["logits_linear"] = {"kernel": zeros, "bias": np.zeros_like(bias)}
    params["logits_hidden"] = {"kernel": 2 * kernel, "bias": 2 * bias}
  else:
    params["head" if "head" in params else "logits"] = {"kernel": kernel, "bias": bias}
  return {**variables, "params": params}


def learn(
  examples: Examples,
  metadata: dict[str, Any],
  variables: dict[str, Any],
  out: str,
) -> tuple[dict[str, Any], int]:
  """Train on all examples and write a model directory with `suspicious.csv`.

  Args:
    examples: Songs with a genre.
    metadata, variables: The model whose embeddings they have, as of `model_dir.find_model`.
    out: The folder to create; its name becomes that of the model.

  Returns:
    The metrics of cross-validation, as of `summarize`, and the number of suspicious songs.

  Raises:
    UserError: If the folder exists or cannot be written.
  """
  from flax.traverse_util import flatten_dict

  target = pathlib.Path(out).expanduser().absolute()
  if os.path.lexists(target):
    raise UserError(f"--out={out} exists: give another folder")
  kernel, bias = known_layer(metadata, variables, examples.genres)
  start = examples.features @ kernel + bias
  used = LEARNED.get(len(kernel), len(kernel))
  examples = dataclasses.replace(examples, features=examples.features[:, :used])
  predictions, temperature, decay = cross_validate(examples, start)
  metrics = summarize(predictions)
  change, bias_change = softmax_regression.fit(examples.features, examples.labels, start, decay)
  kernel[:used] += change
  variables = {name: value for name, value in variables.items() if name != "label_sets"}
  weights = flatten_dict(with_head(variables, kernel, bias + bias_change), sep="/")
  found = suspicious(predictions)
  kept = {
    name: value
    for name, value in metadata.items()
    if name not in ("label_sets", "label_set", "least", "thresholds", "weights_sha256")
  }
  described = {
    **kept,
    "name": target.name,
    "model": {
      name: value
      for name, value in metadata["model"].items()
      if name not in ("not_music", "limits")  # they are about the labels of the first head
    },
    "classes": list(examples.genres),
    "task": "single_label",
    "temperature": temperature,
    "provenance": {
      "source": f"learned with genre_jax {genre_jax.__version__} on {metadata['name']}",
      "trained_on": f"{len(examples.paths)} songs of a music library",
      "cross_validation": {name: metrics[name] for name in ("n", "accuracy", "ci95", "per_class")},
      "base": metadata.get("provenance", {}),
    },
  }
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_model(
      target,
      described,
      {name: np.asarray(value) for name, value in weights.items()},
      {"suspicious.csv": _table(found)},
    )
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  return metrics, len(found)


def _table(found: list[tuple[str, str, str, float]]) -> bytes:
  """Return suspicious songs as CSV."""
  text = io.StringIO()
  rows = csv.writer(text, lineterminator="\n")
  rows.writerow(["file", "genre", "more_probable", "margin"])
  rows.writerows([printable_path(path), *names, f"{margin:.3f}"] for path, *names, margin in found)
  return text.getvalue().encode()


def summary(examples: Examples, metrics: dict[str, Any], wrong: int, out: str) -> list[str]:
  """Return the lines that `learn` prints."""
  low, high = metrics["ci95"]
  width = max(len("genre"), *map(len, examples.genres))
  lines = [f"{'genre':{width}}  precision  recall  songs"]
  for name, row in metrics["per_class"].items():
    precision = "-" if row["precision"] is None else f"{100 * row['precision']:.1f}"
    lines.append(f"{name:{width}}  {precision:>9}  {100 * row['recall']:6.1f}  {row['n']:5}")
  lines.append(
    f"accuracy with artists apart: {100 * metrics['accuracy']:.1f} %"
    f" [{100 * low:.1f}, {100 * high:.1f}], n = {metrics['n']}"
  )
  if examples.left_out:
    names = ", ".join(f"{name} ({count})" for name, count in sorted(examples.left_out.items()))
    lines.append(f"left out, fewer than {MIN_ARTISTS} artists: {names}")
  lines += examples.notes
  lines.append(f"{wrong} songs whose genre looks wrong: {os.path.join(out, 'suspicious.csv')}")
  named = any((folder / "model.json").exists() for folder in named_folders(out))
  lines.append(f"use the model with --model={os.path.join('.', out) if named else out}")
  return lines
