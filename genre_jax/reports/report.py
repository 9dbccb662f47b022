"""eval/report.html: one run on one page, for eyes; it needs no other file and no network.

Written by `loop.evaluate` after the figures and predictions, which stay whatever happens here.
"""

import html
import json
import pathlib
import time
import traceback

import numpy as np

from genre_jax.evaluation.calibration import reliability, summarize_calibration
from genre_jax.evaluation.metrics import Predictions, accuracy_interval, summarize
from genre_jax.files import write_whole
from genre_jax.reports.page import PAGE, html_pictures, html_table

CONFUSED_SHOWN, CONFUSED_LISTED = 6, 20


def write_report(
  experiment, folder: pathlib.Path, state, predictions: dict[str, Predictions], eval_step, mesh
) -> None:
  """Writes eval/report.html and says so; a failure is told and loses nothing.

  Args:
    session: of the run.
    folder: of the run; metrics.jsonl there gives the learning curves.
    state: the evaluated TrainState.
    predictions: of the windows of each side, from `evaluation.predict_side`.
    eval_step: from `steps.make_eval_step`.
    mesh: devices.
  """
  began, path = time.monotonic(), folder / "eval" / "report.html"
  try:
    splits = {
      split: predictions for split, predictions in predictions.items() if len(predictions.labels)
    }
    text = _page(experiment, folder, state, splits, eval_step, mesh)
    write_whole(path, text)
    print(f"report    {path} ({time.monotonic() - began:.1f} s)")
  except Exception as error:  # a picture must not cost a run its end
    where = traceback.extract_tb(error.__traceback__)[-1]
    print(
      f"notice    no report: {type(error).__name__} at {pathlib.Path(where.filename).name}:"
      f"{where.lineno}: {error}; the results are written"
    )


def _page(experiment, folder, state, splits, eval_step, mesh) -> str:
  """The whole page."""
  # Here: matplotlib only where a report is drawn.
  from genre_jax.reports import multi_label, plots
  from genre_jax.reports.examples import WindowPredictor

  config, step = experiment.config, int(state.step)
  window_predictor = WindowPredictor(experiment, state.variables(), eval_step, mesh)
  frontend = experiment.prepared.frontend
  parts = [
    f"<h1>{html.escape(config.model.name)}: {html.escape(folder.resolve().name)}</h1>",
    f"<p>{experiment.parameters():,} parameters, checkpoint of step {step}, seed {config.seed};"
    f" split {html.escape(experiment.assignment.name)}; windows of {frontend.window_seconds:.1f} s,"
    f" {len(experiment.prepared.classes)} genres. Intervals are 95&nbsp;%.</p>",
  ]
  if experiment.assignment.leaky:
    parts.append(
      "<p class=notice><b>Leaky split:</b> windows of one song stand on both sides."
      " Nothing on this page tells how well new songs are recognized.</p>"
    )
  if experiment.prepared.source == "synthetic":
    parts.append("<p class=notice>The synthetic corpus says nothing about real music.</p>")
  several = config.task == "multi_label"
  if not splits:
    parts.append("<p>No side has clips.</p>")
  elif not several:
    parts.append(_overview(splits))
  if lines := _curves(folder / "metrics.jsonl"):
    parts += [
      "<h2>Learning curves</h2>",
      "<p>Training figures are means over an epoch of augmented windows, with dropout;"
      " validation asks whole tracks.</p>",
      html_pictures(
        [
          (picture, f"Learning curve: {name}", "")
          for picture, name in zip(
            plots.learning_curves(lines, step), ("loss", "accuracy"), strict=True
          )
        ]
      ),
    ]
  for split, segments in splits.items():
    parts.append(
      multi_label.chapter(split, segments.by_track(), folder)
      if several
      else _split(split, segments, window_predictor, experiment)
    )
  return PAGE.format(
    title=html.escape(f"{config.model.name}: {folder.resolve().name}"), body="\n".join(parts)
  )


def _curves(path: pathlib.Path) -> list[dict]:
  """The lines of metrics.jsonl, [] where there are none."""
  lines = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(line))
    except ValueError:  # a line that was cut off
      pass
  return [line for line in lines if "epoch" in line]


def _overview(splits: dict[str, Predictions]) -> str:
  """Figures of both sides and both units."""
  rows = []
  for split, segments in splits.items():
    for unit, predictions in (("tracks", segments.by_track()), ("windows", segments)):
      plots, probable = summarize(predictions), summarize_calibration(predictions)
      rows.append(
        [
          split,
          unit,
          str(plots["n"]),
          _interval(plots["accuracy"], plots["ci95"]),
          f"{100 * plots['macro_f1']:.1f}",
          f"{plots['nll']:.3f}",
          f"{probable['brier']:.3f}",
          f"{100 * probable['ece']:.1f}",
        ]
      )
  return html_table(
    ["split", "of", "n", "accuracy %", "macro F1 %", "NLL", "Brier", "ECE %"], rows, 2
  )


def _interval(value, bounds) -> str:
  return f"{100 * value:.1f} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def _split(split: str, segments: Predictions, window_predictor, experiment) -> str:
  """The chapter on one side."""
  from genre_jax.reports import examples, plots

  tracks, frontend, classes = segments.by_track(), window_predictor.frontend, segments.classes
  units = (("tracks", tracks), ("windows", segments))
  ranked = examples.most_confused(tracks)
  chosen = examples.surest(tracks)
  names = {tracks.names[i] for i in ranked[:CONFUSED_SHOWN]}
  names |= {tracks.names[i] for _, _, i in chosen if i is not None}
  log_mels = examples.read_log_mels(experiment.prepared, names)
  parts = [f"<h2>{split.capitalize()} side</h2>"]
  if split == "validation" and experiment.config.train.best_metric != "last":
    parts.append("<p>This side also chose the checkpoint, so its figures are flattered.</p>")
  parts += [
    "<h3>Confusion</h3>",
    "<p>Rows are true genres; color is the share of the row.</p>",
    html_pictures(
      [
        (
          plots.confusion(summarize(predictions)["confusion"], classes, unit),
          f"Confusion matrix of {unit} on the {split} side",
          "",
        )
        for unit, predictions in units
      ],
      large=len(classes) > 5,
    ),
    "<h3>By genre</h3>",
    _genres(tracks),
    "<h3>Calibration</h3>",
    "<p>How often predictions are right that were made with a given confidence, in ten bins of"
    " equal width. Below the dotted line the network is too sure of itself.</p>",
    html_pictures(
      [
        (
          plots.reliability(reliability(predictions.probabilities, predictions.labels), unit),
          f"Reliability of {unit} on the {split} side",
          "",
        )
        for unit, predictions in units
      ]
    ),
    "<h3>Most confused tracks</h3>",
    "<p>Ordered by how far the most probable wrong genre leads the true one. The curves are windows"
    f" of {frontend.window_seconds:.1f} s that slide along the clip, drawn at their centers; gray"
    " lines are the other genres." + _scale(frontend) + "</p>",
    _confused(tracks, ranked[:CONFUSED_LISTED]),
  ]
  visible = [
    window_predictor.along(tracks, i, log_mels[tracks.names[i]]) for i in ranked[:CONFUSED_SHOWN]
  ]
  parts.append(
    html_pictures(
      [
        (
          plots.track(one, classes, frontend),
          f"Log-mel of {one.track} and probabilities along it",
          "",
        )
        for one in visible
      ]
    )
  )
  parts.append(_heats(split, segments, tracks, chosen, window_predictor, log_mels))
  return "\n".join(parts)


def _scale(frontend) -> str:
  """What the colors of a log-mel mean."""
  from genre_jax.reports.plots import scale_of

  low, high = scale_of(frontend)
  return (
    f" Log-mels run from dark ({low:.0f} dB) to bright ({high:.0f} dB, the clip's loudest)."
    if low is not None
    else " Each log-mel runs from its lowest value (dark) to its highest."
  )


def _genres(tracks: Predictions) -> str:
  """Recall and precision of each genre, with intervals over groups."""
  plots = summarize(tracks)["per_class"]
  predicted = tracks.probabilities.argmax(1)
  groups = np.array(tracks.groups)
  rows = []
  for i, name in enumerate(tracks.classes):
    cells = []
    for among in (tracks.labels == i, predicted == i):
      right = (predicted == tracks.labels)[among]
      cells.append(
        _interval(right.mean(), accuracy_interval(right, tuple(groups[among])))
        if len(right)
        else "-"
      )
    recall, precision = plots[name]["recall"] or 0, plots[name]["precision"] or 0
    f1 = 200 * recall * precision / (recall + precision) if recall + precision else 0
    rows.append(
      [
        name,
        str(plots[name]["n"]),
        str(len(set(groups[tracks.labels == i]))),
        cells[0],
        cells[1],
        f"{f1:.1f}",
      ]
    )
  return html_table(["genre", "tracks", "groups", "recall %", "precision %", "F1 %"], rows, 1)


def _confused(tracks: Predictions, ranked) -> str:
  """The most confused tracks as a table; those that are right after all are left out."""
  rows = []
  for i in ranked:
    label, row = int(tracks.labels[i]), tracks.probabilities[i]
    if row.argmax() != label:
      rows.append(
        [
          tracks.names[i],
          tracks.groups[i],
          tracks.classes[label],
          tracks.classes[int(row.argmax())],
          f"{row[label]:.2f}",
          f"{row.max():.2f}",
        ]
      )
  if not rows:
    return "<p>Every track is right; the least sure ones are shown.</p>"
  wrong = int((tracks.probabilities.argmax(1) != tracks.labels).sum())
  return (
    f"<p>{wrong} of {len(tracks.labels)} tracks are wrong"
    + (f"; the first {len(rows)}:" if wrong > len(rows) else ":")
    + "</p>"
    + html_table(["track", "group", "true", "predicted", "p true", "p predicted"], rows, 4)
  )


def _heats(split, segments, tracks, chosen, window_predictor, log_mels) -> str:
  """Grad-CAM of the surest right and the surest wrong track of each genre."""
  from genre_jax.reports import examples, plots

  starts = window_predictor.starts(split)
  picked = [(genre, right, i) for genre, right, i in chosen if i is not None]
  visible = window_predictor.explain(
    [examples.window_of(segments, starts, tracks, i) for _, _, i in picked], log_mels
  )
  if not any(one.heats for one in visible):
    return "<h3>Where the evidence is</h3><p>The network has no convolutions over both axes.</p>"
  branches = list(visible[0].heats)
  parts = [
    "<h3>Where the evidence is</h3>",
    "<p>Grad-CAM for the predicted genre: bright where the last convolution of "
    + (
      f"each branch ({', '.join(map(html.escape, branches))})"
      if len(branches) > 1
      else "the network"
    )
    + " found what speaks for it. For each genre the surest right and the surest wrong track, and"
    " of each the window that decided most; each map has its own scale.</p>",
  ]
  for genre, name in enumerate(segments.classes):
    pictures = []
    for (true, right, _), one in zip(picked, visible, strict=True):
      if true == genre:
        decide_label = "right" if right else f"wrong, taken for {segments.classes[one.prediction]}"
        caption = f"{one.track}: {decide_label} (p = {one.probabilities[one.prediction]:.2f})"
        pictures.append(
          (plots.heat(one, window_predictor.frontend), f"Grad-CAM of {caption}", caption)
        )
    missing = [
      word
      for word, right in (("right", True), ("wrong", False))
      if any(g == genre and r == right and i is None for g, r, i in chosen)
    ]
    parts.append(f"<h3>{html.escape(name)}</h3>")
    if missing:
      parts.append(f"<p>No {html.escape(name)} track is {' or '.join(missing)}.</p>")
    parts.append(html_pictures(pictures))
  return "\n".join(parts)
