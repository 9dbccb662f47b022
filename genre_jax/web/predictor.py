"""Predict files and live sound for the visitors of a page.

JAX and matplotlib are imported where they are used, so that the page is there before them.
"""

import concurrent.futures
import dataclasses
import tempfile
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.errors import UserError
from genre_jax.inference.track_log_mel import TrackLogMel, read_track_log_mel
from genre_jax.web.sound import FILE_SECONDS

if TYPE_CHECKING:
  from genre_jax.inference.model import Model
  from genre_jax.inference.predict_files import Prediction
  from genre_jax.inference.streaming import Update
  from genre_jax.reports.grad_cam import GradCam

SHOWN_LABELS = 8  # of a timeline
SHOWN_SEGMENTS = 4  # of a plot of Grad-CAM
SMOOTHING_SECONDS = 0.5  # of predictions of live sound
AT_ONCE = 2  # files


@dataclasses.dataclass(frozen=True)
class TimelineSpan:
  """A part of a file.

  Attributes:
    start: Start in seconds.
    end: End in seconds.
    genre: The genre, 'unknown', 'silence', or several joined by ';'.
    probabilities: Probability of each label of the timeline; [] for silence.
  """

  start: float
  end: float
  genre: str
  probabilities: list[float]


@dataclasses.dataclass(frozen=True)
class Timeline:
  """Genres of a file over time.

  Attributes:
    seconds: Length of the file.
    genre: Genre of the whole file.
    confidence: Highest probability of the whole file.
    note: What of the file is damaged or missing, or ''.
    probabilities: {label: probability} of the whole file, the most probable first.
    labels: The most probable labels.
    spans: Parts of the file.
  """

  seconds: float
  genre: str
  confidence: float
  note: str
  probabilities: dict[str, float]
  labels: list[str]
  spans: list[TimelineSpan]


class Predictor:
  """Predict files in worker processes and live sound in this one.

  Args:
    load: Returns the model; it is called in a thread, so that the page is there before the model.
    calls: Worker processes that decode.
    max_minutes: Longest file.
  """

  def __init__(self, load: "Callable[[], Model]", calls: IsolatedCalls, max_minutes: float):
    self._calls, self._max_seconds = calls, 60 * max_minutes
    self._threads = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
    self._loaded = self._threads.submit(load)
    self._grad_cam: GradCam | None = None
    self._lock = threading.Lock()

  def submit(self, function: Callable[..., Any], *arguments) -> concurrent.futures.Future:
    """Call a method when few others are computing, so that other requests stay quick."""
    return self._threads.submit(function, *arguments)

  @property
  def model(self) -> "Model":
    """The model, which may still be loading.

    Raises:
      UserError: If it cannot be loaded.
    """
    return self._loaded.result()

  @property
  def explains(self) -> bool:
    """Whether `evidence` can be computed: the model reads a log-mel, not a waveform.

    Raises:
      UserError: If the model cannot be loaded.
    """
    return self.model.frontend.compression != "waveform"

  def timeline(self, path: str) -> Timeline:
    """Predict a file over time.

    Raises:
      UserError: If it cannot be used; the message is the reason.
    """
    with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
      return timeline_of(self._predict(path, self._read(path, folder)))

  def timeline_and_plot(self, path: str) -> tuple[Timeline, bytes]:
    """Predict a file over time; return that, and log-mel and timeline as PNG."""
    from genre_jax.web import plots

    with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
      track = self._read(path, folder)
      prediction = self._predict(path, track)
      return timeline_of(prediction), plots.png(plots.plot_overview(track, prediction))

  def evidence(self, path: str, label: str) -> bytes:
    """Compute Grad-CAM of some segments of a file.

    Args:
      path: The file.
      label: The label whose evidence is plotted.

    Returns:
      A PNG.

    Raises:
      UserError: If the file, the label or the network cannot be used.
    """
    from genre_jax.reports.grad_cam import GradCam
    from genre_jax.web import plots

    model = self.model
    if label not in model.classes:
      raise UserError(f"label={label!r}: give one of {', '.join(model.classes)}")
    if not self.explains:
      raise UserError(
        f"{model.name} reads a waveform, and Grad-CAM needs a model that reads a log-mel, as"
        " axis_features_10"
      )
    with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
      track = self._read(path, folder)
      ranges = track.track_ranges(model.eval_per_track)[:SHOWN_SEGMENTS]
      segments, counts = track.segments(ranges)
      starts = track.sounding[ranges[:, 0]]
    images = segments[..., None]
    with self._lock:
      if self._grad_cam is None:
        self._grad_cam = GradCam(model.network, model.variables, images[:2])
    if not self._grad_cam.maps:
      raise UserError(f"{model.name} has no layer that keeps time and frequency")
    mask = np.arange(segments.shape[1])[None] < counts[:, None]
    heat = self._grad_cam(images, mask, np.full(len(images), model.classes.index(label)))
    return plots.png(plots.plot_evidence(model.frontend, segments, starts, heat, label))

  def _read(self, path: str, folder: str) -> TrackLogMel:
    task = (path, self.model.frontend, folder, self._max_seconds)
    [track] = self._calls.results(read_track_log_mel, [task], 1, FILE_SECONDS)
    if isinstance(track, str):
      raise UserError(track)
    return track.opened()

  def _predict(self, path: str, track: TrackLogMel) -> "Prediction":
    from genre_jax.inference.predict_files import predict_track

    return predict_track(path, track, self.model, timeline=True)

  def close(self) -> None:
    """Drop what waits."""
    self._threads.shutdown(wait=False, cancel_futures=True)


def timeline_of(prediction: "Prediction") -> Timeline:
  """Return a prediction as the page draws it."""
  ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
  labels = [name for name, _ in ranked[:SHOWN_LABELS]]
  spans = [
    TimelineSpan(
      round(span.start, 2),
      round(span.end, 2),
      span.genre,
      [round(span.probabilities[name], 3) for name in labels] if span.probabilities else [],
    )
    for span in prediction.timeline
  ]
  return Timeline(
    round(prediction.seconds or 0.0, 2),
    prediction.genre,
    round(prediction.confidence or 0.0, 4),
    prediction.note,
    {name: round(value, 4) for name, value in ranked},
    labels,
    spans,
  )


class Microphone:
  """Classify the sound of one visitor's microphone.

  Args:
    model: The loaded model.
    rate: Sample rate of the microphone in Hz.

  Raises:
    UserError: If the model cannot classify live sound.
  """

  def __init__(self, model: "Model", rate: int):
    from genre_jax.inference.streaming import StreamingClassifier, converter

    self._classifier = StreamingClassifier(model, smoothing_seconds=SMOOTHING_SECONDS)
    self._convert = converter(rate, model.frontend.sample_rate)

  def push(self, values: np.ndarray) -> "Update | None":
    """Process float32[samples], mono; return the last prediction if there is a new one."""
    last = None
    for part in self._convert(np.clip(np.nan_to_num(values), -1, 1)):
      for update in self._classifier.push(part):
        last = update
    return last
