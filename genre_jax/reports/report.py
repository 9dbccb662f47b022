"""Write eval/report.html: metrics and plots of a run in one HTML file without external resources.

`studies.run` writes the report after the evaluation has written its metrics and predictions. A
failure here therefore loses no results.
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
  """Write eval/report.html and print its path; print a notice if that fails.

  Args:
    experiment: Experiment of the run.
    folder: Run folder; its metrics.jsonl gives the learning curves.
    state: Evaluated TrainState.
    predictions: {split: predictions of its segments}.
    eval_step: From `steps.make_eval_step`.
    mesh: Device mesh.
  """
  began, path = time.monotonic(), folder / "eval" / "report.html"
  try:
    splits = {split: segments for split, segments in predictions.items() if len(segments.labels)}
    text = _page(experiment, folder, state, splits, eval_step, mesh)
    write_whole(path, text)
    print(f"report    {path} ({time.monotonic() - began:.1f} s)")
  except Exception as error:  # a failed plot must not fail the run
    where = traceback.extract_tb(error.__traceback__)[-1]
    print(
      f"notice    no report: {type(error).__name__} at {pathlib.Path(where.filename).name}:"
      f"{where.lineno}: {error}; the metrics and predictions are written"
    )


def _page(experiment, folder, state, splits, eval_step, mesh) -> str:
  """Return the HTML page."""
  # Here, so that matplotlib is imported only when a report is drawn.
  from genre_jax.reports import multi_label, plots
  from genre_jax.reports.examples import SegmentPredictor

  config, step = experiment.config, int(state.step)
  predictor = SegmentPredictor(experiment, state.variables(), eval_step, mesh)
  frontend = experiment.prepared.frontend
  parts = [
    f"<h1>{html.escape(config.model.name)}: {html.escape(folder.resolve().name)}</h1>",
    f"<p>{experiment.parameters():,} parameters, checkpoint of step {step}, seed {config.seed};"
    f" splits: {html.escape(experiment.assignment.name)};"
    f" {len(experiment.prepared.classes)} genres; segments of {frontend.segment_seconds:.1f} s."
    " Brackets are 95&nbsp;% intervals.</p>",
  ]
  if experiment.assignment.leaky:
    parts.append(
      "<p class=notice><b>Leaky split:</b> segments of one track are in both training and test."
      " The metrics on this page do not measure accuracy on new tracks.</p>"
    )
  if experiment.prepared.source == "synthetic":
    parts.append(
      "<p class=notice>This run uses the synthetic corpus. Its metrics do not apply to real"
      " music.</p>"
    )
  is_multi_label = config.task == "multi_label"
  if not splits:
    parts.append("<p>The validation and test splits contain no tracks.</p>")
  elif not is_multi_label:
    parts.append(_overview(splits))
  if lines := _curves(folder / "metrics.jsonl"):
    parts += [
      "<h2>Learning curves</h2>",
      "<p>Training metrics are means over an epoch of augmented segments, with dropout."
      " Validation metrics are those of whole tracks.</p>",
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
      if is_multi_label
      else _split(split, segments, predictor, experiment)
    )
  return PAGE.format(
    title=html.escape(f"{config.model.name}: {folder.resolve().name}"), body="\n".join(parts)
  )


def _curves(path: pathlib.Path) -> list[dict]:
  """Return the lines of metrics.jsonl that belong to an epoch; [] if the file does not exist."""
  lines = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(line))
    except ValueError:  # a line cut off by a crash
      pass
  return [line for line in lines if "epoch" in line]


def _overview(splits: dict[str, Predictions]) -> str:
  """Return a table of the metrics of each split, for tracks and segments."""
  rows = []
  for split, segments in splits.items():
    for unit, predictions in (("tracks", segments.by_track()), ("segments", segments)):
      metrics, calibration = summarize(predictions), summarize_calibration(predictions)
      rows.append(
        [
          split,
          unit,
          str(metrics["n"]),
          _interval(metrics["accuracy"], metrics["ci95"]),
          f"{100 * metrics['macro_f1']:.1f}",
          f"{metrics['nll']:.3f}",
          f"{calibration['brier']:.3f}",
          f"{100 * calibration['ece']:.1f}",
        ]
      )
  return html_table(
    ["split", "unit", "n", "accuracy %", "macro F1 %", "NLL", "Brier", "ECE %"], rows, 2
  )


def _interval(value, bounds) -> str:
  return f"{100 * value:.1f} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def _split(split: str, segments: Predictions, predictor, experiment) -> str:
  """Return the chapter on one split."""
  from genre_jax.reports import examples, plots

  tracks, frontend, classes = segments.by_track(), predictor.frontend, segments.classes
  units = (("tracks", tracks), ("segments", segments))
  ranked = examples.most_confused(tracks)
  chosen = examples.most_confident(tracks)
  names = {tracks.names[i] for i in ranked[:CONFUSED_SHOWN]}
  names |= {tracks.names[i] for _, _, i in chosen if i is not None}
  log_mels = examples.read_log_mels(experiment.prepared, names)
  parts = [f"<h2>{split.capitalize()} split</h2>"]
  if split == "validation" and experiment.config.train.best_metric != "last":
    parts.append("<p>The checkpoint was chosen on this split, so its metrics are optimistic.</p>")
  parts += [
    "<h3>Confusion matrices</h3>",
    "<p>Rows are true genres, columns are predicted genres. Colors show the share of the row.</p>",
    html_pictures(
      [
        (
          plots.confusion(summarize(predictions)["confusion"], classes, unit),
          f"Confusion matrix of {unit} on the {split} split",
          "",
        )
        for unit, predictions in units
      ],
      large=len(classes) > 5,
    ),
    "<h3>By genre</h3>",
    _genres(tracks),
    "<h3>Calibration</h3>",
    "<p>Accuracy of predictions over their confidence, in ten bins of equal width. Below the dotted"
    " line the network is overconfident.</p>",
    html_pictures(
      [
        (
          plots.reliability(reliability(predictions.probabilities, predictions.labels), unit),
          f"Reliability of {unit} on the {split} split",
          "",
        )
        for unit, predictions in units
      ]
    ),
    "<h3>Most confused tracks</h3>",
    "<p>Sorted by the probability of the most probable wrong genre minus that of the true genre."
    f" The curves show probabilities of overlapping segments of {frontend.segment_seconds:.1f} s,"
    " drawn at their centers. Gray lines are the other genres." + _scale(frontend) + "</p>",
    _confused(tracks, ranked[:CONFUSED_LISTED]),
  ]
  shown = [predictor.along(tracks, i, log_mels[tracks.names[i]]) for i in ranked[:CONFUSED_SHOWN]]
  parts.append(
    html_pictures(
      [
        (
          plots.track(one, classes, frontend),
          f"Log-mel of {one.track} and probabilities along it",
          "",
        )
        for one in shown
      ]
    )
  )
  parts.append(_heats(split, segments, tracks, chosen, predictor, log_mels))
  return "\n".join(parts)


def _scale(frontend) -> str:
  """Return a sentence on the colors of a log-mel."""
  from genre_jax.reports.plots import scale_of

  low, high = scale_of(frontend)
  return (
    f" Log-mel colors run from dark ({low:.0f} dB) to bright ({high:.0f} dB, the"
    " maximum of the track)."
    if low is not None
    else " The colors of each log-mel run from its minimum (dark) to its maximum (bright)."
  )


def _genres(tracks: Predictions) -> str:
  """Return a table of recall, precision and F1 of each genre, with intervals over groups."""
  per_class = summarize(tracks)["per_class"]
  predicted = tracks.probabilities.argmax(1)
  groups = np.array(tracks.groups)
  rows = []
  for i, name in enumerate(tracks.classes):
    cells = []
    for rows_of in (tracks.labels == i, predicted == i):
      correct = (predicted == tracks.labels)[rows_of]
      cells.append(
        _interval(correct.mean(), accuracy_interval(correct, tuple(groups[rows_of])))
        if len(correct)
        else "-"
      )
    recall, precision = per_class[name]["recall"] or 0, per_class[name]["precision"] or 0
    f1 = 200 * recall * precision / (recall + precision) if recall + precision else 0
    rows.append(
      [
        name,
        str(per_class[name]["n"]),
        str(len(set(groups[tracks.labels == i]))),
        cells[0],
        cells[1],
        f"{f1:.1f}",
      ]
    )
  return html_table(["genre", "tracks", "groups", "recall %", "precision %", "F1 %"], rows, 1)


def _confused(tracks: Predictions, ranked) -> str:
  """Return a table of the most confused tracks, without those that are predicted correctly."""
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
    return "<p>All tracks are predicted correctly; these are the least confident ones.</p>"
  wrong = int((tracks.probabilities.argmax(1) != tracks.labels).sum())
  return (
    f"<p>Wrong predictions: {wrong} of {len(tracks.labels)} tracks"
    + (f"; the table lists {len(rows)}.</p>" if wrong > len(rows) else ".</p>")
    + html_table(
      ["track", "group", "true genre", "predicted genre", "p(true)", "p(predicted)"], rows, 4
    )
  )


def _heats(split, segments, tracks, chosen, predictor, log_mels) -> str:
  """Return Grad-CAM of the most confident correct and wrong track of each genre."""
  from genre_jax.reports import examples, plots

  starts = predictor.starts(split)
  picked = [(genre, correct, i) for genre, correct, i in chosen if i is not None]
  shown = predictor.explain(
    [examples.segment_for(segments, starts, tracks, i) for _, _, i in picked], log_mels
  )
  if not any(one.heats for one in shown):
    return (
      "<h3>Grad-CAM</h3><p>The network has no convolutions with a time and a frequency axis.</p>"
    )
  branches = list(shown[0].heats)
  parts = [
    "<h3>Grad-CAM</h3>",
    "<p>Bright areas raise the score of the predicted genre, measured at the last layer of "
    + (
      f"each branch ({', '.join(map(html.escape, branches))})"
      if len(branches) > 1
      else "the network"
    )
    + ". The plots show the most confident correct track and the most confident wrong track of each"
    " genre, each with its most confident segment. Each map has its own scale.</p>",
  ]
  for genre, name in enumerate(segments.classes):
    pictures = []
    for (true, correct, _), one in zip(picked, shown, strict=True):
      if true == genre:
        result = "correct" if correct else f"predicted as {segments.classes[one.prediction]}"
        caption = f"{one.track}: {result} (p = {one.probabilities[one.prediction]:.2f})"
        pictures.append((plots.heat(one, predictor.frontend), f"Grad-CAM of {caption}", caption))
    missing = [
      word
      for word, correct in (("correctly", True), ("wrongly", False))
      if any(g == genre and c == correct and i is None for g, c, i in chosen)
    ]
    parts.append(f"<h3>{html.escape(name)}</h3>")
    if missing:
      parts.append(f"<p>No {html.escape(name)} track is predicted {' or '.join(missing)}.</p>")
    parts.append(html_pictures(pictures))
  return "\n".join(parts)
