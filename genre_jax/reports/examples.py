"""Which tracks a report shows, and what the network says along them.

Between the evaluation, whose predictions it reads, and `report.py`, which shows what it chooses.
"""

import dataclasses

import numpy as np

from genre_jax.data.pipeline import plan_windows, read_clips
from genre_jax.data.prepared import Prepared
from genre_jax.evaluation.metrics import Predictions, softmax
from genre_jax.reports.grad_cam import GradCam
from genre_jax.training import steps

# Windows along one track, at most: enough for a curve of a clip of 30 s.
STEPS_ALONG = 41
WINDOWS_AT_ONCE = 8  # of Grad-CAM, whose gradients need memory


@dataclasses.dataclass(frozen=True)
class Example:
  """A track, or one window of it, with what is drawn of it.

  Attributes:
    track: its name.
    label, prediction: indices of genres.
    probabilities: float[genres], of the track or of the window.
    log_mel: float32[time, frequency].
    start_seconds: where the picture begins in the clip.
    times: float[steps], centers of windows along the track in seconds; empty for a window.
    along: float[steps, genres], probabilities there.
    heats: {branch: float32[time, frequency]}, Grad-CAM of the prediction.
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
  """Indices of tracks, from the one whose wrong genre leads its true one most to the surest."""
  rows = np.arange(len(tracks.labels))
  true = tracks.probabilities[rows, tracks.labels]
  others = tracks.probabilities.copy()
  others[rows, tracks.labels] = -1
  return np.argsort(true - others.max(1), kind="stable")


def surest(tracks: Predictions) -> list[tuple[int, bool, int | None]]:
  """For each genre the surest right and the surest wrong track: (genre, right, index or None)."""
  predicted = tracks.probabilities.argmax(1)
  confidence = tracks.probabilities.max(1)
  chosen = []
  for genre in range(len(tracks.classes)):
    for right in (True, False):
      rows = np.flatnonzero((tracks.labels == genre) & ((predicted == genre) == right))
      chosen.append((genre, right, int(rows[confidence[rows].argmax()]) if len(rows) else None))
  return chosen


def read_log_mels(prepared: Prepared, names) -> dict[str, np.ndarray]:
  """{track: float32[time, frequency]} of some clips of a prepared set."""
  wanted = np.array([clip.track in set(names) for clip in prepared.clips])
  return {
    prepared.clips[int(index)].track: clip["log_mel"]
    for index, clip in read_clips(prepared, wanted).as_numpy_iterator()
  }


class WindowPredictor:
  """A network and its clips, asked about any window.

  Args:
    session: of the run.
    variables: of the checkpoint.
    eval_step: from `steps.make_eval_step`, compiled for the batch size of the evaluation.
    mesh: devices.
  """

  def __init__(self, experiment, variables, eval_step, mesh):
    self._experiment, self._variables = experiment, variables
    self._eval_step, self._mesh = eval_step, mesh
    self._batch_size = -(-experiment.config.train.batch_size // mesh.size) * mesh.size
    self.frontend = experiment.prepared.frontend
    self._cam: GradCam | None = None

  def cut(self, log_mel: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """A window as the pipeline cuts it, and its number of valid frames."""
    window = log_mel[start : start + self.frontend.num_frames]
    fill = self.frontend.num_frames - len(window)
    return np.pad(window, ((0, fill), (0, 0)), constant_values=log_mel.min()), len(window)

  def probabilities(self, windows: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """float64[n, genres] of float32[n, time, frequency] windows."""
    predictions, size = [], self._batch_size
    for begin in range(0, len(windows), size):
      rows = np.minimum(np.arange(begin, begin + size), len(windows) - 1)
      unknown = np.zeros((size, len(self._experiment.prepared.classes)), np.float32)
      batch = {
        "log_mel": windows[rows][..., None],
        "num_frames": num_frames[rows].astype(np.int32),
        "labels": unknown,
        "label_mask": unknown,
        "mask": np.ones(size, bool),
      }
      logits = self._eval_step(self._variables, steps.shard_batch(batch, self._mesh))
      predictions.append(np.asarray(logits)[: len(windows) - begin])
    return softmax(np.concatenate(predictions))

  def along(self, tracks: Predictions, index: int, log_mel: np.ndarray) -> Example:
    """A whole track, with the probabilities of windows that slide along it."""
    room = max(len(log_mel) - self.frontend.num_frames, 0)
    starts = np.unique(np.linspace(0, room, STEPS_ALONG).astype(int))
    windows, frames = zip(*(self.cut(log_mel, start) for start in starts), strict=True)
    frames = np.array(frames)
    return Example(
      tracks.names[index],
      int(tracks.labels[index]),
      int(tracks.probabilities[index].argmax()),
      tracks.probabilities[index],
      log_mel,
      times=(starts + frames / 2) * self.frontend.seconds_per_frame,
      along=self.probabilities(np.stack(windows), frames),
    )

  def starts(self, split: str) -> np.ndarray:
    """First frame of each window of a side, in the order of its predictions."""
    plan = plan_windows(
      self._experiment.prepared,
      self._experiment.assignment,
      split,
      self._experiment.config.segments.eval_per_track,
    )
    return plan[plan >= 0]

  def explain(self, chosen: list[tuple[str, int, int, int, np.ndarray]], log_mels) -> list[Example]:
    """Grad-CAM of the predicted genre.

    Args:
      chosen: (track, label, prediction, first frame, float[genres]) of each window.
      log_mels: {track: float32[time, frequency]}.
    """
    if not chosen:
      return []
    windows, frames = zip(
      *(self.cut(log_mels[track], start) for track, _, _, start, _ in chosen), strict=True
    )
    windows = np.stack(windows)[..., None]
    mask = np.arange(self.frontend.num_frames)[None] < np.array(frames)[:, None]
    if self._cam is None:
      some = np.resize(np.arange(len(windows)), WINDOWS_AT_ONCE)
      self._cam = GradCam(self._experiment.model, self._variables, windows[some])
    heats = self._cam(windows, mask, np.array([prediction for _, _, prediction, _, _ in chosen]))
    return [
      Example(
        track,
        label,
        prediction,
        probabilities,
        window[:count, :, 0],
        start * self.frontend.seconds_per_frame,
        heats={branch: heat[i, :count] for branch, heat in heats.items()},
      )
      for i, ((track, label, prediction, start, probabilities), window, count) in enumerate(
        zip(chosen, windows, frames, strict=True)
      )
    ]


def window_of(
  segments: Predictions, starts: np.ndarray, tracks: Predictions, index: int
) -> tuple[str, int, int, int, np.ndarray]:
  """The window of a track that speaks most for what the track was taken for, for `explain`."""
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
