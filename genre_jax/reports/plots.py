"""Draw the plots of a report, as SVG in data URIs.

Color maps are viridis and cividis; single colors are those of Okabe and Ito. They also differ in
lightness, so that color-blind readers can distinguish them.
"""

import base64
import io
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.mel import mel_frequencies
from genre_jax.reports.examples import Example

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"
WIDTH = 4.2  # inches: about the width of a phone, so that text is readable there
STYLE = {
  "font.size": 10,
  "axes.titlesize": 10,
  "font.family": "sans-serif",
  "svg.fonttype": "none",
  "svg.hashsalt": "genre_jax",
  "legend.frameon": False,
  "axes.spines.top": False,
  "axes.spines.right": False,
}
FEW = 10  # a bin with fewer predictions is drawn as a hollow circle
HZ_TICKS = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


def to_svg(figure: Figure) -> str:
  """Return a figure as a data URI of SVG."""
  file = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(file, format="svg", dpi=130, metadata={"Date": None})
  return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _figure(height: float, *, left=0.62, right=0.08, bottom=0.5, top=0.26, width=WIDTH) -> Figure:
  """Return an empty figure with margins in inches.

  Fixed margins avoid matplotlib's automatic layout, which takes a third of the time of a report.
  """
  figure = Figure(figsize=(width, height))
  figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
  return figure


def learning_curves(lines: list[dict], checkpoint_step: int) -> list[str]:
  """Plot loss and accuracy over epochs, with a line at the evaluated checkpoint.

  Args:
    lines: Lines of metrics.jsonl.
    checkpoint_step: Step of the evaluated checkpoint.

  Returns:
    Two data URIs: loss, and accuracy (of a multi-label task PR-AUC).
  """
  pictures = []
  multi_label = any("validation/pr_auc" in line for line in lines)
  with matplotlib.rc_context(STYLE):
    for title, train_key, validation_key in (
      ("loss", "train/loss", "validation/nll"),
      ("accuracy", "train/accuracy", "validation/pr_auc" if multi_label else "validation/accuracy"),
    ):
      figure = _figure(2.6)
      axes = figure.add_subplot(xlabel="epoch")
      axes.set_title(title, loc="left")
      unit = "NLL of tracks" if title == "loss" else "PR-AUC" if multi_label else "tracks"
      for key, color, style, name in (
        (train_key, BLUE, "-", "train, segments"),
        (validation_key, VERMILION, "--", f"validation, {unit}"),
      ):
        points = [(line["epoch"], line[key]) for line in lines if key in line]
        if points:
          axes.plot(
            *zip(*points, strict=True),
            style,
            color=color,
            label=name,
            marker="o" if len(points) < 30 else None,
            markersize=3,
          )
      if title == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, 1.02)
      else:
        axes.set_ylim(0)
      if epochs := [line["epoch"] for line in lines if line["step"] == checkpoint_step]:
        axes.axvline(epochs[0], color=GREY, linewidth=1, linestyle=":", label="checkpoint")
      axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
      axes.legend(fontsize=9, handlelength=1.6)
      pictures.append(to_svg(figure))
  return pictures


def confusion(counts: np.ndarray, classes, unit: str) -> str:
  """Plot a confusion matrix, colored by the share of each true genre.

  Args:
    counts: int[genres, genres]; rows are true genres.
    classes: Names of the genres.
    unit: What is counted: tracks or segments.
  """
  counts = np.asarray(counts)
  share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  k = len(classes)
  size = WIDTH if k <= 5 else WIDTH * 1.25
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(size, size), layout="constrained")  # names may be of any length
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.set_title(f"{unit}, n = {counts.sum()}", loc="left")
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(k), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), classes)
    axes.tick_params(length=0, labelsize=10 if k <= 5 else 11.5)
    axes.spines[:].set_visible(False)
    for i in range(k):
      for j in range(k):
        if counts[i, j]:
          text = f"{counts[i, j]}" + (f"\n{100 * share[i, j]:.0f} %" if k <= 5 else "")
          axes.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=10 if k <= 5 else 10.5,
            color="black" if share[i, j] > 0.55 else "white",
          )
    return to_svg(figure)


def reliability(table: list[dict], unit: str) -> str:
  """Plot accuracy over confidence in ten bins, and below it the number of predictions in each.

  Args:
    table: Bins from `calibration.reliability`.
    unit: What is counted: tracks or segments.
  """
  filled = [row for row in table if row["n"]]
  with matplotlib.rc_context(STYLE):
    figure = _figure(WIDTH * 0.95, right=0.2)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(hspace=0.1)
    axes.set_title(f"{unit}, n = {sum(row['n'] for row in table)}", loc="left")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="calibrated")
    axes.plot(
      [row["confidence"] for row in filled],
      [row["accuracy"] for row in filled],
      color=BLUE,
      linewidth=1,
    )
    for few, fill, name in ((False, BLUE, "measured"), (True, "white", f"n < {FEW}")):
      points = [(row["confidence"], row["accuracy"]) for row in filled if (row["n"] < FEW) == few]
      if points:
        axes.plot(*zip(*points, strict=True), "o", color=BLUE, markerfacecolor=fill, label=name)
    axes.set(ylim=(-0.03, 1.03), xlim=(0, 1), ylabel="accuracy")
    axes.legend(fontsize=9, loc="lower right")
    below.bar(
      [(row["from"] + row["to"]) / 2 for row in table],
      [row["n"] for row in table],
      0.085,
      color=BLUE,
    )
    below.set(xlabel="confidence in the prediction", ylabel="n")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for one in (axes, below):
      one.xaxis.set_major_formatter(PercentFormatter(1))
    return to_svg(figure)


def _log_mel(axes, example: Example, frontend: FrontendConfig, cmap: str) -> tuple[float, ...]:
  """Draw a log-mel over seconds and Hz; return its extent in data coordinates."""
  frames, bands = example.log_mel.shape
  begin = example.start_seconds
  extent = (begin, begin + frames * frontend.seconds_per_frame, -0.5, bands - 0.5)
  low, high = scale_of(frontend)
  axes.imshow(
    example.log_mel.T,
    cmap=cmap,
    origin="lower",
    aspect="auto",
    extent=extent,
    vmin=low,
    vmax=high,
    interpolation="nearest",
  )
  centers = mel_frequencies(frontend)
  ticks = [hz for hz in HZ_TICKS if centers[0] < hz < centers[-1]][-5:]
  axes.set_yticks(
    np.interp(ticks, centers, np.arange(bands)),
    [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks],
  )
  axes.set_ylabel("Hz")
  return extent


def scale_of(frontend: FrontendConfig) -> tuple[float | None, float | None]:
  """Return the values of the darkest and brightest color, or None if the front end has no range."""
  bounded = frontend.compression == "db" and frontend.db_ref == "max" and frontend.top_db > 0
  return (-frontend.top_db, 0.0) if bounded else (None, None)


def track(example: Example, classes, frontend: FrontendConfig) -> str:
  """Plot the log-mel of a track, and below it the probabilities of segments along the track."""
  with matplotlib.rc_context(STYLE):
    title = "\n".join(textwrap.wrap(example.track, 44)[:2])
    figure = _figure(3.7, bottom=0.75, top=0.26 + 0.16 * title.count("\n"))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(hspace=0.12)
    extent = _log_mel(above, example, frontend, "viridis")
    above.set_title(title, loc="left")
    for genre in range(len(classes)):
      if genre not in (example.label, example.prediction):
        below.plot(example.times, example.along[:, genre], color=GREY, linewidth=0.8)
    lines = [
      (example.label, BLUE, "-", "true"),
      (example.prediction, VERMILION, "--", "predicted"),
    ]
    for genre, color, style, name in lines[: 1 if example.label == example.prediction else 2]:
      below.plot(
        example.times,
        example.along[:, genre],
        style,
        color=color,
        linewidth=2,
        marker="o" if len(example.times) == 1 else None,
        label=f"{classes[genre]} ({name})",
      )
    below.set(ylim=(-0.03, 1.03), xlabel="seconds", ylabel="probability", xlim=extent[:2])
    figure.legend(
      *below.get_legend_handles_labels(),
      fontsize=9,
      loc="lower center",
      ncols=2,
      handlelength=1.8,
      columnspacing=1.2,
      borderaxespad=0.1,
    )
    return to_svg(figure)


def heat(example: Example, frontend: FrontendConfig) -> str:
  """Plot the log-mel of a segment, and below it the log-mel with the Grad-CAM of each branch."""
  rows = 1 + len(example.heats)
  with matplotlib.rc_context(STYLE):
    figure = _figure(0.76 + 1.3 * rows)
    panels = np.atleast_1d(figure.subplots(rows, 1, sharex=True))
    figure.subplots_adjust(hspace=0.32)
    _log_mel(panels[0], example, frontend, "viridis")
    panels[0].set_title("log-mel", loc="left")
    for axes, (branch, evidence) in zip(panels[1:], example.heats.items(), strict=True):
      extent = _log_mel(axes, example, frontend, "gray")
      axes.imshow(
        evidence.T,
        cmap="plasma",
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=0,
        vmax=1,
        alpha=0.8 * evidence.T,
        interpolation="nearest",
      )
      name = "Grad-CAM" if len(example.heats) == 1 else f"Grad-CAM, {branch} branch"
      axes.set_title(name + ("" if evidence.any() else ": zero everywhere"), loc="left")
    panels[-1].set_xlabel("seconds")
    return to_svg(figure)


def precision_recall(curves: dict[str, tuple[np.ndarray, np.ndarray, int]], unit: str) -> str:
  """Plot precision over recall of some classes, with a dot at each threshold.

  Args:
    curves: {class: (recall, precision, index of the threshold)}.
    unit: What is counted: tracks or segments.
  """
  colors = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
  with matplotlib.rc_context(STYLE):
    figure = _figure(WIDTH * 0.95, right=0.2)
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(unit, loc="left")
    for i, (name, (recall, precision, at_threshold)) in enumerate(curves.items()):
      color, style = colors[i % len(colors)], ("-", "--", ":")[i // len(colors) % 3]
      axes.step(recall, precision, style, where="pre", color=color, label=name)
      axes.plot(recall[at_threshold], precision[at_threshold], "o", color=color, markersize=5)
    axes.legend(fontsize=9, loc="lower left", ncols=2 if len(curves) > 5 else 1)
    return to_svg(figure)
