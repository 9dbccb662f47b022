"""Train a model on a user's own genres, from the embeddings of a library: `library learn`.

The network of the library's model stays; a linear layer on its embedding replaces its last layer.
Artists are kept apart in cross-validation.
"""

import csv
import dataclasses
import io
import json
import os
import pathlib
import sqlite3
from typing import Any

import numpy as np

import genre_jax
from genre_jax.data.groups import assign_groups
from genre_jax.data.names import name_key, normal_name, printable_path
from genre_jax.data.tables import check_cells, columns_of, read_rows
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import (
  apply_temperature,
  fit_temperature,
  negative_log_likelihood,
)
from genre_jax.evaluation.metrics import Predictions, softmax, summarize
from genre_jax.inference.model_dir import write_model
from genre_jax.library import softmax_regression
from genre_jax.library.label_names import read_names, tags_of
from genre_jax.library.tag_keys import by_human, parts_of, written_genres

FOLDS = 5
MIN_ARTISTS = 2  # of a genre: training and evaluation need different ones
# Weights of the squared length of the kernel, of which cross-validation chooses one, on at most
# COMPARED songs.
DECAYS = (0.01, 0.1, 1.0)
COMPARED = 2000
# {numbers of an embedding: the first ones that are learned from}. Without the logits of YAMNet, the
# last 521 of musicnn_yamnet, cross-validation is better; see docs/how-to/library.md.
LEARNED = {1923: 1402}
COLUMNS = ("file", "genre")
GROUP = "group"  # a further column: artist


@dataclasses.dataclass(frozen=True)
class Examples:
  """Songs with a genre.

  Attributes:
    paths: Paths of the files.
    groups: Artist of each song, or its folder where the artist is unknown.
    labels: int[songs], indices of `genres`.
    features: float32[songs, features], the embeddings.
    genres: The genres, sorted.
    left_out: Genres with too few artists, with their numbers of artists.
  """

  paths: tuple[str, ...]
  groups: tuple[str, ...]
  labels: np.ndarray
  features: np.ndarray
  genres: tuple[str, ...]
  left_out: dict[str, int]


def read_examples(db: sqlite3.Connection, model: int, table: str = "") -> Examples:
  """Return the songs of a library that have a genre and an embedding.

  Args:
    db: The library.
    model: Id of the model with the embeddings.
    table: CSV file with the columns file and genre, and group if artists are not in the tags; ''
      for the genres that humans gave: in `library serve`, else in the files' tags, without those
      that this program wrote.

  Raises:
    UserError: If fewer than two genres have enough artists, or the table cannot be used.
  """
  listed = _read_table(table) if table else None
  found = []
  names = read_names()
  for path, text, embedding, corrected in db.execute(
    "SELECT path, tags, embedding, correction.genre FROM file"
    " JOIN analysis ON analysis.file = file.id LEFT JOIN correction USING (sound)"
    " WHERE model = ? AND status = 'ok' AND missing_since IS NULL AND embedding != x''"
    " ORDER BY path",
    (model,),
  ):
    known = json.loads(text)
    artist = known.get("albumartist") or known.get("artist", "")
    if listed is None:
      genre = _corrected(corrected, names) or _human_genre(known)
    else:
      genre, group = listed.get(path, ("", ""))
      artist = group or artist
    if genre:
      group = name_key(artist) or os.fsdecode(os.path.dirname(path))
      found.append((os.fsdecode(path), group, genre, embedding))
  spellings: dict[str, str] = {}
  artists: dict[str, set[str]] = {}
  for _, group, genre, _ in found:
    spellings.setdefault(name_key(genre), genre)
    artists.setdefault(name_key(genre), set()).add(group)
  kept = sorted(key for key, names in artists.items() if len(names) >= MIN_ARTISTS)
  left_out = {spellings[key]: len(names) for key, names in artists.items() if key not in kept}
  if len(kept) < 2:
    counts = ", ".join(f"{spellings[key]} {len(names)}" for key, names in artists.items())
    raise UserError(
      f"two genres with {MIN_ARTISTS} artists each are needed to learn; artists by genre:"
      f" {counts or 'none'}. Tag more songs, or give --from=FILE with the columns file and genre"
    )
  rows = [row for row in found if name_key(row[2]) in kept]
  return Examples(
    tuple(row[0] for row in rows),
    tuple(row[1] for row in rows),
    np.array([kept.index(name_key(row[2])) for row in rows]),
    np.stack([np.frombuffer(row[3], np.float16).astype(np.float32) for row in rows]),
    tuple(spellings[key] for key in kept),
    left_out,
  )


def _corrected(text: str | None, names: dict[str, str]) -> str:
  """Return the first genre of a correction, or '' without one."""
  return (tags_of(text, names) or parts_of(text))[0] if text else ""


def _human_genre(known: dict[str, Any]) -> str:
  """Return the first genre that a human wrote into the tags of a file, or ''."""
  provenance = known.get("provenance", "")
  ours = set() if by_human(provenance) else written_genres(provenance)
  for values in known.get("genres", {}).values():
    for genre in (part for text in values for part in parts_of(text)):
      if genre and genre not in ours:
        return normal_name(genre)
  return ""


def _read_table(path: str) -> dict[bytes, tuple[str, str]]:
  """Return {path: (genre, group)} of a user's table; paths are relative to its folder."""
  rows = read_rows(path, COLUMNS)
  _, header = next(rows, (1, []))
  names = [*COLUMNS, GROUP] if GROUP in map(name_key, header) else COLUMNS
  indices = columns_of(header, names, path)
  folder = os.path.dirname(os.path.abspath(path))
  found = {}
  for line, row in rows:
    check_cells(row, header, path, line)
    file, genre, *group = [row[index] for index in indices]
    name = os.path.normpath(os.path.join(folder, os.path.expanduser(file)))
    found[os.fsencode(name)] = normal_name(genre), "".join(group)
  return found


def cross_validate(examples: Examples) -> tuple[Predictions, float, float]:
  """Predict each song by a layer that was trained on other artists.

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
    probabilities = np.zeros((len(part), count))
    for number in np.unique(part):
      test = part == number
      kernel, bias = softmax_regression.fit(x[~test], labels[~test], count, decay)
      probabilities[test] = softmax(x[test] @ kernel + bias)
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


def with_head(
  metadata: dict[str, Any], variables: dict[str, Any], kernel: np.ndarray, bias: np.ndarray
) -> dict[str, Any]:
  """Return the parameters of a network whose last layer is replaced.

  Args:
    metadata: Content of model.json.
    variables: 'params' and others, as nested dicts; not changed.
    kernel: float32[features, classes].
    bias: float32[classes].

  Raises:
    UserError: If the network has no linear layer on its embedding.
  """
  params = dict(variables["params"])
  last = next((name for name in ("head", "logits") if name in params), "")
  if last:
    params[last] = {"kernel": kernel, "bias": bias}
  elif {"logits_linear", "logits_hidden"} <= set(params):  # the mean of two layers
    size = len(params["logits_linear"]["kernel"])
    zeros = np.zeros((size, len(bias)), np.float32)
    params["logits_linear"] = {"kernel": zeros, "bias": np.zeros_like(bias)}
    params["logits_hidden"] = {"kernel": 2 * kernel, "bias": 2 * bias}
  else:
    raise UserError(
      f"the network {metadata['model']['name']} has no linear layer on its embedding; scan with"
      " another model"
    )
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
  size = examples.features.shape[1]
  features = examples.features[:, : LEARNED.get(size, size)]
  predictions, temperature, decay = cross_validate(dataclasses.replace(examples, features=features))
  metrics = summarize(predictions)
  kernel, bias = softmax_regression.fit(features, examples.labels, len(examples.genres), decay)
  kernel = np.pad(kernel, ((0, size - len(kernel)), (0, 0)))
  variables = {name: value for name, value in variables.items() if name != "label_sets"}
  weights = flatten_dict(with_head(metadata, variables, kernel, bias), sep="/")
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
  lines.append(f"{wrong} songs whose genre looks wrong: {os.path.join(out, 'suspicious.csv')}")
  lines.append(f"use the model with --model={out}")
  return lines
