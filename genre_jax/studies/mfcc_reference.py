"""Classify tracks by mean and standard deviation of MFCC: a reference without a network.

The features follow Tzanetakis and Cook, "Musical genre classification of audio signals", IEEE
Trans. Speech Audio Process. 10 (2002) 293, who summarize MFCC over time by means and variances.
Nothing is tuned: the number of coefficients and the penalty are fixed. A run's folder has the files
of any run.
"""

import json
import pathlib
import time

import numpy as np
import scipy.fft
from ml_collections import ConfigDict

from genre_jax.data.pipeline import read_clips
from genre_jax.data.prepared import Prepared, prepare
from genre_jax.data.split_assignment import SplitAssignment, check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import missing_extra
from genre_jax.evaluation.metrics import Predictions
from genre_jax.files import write_whole
from genre_jax.training.evaluate import write_evaluation
from genre_jax.training.setup import open_dataset
from genre_jax.training.workdir import claim_workdir, lock_workdir

NAME = "mfcc_logistic_regression"  # the entry of a protocol, and config.model.name of its runs
COEFFICIENTS = 20
PENALTY = 1.0  # C of scikit-learn: the inverse of the L2 penalty
TIMING_FILE = "timing.json"


def mfcc(log_mel: np.ndarray) -> np.ndarray:
  """Compute MFCC: the orthonormal DCT-II of each frame of a log-mel spectrogram.

  Args:
    log_mel: float32[frames, n_mels] in dB.

  Returns:
    float64[frames, COEFFICIENTS], from coefficient 0.

  Reference: Davis and Mermelstein, IEEE Trans. Acoust. Speech Signal Process. 28 (1980) 357.
  """
  spectrum = np.asarray(log_mel, np.float64)
  return scipy.fft.dct(spectrum, type=2, norm="ortho", axis=-1)[:, :COEFFICIENTS]


def summarize_track(log_mel: np.ndarray) -> np.ndarray:
  """Return mean and standard deviation of each MFCC over the frames of a track.

  Args:
    log_mel: float32[frames, n_mels] in dB.

  Returns:
    float64[2 * COEFFICIENTS], the means first.
  """
  coefficients = mfcc(log_mel)
  return np.concatenate([coefficients.mean(0), coefficients.std(0)])


def train_and_evaluate(config: ConfigDict, folder: pathlib.Path) -> None:
  """Fit on the train split, evaluate validation and test, and write the files of a run.

  A track is one segment here, so that both units have the same metrics.

  Args:
    config: A resolved experiment with task 'single_label'; its network and recipe are not used.
    folder: Folder of the run: config.json, timing.json and eval/.

  Raises:
    UserError: If the dataset or the split is not usable, or scikit-learn is missing.
  """
  source, frontend = open_dataset(config)
  prepared = prepare(source, frontend, config.dataset.prepared_dir, workers=config.dataset.workers)
  split = config.split
  assignment = assign_splits(
    prepared.clips,
    name=split.name,
    num_folds=split.num_folds,
    fold=split.fold,
    seed=split.seed,
    segments_per_track=config.segments.train_per_track,
    train_share=split.train_share,
  )
  check_groups_apart(assignment, prepared.clips)
  folder.mkdir(parents=True, exist_ok=True)
  with lock_workdir(folder):
    claim_workdir(folder, config, prepared.path.name)
    began = time.monotonic()
    features, labels = _read_features(prepared)
    splits = np.array([assignment.splits.get(clip.track, "") for clip in prepared.clips])
    train = splits == "train"
    probabilities = fit_and_predict(features[train], labels[train], features, len(prepared.classes))
    minutes = (time.monotonic() - began) / 60
    write_whole(folder / TIMING_FILE, json.dumps({"training_minutes": minutes}) + "\n")
    for name in ("validation", "test"):
      rows = np.flatnonzero(splits == name)
      report = write_evaluation(
        folder,
        _predictions(prepared, assignment, name, rows, labels, probabilities),
        assignment,
        name,
        seed=config.seed,
        checkpoint_step=0,
        parameters=len(prepared.classes) * (features.shape[1] + 1),
      )
      if len(rows):
        print(f"{name:10} track accuracy {100 * report['track']['accuracy']:.2f} % n={len(rows)}")


def fit_and_predict(
  train_features: np.ndarray, train_labels: np.ndarray, features: np.ndarray, num_classes: int
) -> np.ndarray:
  """Fit a multinomial logistic regression and return class probabilities.

  Features are standardized by mean and standard deviation of the training rows.

  Args:
    train_features: float64[train, features].
    train_labels: int[train].
    features: float64[n, features].
    num_classes: Number of classes; one without training rows gets probability 0.

  Returns:
    float64[n, num_classes].

  Raises:
    UserError: If scikit-learn is not installed.
  """
  try:
    from sklearn.linear_model import LogisticRegression  # here: an optional library
  except ImportError as error:
    raise missing_extra(NAME, "scikit-learn", "train") from error
  mean, deviation = train_features.mean(0), train_features.std(0)
  deviation = np.where(deviation > 0, deviation, 1.0)
  classifier = LogisticRegression(C=PENALTY, max_iter=2000)
  classifier.fit((train_features - mean) / deviation, train_labels)
  probabilities = np.zeros((len(features), num_classes))
  probabilities[:, classifier.classes_] = classifier.predict_proba((features - mean) / deviation)
  return probabilities


def read_training_minutes(folder: pathlib.Path) -> float:
  """Return the minutes that features and fit took."""
  return json.loads((folder / TIMING_FILE).read_text())["training_minutes"]


def _read_features(prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
  """Return float64[clips, 2 * COEFFICIENTS] and the labels, int[clips], in stored order."""
  features, labels = [], []
  for _, clip in read_clips(prepared, np.ones(len(prepared.clips), bool)).as_numpy_iterator():
    features.append(summarize_track(clip["log_mel"]))
    labels.append(int(clip["labels"].argmax()))
  return np.array(features), np.array(labels)


def _predictions(
  prepared: Prepared,
  assignment: SplitAssignment,
  split: str,
  rows: np.ndarray,
  labels: np.ndarray,
  probabilities: np.ndarray,
) -> Predictions:
  """Return the predictions of some clips.

  Groups are those of `evaluate.predict_split`: a split whose groups training knows has none.
  """
  clips = [prepared.clips[row] for row in rows]
  known = split in assignment.known_groups
  return Predictions(
    names=tuple(clip.track for clip in clips),
    groups=tuple(clip.track if known else clip.group for clip in clips),
    labels=labels[rows],
    probabilities=probabilities[rows],
    classes=prepared.classes,
  )
