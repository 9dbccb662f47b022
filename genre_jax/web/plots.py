"""Draw the plots of the web page: log-mel in seconds and Hz, genre timeline, Grad-CAM.

The colormaps viridis and plasma are readable without distinguishing red from green. The plots do
not use pyplot, whose global state is not safe for several visitors at once.
"""

import dataclasses
import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import MelPowerStream, compress
from genre_jax.data.mel import mel_frequencies
from genre_jax.inference.predict_files import Prediction
from genre_jax.inference.track_log_mel import TrackLogMel

MAX_COLUMNS = 1200  # of a log-mel plot: about the pixels of a screen
MAX_ROWS = 16  # of a timeline: the most probable classes
MEL_OF_WAVEFORM = {"n_fft": 1024, "win_length": 1024, "n_mels": 96, "compression": "db"}
TICKS_HZ = (100, 300, 1000, 3000, 10000)
DPI = 110
TEXT_COLOR = "#333333"


def png(figure: Figure) -> bytes:
  """Return a figure as PNG."""
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=DPI)
  return content.getvalue()


def plot_overview(track: TrackLogMel, prediction: Prediction) -> Figure:
  """Plot the log-mel of a track and the probability of each class over time.

  Args:
    track: The log-mel.
    prediction: The prediction with its timeline.
  """
  shown, columns = _columns(track)
  figure = Figure(figsize=(9, 6.2), layout="constrained")
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  image = above.imshow(
    columns.T,
    origin="lower",
    aspect="auto",
    cmap="viridis",
    extent=(0, track.seconds, -0.5, shown.n_mels - 0.5),
  )
  _label_hertz(above, shown)
  figure.colorbar(image, ax=above, label="dB", pad=0.01)
  edges = [0.0, *(span.end for span in prediction.timeline)]
  names = list(prediction.probabilities)
  if len(names) > MAX_ROWS:
    names = sorted(names, key=prediction.probabilities.__getitem__, reverse=True)[:MAX_ROWS]
  values = np.array(
    [[span.probabilities.get(name, np.nan) for span in prediction.timeline] for name in names]
  )
  rows = np.arange(len(names) + 1) - 0.5
  mesh = below.pcolormesh(edges, rows, values, cmap="plasma", vmin=0, vmax=1)
  below.set_yticks(range(len(names)), names, fontsize=8 if len(names) <= 12 else 5)
  below.invert_yaxis()
  below.xaxis.set_major_formatter(FuncFormatter(_clock))
  below.set_xlabel("time, min:s")
  figure.colorbar(mesh, ax=below, label="probability", pad=0.01)
  return figure


def plot_evidence(
  frontend: FrontendConfig,
  log_mel: np.ndarray,
  starts: np.ndarray,
  heat: dict[str, np.ndarray],
  label: str,
) -> Figure:
  """Plot Grad-CAM with a row for each branch and a column for each segment.

  Args:
    frontend: The front end of the segments.
    log_mel: float32[segments, time, frequency].
    starts: int[segments], first frames.
    heat: {branch: float32[segments, time, frequency]}, from 0 to 1.
    label: The class whose evidence is plotted.
  """
  figure = Figure(figsize=(9, 0.9 + 2.2 * len(heat)), layout="constrained")
  axes = figure.subplots(len(heat), len(log_mel), squeeze=False, sharey=True)
  for row, (branch, maps) in zip(axes, heat.items(), strict=True):
    for axis, segment, start, map_ in zip(row, log_mel, starts, maps, strict=True):
      left = start * frontend.seconds_per_frame
      extent = (left, left + frontend.segment_seconds, -0.5, frontend.n_mels - 0.5)
      axis.imshow(segment.T, origin="lower", aspect="auto", cmap="gray", extent=extent)
      axis.imshow(
        map_.T,
        origin="lower",
        aspect="auto",
        cmap="plasma",
        extent=extent,
        alpha=0.75 * map_.T,
        vmin=0,
        vmax=1,
      )
      axis.xaxis.set_major_formatter(FuncFormatter(_clock))
    _label_hertz(row[0], frontend)
    row[0].set_ylabel(f"{branch}\nHz")
  figure.suptitle(f"bright: evidence for {label}", fontsize=10, color=TEXT_COLOR)
  return figure


def _columns(track: TrackLogMel) -> tuple[FrontendConfig, np.ndarray]:
  """Return a front end, and dB float32[columns, n_mels]: means of neighboring frames.

  Silence is at the floor.
  """
  frontend = track.frontend
  if frontend.compression == "waveform":
    frontend = dataclasses.replace(frontend, **MEL_OF_WAVEFORM, center=True, top_db=80.0)
    stream = MelPowerStream(frontend)
    parts = [
      stream.push(track.power[start : start + 4096].ravel())
      for start in range(0, len(track.sounding), 4096)
    ]
    power = np.concatenate([*parts, stream.flush()])[: len(track.sounding)]
    track = dataclasses.replace(track, frontend=frontend, power=power, peak=stream.peak)
  size = max(1, -(-track.num_frames // MAX_COLUMNS))
  columns = -(-track.num_frames // size)
  sums, counts = np.zeros((columns, track.frontend.n_mels), np.float32), np.zeros(columns)
  for start in range(0, len(track.sounding), 4096):  # in parts: a long track is on disk
    rows = compress(track.power[start : start + 4096], track.frontend, track.peak)
    column = track.sounding[start : start + 4096] // size
    np.add.at(sums, column, rows)
    np.add.at(counts, column, 1)
  floor = compress(np.zeros((1, track.frontend.n_mels), np.float32), track.frontend, track.peak)
  means = sums / np.maximum(counts, 1)[:, None].astype(np.float32)
  return frontend, np.where(counts[:, None] > 0, means, floor)


def _label_hertz(axis, frontend: FrontendConfig) -> None:
  """Set ticks at the mel bands of some frequencies."""
  centers = mel_frequencies(frontend)
  visible = [hz for hz in TICKS_HZ if centers[0] <= hz <= centers[-1]]
  axis.set_yticks(
    np.interp(visible, centers, np.arange(len(centers))),
    [f"{hz:,}" for hz in visible],
  )
  axis.set_ylabel("Hz")


def _clock(seconds, _=None) -> str:
  """Return a time as '2:03', with a tenth of a second if it is not whole."""
  sign = "-" if seconds < 0 else ""
  minutes, seconds = divmod(round(abs(seconds), 1), 60)
  tenth = "" if seconds == int(seconds) else f"{seconds % 1:.1f}"[1:]
  return f"{sign}{int(minutes)}:{int(seconds):02}{tenth}"
