"""Train the layer of the default model, musicnn_yamnet, and measure it.

    python tools/genre_head.py --gtzan=GTZAN --recordings=FOLDER [--features=FILE] [--out=DIR]

GTZAN is a folder with audio/GENRE/*.flac and the published lists; FOLDER is what
`tools/free_recordings.py` makes. Features of musicnn and YAMNet, which are fetched first, are
stored in FILE. The accuracies are printed as Markdown tables. With --out the layer is written as a
model directory without its two networks.

Ten genres: a logistic regression on musicnn's outputs and one on YAMNet's, whose logits are
averaged. All labels of `genre_jax/data/labels/genres.csv`: the mean of the standardized logits of
the tags and kinds of sound that mean the label; its weight is fitted on the ten genres, where the
truth is known, and used for all. Sounds other than music: a logistic regression on YAMNet's
outputs.
"""

import csv
import pathlib
import sys
import time

import numpy as np
import scipy.optimize
import scipy.special
import soxr
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from genre_jax import command_line
from genre_jax.data.audio import read_audio
from genre_jax.data.labels import read_labels
from genre_jax.data.sources.gtzan.folder import find_files
from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import fit_temperature
from genre_jax.evaluation.metrics import softmax, wilson_interval
from genre_jax.inference import published_weights
from genre_jax.inference.model import Model, load
from genre_jax.inference.model_dir import write_model
from genre_jax.inference.published import MUSICNN_YAMNET, PARTS
from genre_jax.models.musicnn_yamnet import FRONTEND, LOGIT_LIMIT, MusicnnYamnet

GTZAN = flags.DEFINE_string("gtzan", None, "Folder of GTZAN with audio.", required=True)
RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of recordings.csv.", required=True)
FEATURES = flags.DEFINE_string("features", "features.npz", "File for features.")
OUT = flags.DEFINE_string("out", "", "Model directory to write.")

# Columns of the network's features.
PARTS_OF = {
  "convolution": slice(0, 128),
  "embedding": slice(128, 328),
  "tags": slice(328, 378),
  "sound_embedding": slice(378, 1402),
  "sounds": slice(1402, 1923),
}
MUSICNN, YAMNET = ("convolution", "embedding", "tags"), ("sound_embedding",)
YAMNET_SHARE = 0.4  # of the logits of ten genres
PENALTY, ITERATIONS = 0.001, 300
NOT_MUSIC_PENALTY = 0.01
MUSIC_BIAS = 1.0  # a song called an effect is worse than an effect called a genre; not fitted
MUSIC_SOUND, MIN_MUSIC = 132, -8.0  # YAMNet's class Music; least logit of a piece of a song
RARE_BIAS = -2.0  # of labels that only AudioSet has, which are rarer; not fitted
SPEEDS = (1.0, 0.94, 1.06)  # of further examples
SEGMENTS = 2  # of a free recording
NOISES = {"white": 0, "pink": 1, "brown": 2, "blue": -1, "violet": -2}  # exponent of the power
KINDS = ("speech", "effect", "noise")  # of recordings, besides music
NOT_MUSIC = ("speech", "sound effect", "noise")  # their labels
THRESHOLD, LEAST = 0.5, 0.1


def main(argv: list[str]) -> None:
  """Compute features, fit, measure, and write the layer."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  network = _network(*_empty_head())
  clips = _gtzan_clips(pathlib.Path(GTZAN.value))
  rows = _recordings(pathlib.Path(RECORDINGS.value))
  store = _Features(pathlib.Path(FEATURES.value), network)
  excerpts = [store.clip(path, speed) for speed in SPEEDS for path, *_ in clips]
  sounds = [store.clip(row["path"], 1.0, SEGMENTS) for row in rows]
  store.save()
  # The ends of songs are often silent.
  for i, row in enumerate(rows):
    audible = sounds[i][:, PARTS_OF["sounds"].start + MUSIC_SOUND] > MIN_MUSIC
    if row["kind"] == "music" and audible.any():
      sounds[i] = sounds[i][audible]
  genres = sorted({genre for _, genre, *_ in clips})
  truth = np.array([genres.index(genre) for _, genre, *_ in clips])
  artist = np.array([artist for *_, artist, _ in clips])
  train = np.array([split == "train" for *_, split in clips])
  # Of all sounds: features that never vary in GTZAN would become huge on others.
  scale = _scale(np.concatenate([*excerpts[: len(clips)], *sounds]))

  def ten(chosen):
    return _fit_ten(excerpts, truth, chosen, scale, len(genres))

  def probabilities(layer):
    kernel, bias = layer
    return np.stack([softmax(x @ kernel + bias).mean(0) for x in excerpts[: len(clips)]])

  cross, logits = np.zeros((len(clips), len(genres))), np.zeros((len(clips), len(genres)))
  for fold in range(5):
    outside = _folds(artist) == fold
    layer = ten(~outside)
    cross[outside] = probabilities(layer)[outside]
    logits[outside] = _centered(excerpts[: len(clips)], layer)[outside]
  print("| ten genres | accuracy, % [95 %] | n |\n|---|---|---|")
  _row("cross-validation with artists apart, all excerpts", cross.argmax(1) == truth, artist)
  listed = probabilities(ten(train))[~train]
  _row("train list, validation list", listed.argmax(1) == truth[~train], artist[~train])
  temperature = fit_temperature(cross, truth)
  print(f"\ntemperature {temperature:.2f}")
  labels = read_labels()
  final = ten(np.ones(len(clips), bool))
  whole = excerpts[: len(clips)]
  kernel, bias = _fit_labels(labels, genres, whole, sounds, rows, truth, logits, final)
  _report(labels, clips, rows, whole, sounds, kernel, bias, scale)
  other = _fit_not_music(whole, sounds, rows, scale)
  if OUT.value:
    _write(pathlib.Path(OUT.value), labels, genres, final, temperature, kernel, bias, other)


def _empty_head():
  return np.zeros((1923, 1), np.float32), np.zeros(1, np.float32)


def _network(kernel, bias):
  """Return the model with a layer, made from the two fetched models."""
  variables = {"params": {"head": {"kernel": kernel, "bias": bias}}, "batch_stats": {}}
  for part, name in PARTS.items():
    published_weights.fetch(name)
    for collection, values in load(name).variables.items():
      variables[collection][part] = values
  classes = tuple(map(str, range(len(bias))))
  network = MusicnnYamnet(num_classes=len(bias))
  thresholds = (0.5,) * len(bias)
  return Model("head", network, variables, FRONTEND, classes, "multi_label", 1.0, thresholds, 0, {})


def _gtzan_clips(folder):
  """Return (path, genre, artist, split) of the excerpts of the train and validation lists."""
  files, lists, by_artist = find_files(folder)[0], published_lists(), artists()
  return [
    (str(files[name]), name.split(".")[0], str(by_artist.get(name, name)), lists[name])
    for name in sorted(files)
    if lists.get(name) in ("train", "validation")
  ]


def _recordings(folder):
  """Return the rows of recordings.csv, and one for each noise."""
  with open(folder / "recordings.csv", encoding="utf-8", newline="") as file:
    rows = [{**row, "path": str(folder / row["file"])} for row in csv.DictReader(file)]
  for color in NOISES:
    for number in range(12):
      rows.append({"path": f"{color} {number}", "kind": "noise", "package": color, "labels": ""})
  return rows


class _Features:
  """Features of clips, float32[segments, 1923], kept in a file."""

  def __init__(self, path, network):
    self._path, self._network = path, network
    self._known = dict(np.load(path)) if path.exists() else {}
    self._saved = time.monotonic()

  def save(self):
    np.savez(self._path, allow_pickle=False, **self._known)
    self._saved = time.monotonic()

  def clip(self, path, speed, segments=0):
    key = f"{path}|{speed}"
    if key not in self._known:
      print(f"features of {key}", file=sys.stderr)
      self._known[key] = self._compute(path, speed, segments)
      if time.monotonic() - self._saved > 60:
        self.save()
    return _clipped(self._known[key])

  def _compute(self, path, speed, segments):
    rate, length = FRONTEND.sample_rate, FRONTEND.num_frames * FRONTEND.hop_length
    color = path.split()[0]
    audio = _noise(*path.split()) if color in NOISES else read_audio(path, rate)
    if speed != 1:
      audio = soxr.resample(audio, rate * speed, rate)
    count = segments or max(1, len(audio) // length)
    starts = np.linspace(0, max(0, len(audio) - length), count).astype(int)
    frames = np.zeros((count, FRONTEND.num_frames, FRONTEND.hop_length), np.float32)
    lengths = []
    for row, start in zip(frames, starts, strict=True):
      piece = audio[start : start + length]
      lengths.append(len(piece) // FRONTEND.hop_length)
      row[: lengths[-1]] = piece[: lengths[-1] * FRONTEND.hop_length].reshape(lengths[-1], -1)
    return self._network.infer(frames, np.array(lengths))[1]


def _clipped(features):
  """Return features whose logits are clipped as in the network; older files have them unclipped."""
  features = features.copy()
  for name in ("tags", "sounds"):
    part = features[:, PARTS_OF[name]]
    np.clip(part, -LOGIT_LIMIT, LOGIT_LIMIT, out=part)
  return features


def _noise(color, number):
  """Return 10 s of noise at a random level."""
  rng = np.random.default_rng([int(number), list(NOISES).index(color)])
  count = 10 * FRONTEND.sample_rate
  frequencies = np.fft.rfftfreq(count, 1 / FRONTEND.sample_rate)
  frequencies[0] = frequencies[1]
  spectrum = np.fft.rfft(rng.standard_normal(count)) * frequencies ** (-NOISES[color] / 2)
  noise = np.fft.irfft(spectrum, count)
  level = 10 ** (rng.uniform(-40, -12) / 20)
  return np.clip(noise * level / noise.std(), -1, 1).astype(np.float32)


def _scale(features):
  """Return the mean and the standard deviation of each feature."""
  return features.mean(0), features.std(0) + 1e-3


def _folds(artist):
  """Return the fold of each clip; an artist is in one fold."""
  names = np.unique(artist)
  number = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % 5, strict=True))
  return np.array([number[name] for name in artist])


def _logistic(x, y, weight, classes, penalty):
  """Fit a multinomial logistic regression; return its kernel and bias."""
  x, target, width = np.float32(x), np.eye(classes)[y], x.shape[1]

  def loss(flat):
    kernel, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
    logits = x @ np.float32(kernel) + bias
    log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    gradient = (np.exp(log_p) - target) * weight[:, None]
    value = -(weight[:, None] * target * log_p).sum() + (kernel**2).sum() / 2 / penalty
    both = [(x.T @ np.float32(gradient) + kernel / penalty).ravel(), gradient.sum(0)]
    return value, np.concatenate(both)

  start = np.zeros((width + 1) * classes)
  options = {"maxiter": ITERATIONS}
  flat = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
  return flat[: width * classes].reshape(width, classes), flat[width * classes :]


def _fit(features, truth, columns, scale, classes, penalty=PENALTY):
  """Fit on segments, each clip and each class with equal weight; the kernel has all features."""
  x = np.concatenate(features)
  clip = np.repeat(np.arange(len(features)), list(map(len, features)))
  weight = 1 / np.array([len(one) for one in features])[clip]
  weight = weight / np.bincount(truth, minlength=classes)[truth[clip]]
  weight *= len(features) / weight.sum()
  chosen = np.r_[tuple(PARTS_OF[name] for name in columns)]
  mean, deviation = scale[0][chosen], scale[1][chosen]
  part, bias = _logistic((x[:, chosen] - mean) / deviation, truth[clip], weight, classes, penalty)
  kernel = np.zeros((x.shape[1], classes))
  kernel[chosen] = part / deviation[:, None]
  return kernel, bias - (mean / deviation) @ part


def _fit_ten(excerpts, truth, chosen, scale, classes):
  """Fit both regressions on the chosen clips at all speeds; return their weighted sum."""
  several = np.tile(chosen, len(SPEEDS))
  some = [one for one, keep in zip(excerpts, several, strict=True) if keep]
  labels = np.tile(truth, len(SPEEDS))[several]
  layers = [_fit(some, labels, part, scale, classes) for part in (MUSICNN, YAMNET)]
  shares = (1 - YAMNET_SHARE, YAMNET_SHARE)
  return tuple(sum(s * layer[i] for s, layer in zip(shares, layers, strict=True)) for i in (0, 1))


def _centered(features, layer):
  """Return the mean logits of clips, relative to their mean over the classes."""
  logits = np.stack([x.mean(0) @ layer[0] + layer[1] for x in features])
  return logits - logits.mean(1, keepdims=True)


def _vocabularies():
  """Return {vocabulary: (first column of its logits, {name: number})}."""
  tags, sounds = (list(load(PARTS[part]).classes) for part in ("musicnn", "yamnet"))
  return {
    "msd": (PARTS_OF["tags"].start, {name: i for i, name in enumerate(tags)}),
    "audioset": (PARTS_OF["sounds"].start, {name: i for i, name in enumerate(sounds)}),
  }


def _fit_labels(labels, genres, excerpts, sounds, rows, truth, logits, ten):
  """Fit the weights of tags, kinds of sound and ten-genre logits; return a kernel and bias."""
  music = [x for x, row in zip(sounds, rows, strict=True) if row["kind"] == "music"]
  means = [np.stack([x.mean(0) for x in group]) for group in (excerpts, music)]
  # Half GTZAN, half free music, so that no label is common in the reference.
  mean = sum(x.mean(0) for x in means) / 2
  deviation = np.sqrt(sum(((x - mean) ** 2).mean(0) for x in means) / 2) + 1e-6
  scores, kernels = {}, {}
  for vocabulary, (first, numbers) in _vocabularies().items():
    kernel = np.zeros((len(mean), len(labels)))
    for column, label in enumerate(labels):
      names = label.names[vocabulary]
      for name in names:
        kernel[first + numbers[name], column] = 1 / len(names)
    kernels[vocabulary] = kernel / deviation[:, None]
    scores[vocabulary] = (means[0] - mean) @ kernels[vocabulary]
  kernel, bias = np.zeros((len(mean), len(labels))), np.zeros(len(labels))
  known = {name: c for c, label in enumerate(labels) for name in label.names["gtzan"]}
  target = (truth[:, None] == np.arange(len(genres))).astype(int)
  columns = [known[genre] for genre in genres]
  parts = {name: score[:, columns] for name, score in scores.items()}
  weights: dict[tuple, np.ndarray] = {}
  for column, label in enumerate(labels):
    used = tuple(name for name in scores if label.names[name])
    own = [genres.index(name) for name in label.names["gtzan"]]
    if (used, bool(own)) not in weights:
      # Fitted on those of the ten genres that have these vocabularies.
      fit = [i for i, c in enumerate(columns) if all(labels[c].names[name] for name in used)]
      x = [parts[name][:, fit].ravel() for name in used]
      x += [logits[:, fit].ravel()] if own else []
      weights[used, bool(own)] = _binary(np.stack(x, 1), target[:, fit].ravel())
    found = weights[used, bool(own)]
    for name, weight in zip(used, found, strict=False):
      kernel[:, column] += weight * kernels[name][:, column]
      bias[column] -= weight * mean @ kernels[name][:, column]
    bias[column] += found[-1] + (RARE_BIAS if used == ("audioset",) and not own else 0)
    if own:
      kernel[:, column] += found[-2] * (ten[0][:, own[0]] - ten[0].mean(1))
      bias[column] += found[-2] * (ten[1][own[0]] - ten[1].mean())
  for (used, own), found in weights.items():
    print(f"weights of {' '.join(used)}{' ten' if own else ''} and bias: {np.round(found, 2)}")
  return kernel, bias


def _binary(x, y):
  """Return the weights and the bias of a logistic regression without penalty."""

  def loss(weights):
    logits = x @ weights[:-1] + weights[-1]
    gradient = scipy.special.expit(logits) - y
    value = (np.logaddexp(0, logits) - y * logits).mean()
    return value, np.append(x.T @ gradient, gradient.sum()) / len(y)

  return scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS").x


def _fit_not_music(excerpts, sounds, rows, scale):
  """Fit music against NOT_MUSIC on YAMNet's outputs; return logits relative to music's."""
  kinds = ("music", *KINDS)
  truth = [0] * len(excerpts) + [kinds.index(row["kind"]) for row in rows]
  kernel, bias = _fit(
    [*excerpts, *sounds], np.array(truth), YAMNET, scale, len(kinds), NOT_MUSIC_PENALTY
  )
  return kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[0] - MUSIC_BIAS


def _report(labels, clips, rows, excerpts, sounds, kernel, bias, scale):
  """Print how often a genre is given to each kind of sound, and how often an acceptable one.

  Sounds other than music are recognized by fits on other packages and artists. The layer of the
  labels is that of all excerpts, so their rows are optimistic.
  """
  packages = sorted({(row["kind"], row["package"]) for row in rows})
  fold_of = {package: i % 2 for i, package in enumerate(packages)}
  folds = [fold_of[row["kind"], row["package"]] for row in rows]
  halves = _folds(np.array([artist for _, _, artist, _ in clips])) % 2
  results: dict[str, list[tuple[str, str]]] = {}
  names = [*(label.name for label in labels), *NOT_MUSIC]
  for fold in (0, 1):
    used = [i for i, f in enumerate(folds) if f != fold]
    other = _fit_not_music(
      [x for x, f in zip(excerpts, halves, strict=True) if f != fold],
      [sounds[i] for i in used],
      [rows[i] for i in used],
      scale,
    )
    tested = [
      (x, {"kind": "GTZAN", "labels": clip[1]})
      for x, clip, f in zip(excerpts, clips, halves, strict=True)
      if f == fold
    ]
    tested += [(sounds[i], rows[i]) for i, f in enumerate(folds) if f == fold]
    for x, row in tested:
      p = _outputs(x, kernel, bias, other)
      best = names[p.argmax()] if p.max() >= LEAST else "unknown"
      results.setdefault(row["kind"], []).append((best, row["labels"]))
  print("\n| sounds | called a genre, % [95 %] | n |\n|---|---|---|")
  for kind, found in results.items():
    _row(kind, np.array([best not in (*NOT_MUSIC, "unknown") for best, _ in found]))
  print("\n| songs | an acceptable label first, % [95 %] | n |\n|---|---|---|")
  parents = {label.name: label.parent for label in labels}
  gtzan = {name: label.name for label in labels for name in label.names["gtzan"]}
  for kind in ("GTZAN", "music"):
    stated = [
      (best, {gtzan.get(name, name) for name in text.split("|")})
      for best, text in results.get(kind, [])
      if text
    ]
    if stated:
      _row(kind, np.array([best in true or parents.get(best) in true for best, true in stated]))
  for best, true in stated:
    print(f"{best:20} {'|'.join(sorted(true))}", file=sys.stderr)


def _outputs(x, kernel, bias, other):
  """Return probabilities of labels and of NOT_MUSIC of a clip, as the network computes them."""
  sounds = x @ other[0] + other[1]
  logits = x @ kernel + bias - np.logaddexp(0, sounds.max(1, keepdims=True))
  return scipy.special.expit(np.concatenate([logits, sounds], 1)).mean(0)


def _write(folder, labels, genres, ten, temperature, kernel, bias, other):
  """Write the layer as a model directory."""
  weights = {
    "params/head/kernel": np.concatenate([kernel, other[0]], 1),
    "params/head/bias": np.concatenate([bias, other[1]]),
    "label_sets/gtzan/kernel": ten[0],
    "label_sets/gtzan/bias": ten[1],
  }
  network = {"name": MUSICNN_YAMNET}
  write_model(
    folder,
    {
      "name": MUSICNN_YAMNET,
      "model": {**network, "not_music": len(NOT_MUSIC)},
      "frontend": FRONTEND.to_dict(),
      "classes": [*(label.name for label in labels), *NOT_MUSIC],
      "task": "multi_label",
      "thresholds": [THRESHOLD] * (len(labels) + len(NOT_MUSIC)),
      "least": LEAST,
      "normalization": "none",
      "label_sets": {
        "gtzan": {
          "classes": genres,
          "task": "single_label",
          "temperature": temperature,
          "thresholds": [THRESHOLD] * len(genres),
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
  """Print a row of a table; the interval counts each group once."""
  n = len(correct)
  low, high = wilson_interval(correct.mean(), n if groups is None else len(set(groups)))
  print(f"| {name} | {100 * correct.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] | {n} |")


if __name__ == "__main__":
  command_line.run(main)
