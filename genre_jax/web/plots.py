"""What the page draws: a spectrogram in seconds and Hz, the genre timeline under it, Grad-CAM.

Colors are viridis and plasma, for readers who do not tell red from green. Figures are made without
pyplot, whose state is not for several visitors at once.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import compress, mel_frequencies
from genre_jax.inference.predict_files import Prediction
from genre_jax.inference.track_log_mel import TrackLogMel

MOST_COLUMNS = 1200  # of a spectrogram: as many as a screen shows
HZ = (100, 300, 1000, 3000, 10000)
INK = "#333333"


def overview(spectrum: TrackLogMel, prediction: Prediction) -> Figure:
  """The spectrogram of a file and, on the same axis of time, each genre's probability."""
  figure = Figure(figsize=(9, 6.2), layout="constrained")
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  image = above.imshow(
    _columns(spectrum).T,
    origin="lower",
    aspect="auto",
    cmap="viridis",
    extent=(0, spectrum.seconds, -0.5, spectrum.frontend.n_mels - 0.5),
  )
  _hertz(above, spectrum.frontend)
  figure.colorbar(image, ax=above, label="dB", pad=0.01)
  edges = [0.0, *(span.end for span in prediction.timeline)]
  names = list(prediction.probabilities)
  values = np.array([[span.probabilities[name] for span in prediction.timeline] for name in names])
  rows = np.arange(len(names) + 1) - 0.5
  mesh = below.pcolormesh(edges, rows, values, cmap="plasma", vmin=0, vmax=1)
  below.set_yticks(range(len(names)), names, fontsize=8 if len(names) <= 12 else 5)
  below.invert_yaxis()
  below.xaxis.set_major_formatter(FuncFormatter(_clock))
  below.set_xlabel("time, min:s")
  figure.colorbar(mesh, ax=below, label="probability", pad=0.01)
  return figure


def evidence(
  frontend: FrontendConfig,
  log_mel: np.ndarray,
  starts: np.ndarray,
  heat: dict[str, np.ndarray],
  genre: str,
) -> Figure:
  """Grad-CAM: a row for each branch, a column for each window.

  Args:
    recipe: of the windows.
    log_mel: float32[windows, time, frequency].
    starts: int[windows], first frames.
    heat: {branch: float32[windows, time, frequency]}, 0 to 1.
    genre: whose evidence it is.
  """
  figure = Figure(figsize=(9, 0.9 + 2.2 * len(heat)), layout="constrained")
  axes = figure.subplots(len(heat), len(log_mel), squeeze=False, sharey=True)
  for row, (branch, maps) in zip(axes, heat.items(), strict=True):
    for axis, window, start, map_ in zip(row, log_mel, starts, maps, strict=True):
      begin = start * frontend.seconds_per_frame
      extent = (begin, begin + frontend.segment_seconds, -0.5, frontend.n_mels - 0.5)
      axis.imshow(window.T, origin="lower", aspect="auto", cmap="gray", extent=extent)
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
    _hertz(row[0], frontend)
    row[0].set_ylabel(f"{branch}\nHz")
  figure.suptitle(f"bright: what speaks for {genre}", fontsize=10, color=INK)
  return figure


def _columns(spectrum: TrackLogMel) -> np.ndarray:
  """dB float32[columns, n_mels], the means of neighboring frames where there are too many."""
  size = max(1, -(-len(spectrum.frames) // MOST_COLUMNS))
  parts = []
  for at in range(0, len(spectrum.frames), 64 * size):  # a long file is on disk
    rows = compress(spectrum.frames[at : at + 64 * size], spectrum.frontend, spectrum.peak)
    whole = rows[: len(rows) // size * size].reshape(-1, size, rows.shape[1]).mean(1)
    parts.append(whole if len(whole) else rows.mean(0, keepdims=True))
  return np.concatenate(parts)


def _hertz(axis, frontend: FrontendConfig) -> None:
  """Marks frequencies at the bands that hold them."""
  centers = mel_frequencies(frontend)
  visible = [hz for hz in HZ if centers[0] <= hz <= centers[-1]]
  axis.set_yticks(
    np.interp(visible, centers, np.arange(len(centers))),
    [f"{hz:,}" for hz in visible],
  )
  axis.set_ylabel("Hz")


def _clock(seconds, _=None) -> str:
  """'2:03', with a tenth where seconds alone would repeat."""
  sign = "-" if seconds < 0 else ""
  minutes, seconds = divmod(round(abs(seconds), 1), 60)
  tenth = "" if seconds == int(seconds) else f"{seconds % 1:.1f}"[1:]
  return f"{sign}{int(minutes)}:{int(seconds):02}{tenth}"
