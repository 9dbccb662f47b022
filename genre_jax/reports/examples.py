"""Choose the tracks that a report shows, and predict on segments along them."""

import dataclasses

import numpy as np

from genre_jax.data.pipeline import plan_segments, read_clips
from genre_jax.data.prepared import Prepared
from genre_jax.evaluation.metrics import Predictions, softmax
from genre_jax.reports.grad_cam import GradCam
from genre_jax.training import steps

# Most segments along one track: enough for a curve over 30 s.
MAX_SEGMENTS_ALONG = 41
GRAD_CAM_BATCH = 8  # segments; gradients need memory


@dataclasses.dataclass(frozen=True)
class Example:
  """Data of a picture of a track or of one of its segments.

  Attributes:
    track: Name of the track.
    label: Index of the true genre.
    prediction: Index of the predicted genre.
    probabilities: float[genres] of the track or the segment.
    log_mel: float32[time, frequency] in the unit of the front end, dB by default.
    start_seconds: Start of the picture in the track.
    times: float[steps], centers of segments along the track in seconds; empty for a segment.
    along: float[steps, genres], probabilities of these segments.
    heats: {branch: float32[time, frequency]}, Grad-CAM of the prediction, 0 to 1.
  """

  track: str
  label: int
  prediction: int
  probabilities: np.ndarray
  log_mel: np.ndarray
  start_seconds: float = 0.0
  times: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
  along: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
  heats: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def most_confused(tracks: Predictions) -> np.ndarray:
  """Return indices of tracks, sorted by p(true genre) - p(most probable other genre), ascending."""
  rows = np.arange(len(tracks.labels))
  true = tracks.probabilities[rows, tracks.labels]
  others = tracks.probabilities.copy()
  others[rows, tracks.labels] = -1
  return np.argsort(true - others.max(1), kind="stable")


def most_confident(tracks: Predictions) -> list[tuple[int, bool, int | None]]:
  """Return the most confident correct and wrong track of each genre.

  Returns:
    A list of (genre, correct, index of the track or None if there is no such track).
  """
  predicted = tracks.probabilities.argmax(1)
  confidence = tracks.probabilities.max(1)
  chosen = []
  for genre in range(len(tracks.classes)):
    for correct in (True, False):
      rows = np.flatnonzero((tracks.labels == genre) & ((predicted == genre) == correct))
      chosen.append((genre, correct, int(rows[confidence[rows].argmax()]) if len(rows) else None))
  return chosen


def read_log_mels(prepared: Prepared, names) -> dict[str, np.ndarray]:
  """Read log-mels of some tracks of a prepared set, as {track: float32[time, frequency]}."""
  wanted = np.array([clip.track in set(names) for clip in prepared.clips])
  return {
    prepared.clips[int(index)].track: clip["log_mel"]
    for index, clip in read_clips(prepared, wanted).as_numpy_iterator()
  }


class SegmentPredictor:
  """Predict on any segment of the tracks of a run.

  Args:
    experiment: Experiment of the run.
    variables: Parameters and batch statistics of the checkpoint.
    eval_step: From `steps.make_eval_step`, compiled for the batch size of the evaluation.
    mesh: Device mesh.

  Attributes:
    frontend: Front end of the prepared set.
  """

  def __init__(self, experiment, variables, eval_step, mesh):
    self._experiment, self._variables = experiment, variables
    self._eval_step, self._mesh = eval_step, mesh
    self._batch_size = -(-experiment.config.train.batch_size // mesh.size) * mesh.size
    self.frontend = experiment.prepared.frontend
    self._cam: GradCam | None = None

  def cut(self, log_mel: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """Return a segment as the input pipeline cuts it, and its number of valid frames."""
    segment = log_mel[start : start + self.frontend.num_frames]
    padding = self.frontend.num_frames - len(segment)
    return np.pad(segment, ((0, padding), (0, 0)), constant_values=log_mel.min()), len(segment)

  def probabilities(self, segments: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """Predict float64[n, genres] on float32[n, time, frequency] segments."""
    predictions, size = [], self._batch_size
    for begin in range(0, len(segments), size):
      rows = np.minimum(np.arange(begin, begin + size), len(segments) - 1)
      unknown = np.zeros((size, len(self._experiment.prepared.classes)), np.float32)
      batch = {
        "log_mel": segments[rows][..., None],
        "num_frames": num_frames[rows].astype(np.int32),
        "labels": unknown,
        "label_mask": unknown,
        "mask": np.ones(size, bool),
      }
      logits = self._eval_step(self._variables, steps.shard_batch(batch, self._mesh))
      predictions.append(np.asarray(logits)[: len(segments) - begin])
    return softmax(np.concatenate(predictions))

  def along(self, tracks: Predictions, index: int, log_mel: np.ndarray) -> Example:
    """Return a track with the probabilities of overlapping segments along it."""
    last_start = max(len(log_mel) - self.frontend.num_frames, 0)
    starts = np.unique(np.linspace(0, last_start, MAX_SEGMENTS_ALONG).astype(int))
    segments, frames = zip(*(self.cut(log_mel, start) for start in starts), strict=True)
    frames = np.array(frames)
    return Example(
      tracks.names[index],
      int(tracks.labels[index]),
      int(tracks.probabilities[index].argmax()),
      tracks.probabilities[index],
      log_mel,
      times=(starts + frames / 2) * self.frontend.seconds_per_frame,
      along=self.probabilities(np.stack(segments), frames),
    )

  def starts(self, split: str) -> np.ndarray:
    """Return the first frame of each segment of a split, in the order of its predictions."""
    plan = plan_segments(
      self._experiment.prepared,
      self._experiment.assignment,
      split,
      self._experiment.config.segments.eval_per_track,
    )
    return plan[plan >= 0]

  def explain(self, chosen: list[tuple[str, int, int, int, np.ndarray]], log_mels) -> list[Example]:
    """Compute Grad-CAM of the predicted genre.

    Args:
      chosen: (track, label, prediction, first frame, float[genres]) of each segment.
      log_mels: {track: float32[time, frequency]}.

    Returns:
      One example for each segment.
    """
    if not chosen:
      return []
    segments, frames = zip(
      *(self.cut(log_mels[track], start) for track, _, _, start, _ in chosen), strict=True
    )
    segments = np.stack(segments)[..., None]
    mask = np.arange(self.frontend.num_frames)[None] < np.array(frames)[:, None]
    if self._cam is None:
      some = np.resize(np.arange(len(segments)), GRAD_CAM_BATCH)
      self._cam = GradCam(self._experiment.model, self._variables, segments[some])
    heats = self._cam(segments, mask, np.array([prediction for _, _, prediction, _, _ in chosen]))
    return [
      Example(
        track,
        label,
        prediction,
        probabilities,
        segment[:count, :, 0],
        start * self.frontend.seconds_per_frame,
        heats={branch: heat[i, :count] for branch, heat in heats.items()},
      )
      for i, ((track, label, prediction, start, probabilities), segment, count) in enumerate(
        zip(chosen, segments, frames, strict=True)
      )
    ]


def segment_for(
  segments: Predictions, starts: np.ndarray, tracks: Predictions, index: int
) -> tuple[str, int, int, int, np.ndarray]:
  """Return the segment of a track with the highest probability of the track's prediction.

  Args:
    segments: Predictions of the segments of a split.
    starts: First frame of each segment.
    tracks: Predictions of the tracks of the split.
    index: Index of the track.

  Returns:
    (track, label, prediction, first frame, float[genres]), as `SegmentPredictor.explain` takes it.
  """
  name = tracks.names[index]
  prediction = int(tracks.probabilities[index].argmax())
  rows = np.array([i for i, other in enumerate(segments.names) if other == name])
  row = rows[segments.probabilities[rows, prediction].argmax()]
  return (
    name,
    int(tracks.labels[index]),
    prediction,
    int(starts[row]),
    segments.probabilities[row],
  )
