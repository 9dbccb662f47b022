"""Train the layer of the default model, musicnn_yamnet, and measure it.

    python tools/genre_head.py --gtzan=GTZAN [--recordings=FOLDER] [--features=FILE] [--out=DIR]

GTZAN is a folder with audio/GENRE/*.flac and the published lists; FOLDER is what
`tools/free_recordings.py` makes. Without it, only what needs no other recordings is measured.
Features of musicnn and YAMNet, which are fetched first, are stored in FILE. The accuracies are
printed as Markdown tables. With --out the layer is written as a model directory without its two
networks.

Ten genres: a logistic regression on musicnn's outputs and one on YAMNet's, whose logits are
averaged. All labels of `genre_jax/data/labels/genres.csv`: the mean of the standardized logits of
the tags and kinds of sound that mean the label, and for the ten genres the logit of the regression;
their weights are fitted on the ten genres, where the truth is known, and used for all. Sounds other
than music: a logistic regression on YAMNet's outputs. Whatever is measured on excerpts of GTZAN was
fitted on other artists only, the weights too.
"""

import pathlib
import sys

import numpy as np
import scipy.special
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from genre_jax import command_line
from genre_jax.data.labels import read_labels
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import (
  cross_fit_temperatures,
  expected_calibration_error,
  fit_temperature,
  reliability,
)
from genre_jax.evaluation.metrics import accuracy_interval, softmax
from genre_jax.inference.model_dir import write_model
from genre_jax.inference.published import MUSICNN_YAMNET
from genre_jax.library import softmax_regression
from genre_jax.library.learn import LEARNED, cross_validate
from genre_jax.library.learning_examples import Examples
from genre_jax.models.musicnn_yamnet import FRONTEND, limit_labels
from tools.genre_features import FEATURES, Features, gtzan_clips, recordings
from tools.genre_fits import (
  SPEEDS,
  centered,
  fit_labels,
  fit_not_music,
  fit_ten,
  limits_of,
  scale_of,
)

GTZAN = flags.DEFINE_string("gtzan", None, "Folder of GTZAN with audio.", required=True)
RECORDINGS = flags.DEFINE_string("recordings", "", "Folder of recordings.csv.")
FEATURES_FILE = flags.DEFINE_string("features", "features.npz", "File for features.")
OUT = flags.DEFINE_string("out", "", "Model directory to write.")

NUM_FOLDS = 5
NOT_MUSIC = ("speech", "sound effect", "noise")  # labels of KINDS
THRESHOLD, LEAST = 0.5, 0.05
LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the least confidence of a genre


def main(argv: list[str]) -> None:
  """Compute features, fit, measure, and write the layer."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if OUT.value and not RECORDINGS.value:
    raise UserError("--out needs --recordings: make them with tools/free_recordings.py")
  clips = gtzan_clips(pathlib.Path(GTZAN.value))
  rows = recordings(pathlib.Path(RECORDINGS.value)) if RECORDINGS.value else []
  store = Features(pathlib.Path(FEATURES_FILE.value))
  at_speeds = [store.all_of(path, speed) for speed in SPEEDS for path, *_ in clips]
  sounds = [store.some_of(row["path"]) for row in rows]
  store.save()
  excerpts = at_speeds[: len(clips)]
  genres = sorted({genre for _, genre, *_ in clips})
  truth = np.array([genres.index(genre) for _, genre, *_ in clips])
  artist = np.array([artist for *_, artist, _ in clips])
  train = np.array([split == "train" for *_, split in clips])
  # Of all sounds: features that never vary in GTZAN would become huge on others.
  scale = scale_of(np.concatenate([*excerpts, *sounds]))
  music = [x for x, row in zip(sounds, rows, strict=True) if row["kind"] == "music"] or excerpts
  labels = read_labels()
  known = {name: label.name for label in labels for name in label.names["gtzan"]}
  columns = [[label.name for label in labels].index(known[genre]) for genre in genres]
  folds = _folds(artist)

  def fit(chosen):
    """Fit the layer of all labels on some excerpts."""
    own, inner = np.flatnonzero(chosen), _folds(artist[chosen])
    logits = np.zeros((len(own), len(genres)))
    for fold in range(NUM_FOLDS):
      used = np.isin(np.arange(len(clips)), own[inner != fold])
      tested = own[inner == fold]
      layer = fit_ten(at_speeds, truth, used, scale, len(genres))
      logits[inner == fold] = centered([excerpts[i] for i in tested], layer)
    ten = fit_ten(at_speeds, truth, chosen, scale, len(genres))
    return fit_labels(labels, genres, [excerpts[i] for i in own], music, truth[own], logits, ten)

  def probabilities(layer):
    kernel, bias = layer
    return np.stack([softmax(x @ kernel[:, columns] + bias[columns]).mean(0) for x in excerpts])

  layers = [fit(folds != fold) for fold in range(NUM_FOLDS)]
  cross = np.stack([probabilities(layer) for layer in layers])[folds, np.arange(len(clips))]
  print("| ten genres | accuracy, % [95 %] | n |\n|---|---|---|")
  _row("cross-validation with artists apart, all excerpts", cross.argmax(1) == truth, artist)
  train_layer = fit(train)
  listed = probabilities(train_layer)[~train]
  _row("train list, validation list", listed.argmax(1) == truth[~train], artist[~train])
  for number, genre in enumerate(genres):
    own = truth == number
    _row(f"cross-validation, {genre}", cross[own].argmax(1) == number, artist[own])
  temperature = fit_temperature(cross, truth)
  calibrated = cross_fit_temperatures(cross, truth, artist)
  error = expected_calibration_error(reliability(calibrated, truth))
  print(f"\ntemperature {temperature:.2f}, expected calibration error {error:.3f}")
  _report_learning(excerpts, truth, artist, train, columns, genres, fit)
  if not rows:
    return
  layer = fit(np.ones(len(clips), bool))
  # Sounds other than music are recognized by fits on other packages and artists.
  packages = sorted({(row["kind"], row["package"]) for row in rows})
  half = {package: i % 2 for i, package in enumerate(packages)}
  halves = np.array([half[row["kind"], row["package"]] for row in rows])
  others = []
  for number in (0, 1):
    used = np.flatnonzero(halves != number)
    kept = [x for x, fold in zip(excerpts, folds, strict=True) if fold % 2 != number]
    others.append(fit_not_music(kept, [sounds[i] for i in used], [rows[i] for i in used], scale))
  tested = [
    ("excerpts of GTZAN", x, layers[fold], others[fold % 2], known[clip[1]])
    for clip, x, fold in zip(clips, excerpts, folds, strict=True)
  ]
  tested += [
    (row["kind"], x, layer, others[number], row["labels"])
    for row, x, number in zip(rows, sounds, halves, strict=True)
  ]
  _report(labels, tested)
  listed_sounds = [
    ("validation list", x, train_layer, others[fold % 2], known[clip[1]])
    for clip, x, fold, own in zip(clips, excerpts, folds, train, strict=True)
    if not own
  ]
  groups = [*artist, *(row["package"] for row in rows), *artist[~train]]
  _coverage(labels, [*tested, *listed_sounds], groups)
  if OUT.value:
    other = fit_not_music(excerpts, sounds, rows, scale)
    _write(pathlib.Path(OUT.value), labels, genres, columns, temperature, layer, other)


def _folds(artist):
  """Return the fold of each clip; an artist is in one fold."""
  names = np.unique(artist)
  order = np.random.default_rng(0).permutation(len(names)) % NUM_FOLDS
  number = dict(zip(names, order, strict=True))
  return np.array([number[name] for name in artist])


def _report_learning(excerpts, truth, artist, train, columns, genres, fit):
  """Print what `library learn` gains by starting from the layer.

  First with songs that are new to the layer: two fifths of the artists train the layer, two fifths
  are the user's, one fifth is asked. Then the train list is both, and the validation list is asked.
  """
  features = np.stack([x.mean(0) for x in excerpts]).astype(np.float16).astype(np.float32)
  some = features[:, : LEARNED[FEATURES]]

  def right(known, own, asked):
    """Return whether asked songs are right by the layer, learned from nothing, and from it."""
    kernel, bias = fit(known)
    logits = (features @ kernel + bias)[:, columns].astype(np.float32)
    found = [logits]
    for start in (np.zeros_like(logits), logits):
      examples = Examples((), tuple(artist[own]), truth[own], some[own], tuple(genres), {})
      decay = cross_validate(examples, start[own])[2]
      change, bias_change = softmax_regression.fit(some[own], truth[own], start[own], decay)
      found.append(start + some @ change + bias_change)
    return [(values.argmax(1) == truth)[asked] for values in found]

  names = ("the layer alone", "learned from nothing", "learned from the layer")
  folds, correct = _folds(artist), np.zeros((len(names), len(truth)))
  for fold in range(NUM_FOLDS):
    number = (folds - fold) % NUM_FOLDS
    correct[:, number == 0] = right(number > 2, (number == 1) | (number == 2), number == 0)
  print("\n| songs that are new to the layer | accuracy, % [95 %] | n |\n|---|---|---|")
  for name, row in zip(names, correct, strict=True):
    _row(name, row, artist)
  print("\n| train list, validation list | accuracy, % [95 %] | n |\n|---|---|---|")
  for name, row in zip(names, right(train, train, ~train), strict=True):
    _row(name, row, artist[~train])


def _report(labels, tested):
  """Print how often a genre is given to each kind of sound, and how often an acceptable one.

  Args:
    labels: All labels.
    tested: (kind, features, layer of the labels, layer of other sounds, labels joined by '|') of
      recordings. The labels of free recordings are those that their packages state.
  """
  names, limits = [*(label.name for label in labels), *NOT_MUSIC], limits_of(labels)
  parents = {label.name: label.parent for label in labels}
  genre: dict[str, list[bool]] = {}
  acceptable: dict[str, list[bool]] = {}
  confidence: dict[str, list[float]] = {}
  for kind, x, layer, other, stated in tested:
    p = _outputs(x, layer, other, limits)
    best = _label(p, names)
    genre.setdefault(kind, []).append(best not in (*NOT_MUSIC, "unknown"))
    # "soundtrack" says what a piece is for, and is all that most packages of games state.
    if stated and stated != "soundtrack":
      acceptable.setdefault(kind, []).append(_is_acceptable(best, stated, parents))
      confidence.setdefault(kind, []).append(p.max())
      print(f"{kind:20} {best:20} {stated}", file=sys.stderr)
  print("\n| sounds | called a genre, % [95 %] | n |\n|---|---|---|")
  for kind, found in genre.items():
    _row(kind, np.array(found))
  print("\n| songs | an acceptable label first, % [95 %] | n |\n|---|---|---|")
  for kind, found in acceptable.items():
    _row(kind, np.array(found))
  for kind, found in acceptable.items():
    p, right = np.array(confidence[kind]), np.array(found)
    table = reliability(np.stack([p, 0 * p], 1), 1 - right.astype(int))
    print(f"expected calibration error of {kind}: {expected_calibration_error(table):.3f}")


def _coverage(labels, tested, groups):
  """Print how many songs get a genre with some least confidence, and how many of these are right.

  Args:
    labels: All labels.
    tested: As of `_report`.
    groups: Artist or package of each.
  """
  names, limits = [*(label.name for label in labels), *NOT_MUSIC], limits_of(labels)
  parents = {label.name: label.parent for label in labels}
  kinds: dict[str, list[tuple[float, bool, str]]] = {}
  for (kind, x, layer, other, stated), group in zip(tested, groups, strict=True):
    if stated and stated != "soundtrack":
      p = _outputs(x, layer, other, limits)
      best = _label(p, names)
      sure = p[names.index(best)] if best in parents else -1.0
      kinds.setdefault(kind, []).append((sure, _is_acceptable(best, stated, parents), group))
  print(f"\n| least confidence |{'|'.join(f' {kind} | acceptable, % [95 %] ' for kind in kinds)}|")
  print("|---" * (1 + 2 * len(kinds)) + "|")
  for least in LEVELS:
    cells = []
    for found in kinds.values():
      sure = [one for one in found if one[0] >= least]
      right = np.array([is_right for _, is_right, _ in sure])
      cells.append(f"{len(sure)} of {len(found)} | {_percent(right, [one[2] for one in sure])}")
    print(f"| {least:.1f} | {' | '.join(cells)} |")


def _is_acceptable(label, stated, parents):
  """Return whether a label is one of those stated, joined by '|', or a part of one."""
  return label in stated.split("|") or parents.get(label) in stated.split("|")


def _label(p, names):
  """Return the first label, as `Model.decide_label`."""
  least = np.where(np.isin(names, NOT_MUSIC), THRESHOLD, LEAST)
  order = np.argsort(-p)
  return next((names[i] for i in order if p[i] >= least[i]), "unknown")


def _outputs(x, layer, other, limits):
  """Return probabilities of labels and of NOT_MUSIC of a clip, as the network computes them."""
  sounds = x @ other[0] + other[1]
  logits = np.asarray(limit_labels(np.float32(x @ layer[0] + layer[1]), limits))
  logits = logits - np.logaddexp(0, sounds.max(1, keepdims=True))
  return scipy.special.expit(np.concatenate([logits, sounds], 1)).mean(0)


def _write(folder, labels, genres, columns, temperature, layer, other):
  """Write the layer as a model directory."""
  weights = {
    "params/head/kernel": np.concatenate([layer[0], other[0]], 1),
    "params/head/bias": np.concatenate([layer[1], other[1]]),
    "label_sets/gtzan/kernel": layer[0][:, columns],
    "label_sets/gtzan/bias": layer[1][columns],
  }
  network = {"name": MUSICNN_YAMNET}
  write_model(
    folder,
    {
      "name": MUSICNN_YAMNET,
      "model": {**network, "not_music": len(NOT_MUSIC), "limits": limits_of(labels)},
      "frontend": FRONTEND.to_dict(),
      "classes": [*(label.name for label in labels), *NOT_MUSIC],
      "task": "multi_label",
      "thresholds": [THRESHOLD] * (len(labels) + len(NOT_MUSIC)),
      "least": [LEAST] * len(labels) + [THRESHOLD] * len(NOT_MUSIC),
      "normalization": "none",
      "label_sets": {
        "gtzan": {
          "classes": genres,
          "task": "single_label",
          "temperature": temperature,
          "thresholds": [THRESHOLD] * len(genres),
          "least": [],
          "model": network,
        }
      },
      "provenance": {
        "source": "tools/genre_head.py",
        "trained_on": "331 excerpts of GTZAN and free recordings of Debian packages",
        "license": "Apache-2.0; trained on recordings that are used in research only",
        "citation": "see the parts",
      },
    },
    {name: value.astype(np.float32) for name, value in weights.items()},
  )


def _row(name, correct, groups=None):
  """Print a row of a table; the interval takes clips of one group as dependent."""
  groups = np.arange(len(correct)) if groups is None else groups
  print(f"| {name} | {_percent(correct, groups)} | {len(correct)} |")


def _percent(correct, groups):
  """Return an accuracy with its interval."""
  if not len(correct):
    return ""
  low, high = accuracy_interval(correct, tuple(map(str, groups)))
  return f"{100 * correct.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
  command_line.run(main)
