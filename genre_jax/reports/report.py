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
  session, folder: pathlib.Path, state, predictions: dict[str, Predictions], eval_step, mesh
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
    sides = {side: answers for side, answers in predictions.items() if len(answers.labels)}
    text = _page(session, folder, state, sides, eval_step, mesh)
    write_whole(path, text)
    print(f"report    {path} ({time.monotonic() - began:.1f} s)")
  except Exception as error:  # a picture must not cost a run its end
    where = traceback.extract_tb(error.__traceback__)[-1]
    print(
      f"notice    no report: {type(error).__name__} at {pathlib.Path(where.filename).name}:"
      f"{where.lineno}: {error}; the results are written"
    )


def _page(session, folder, state, sides, eval_step, mesh) -> str:
  """The whole page."""
  # Here: matplotlib only where a report is drawn.
  from genre_jax.reports import multi_label as report_multi_label
  from genre_jax.reports import plots as report_figures
  from genre_jax.reports.examples import Asker

  config, step = session.config, int(state.step)
  asker = Asker(session, state.variables(), eval_step, mesh)
  recipe = session.prepared.recipe
  parts = [
    f"<h1>{html.escape(config.model.name)}: {html.escape(folder.resolve().name)}</h1>",
    f"<p>{session.parameters():,} parameters, checkpoint of step {step}, seed {config.seed}; split"
    f" {html.escape(session.split.name)}; windows of {recipe.window_seconds:.1f} s,"
    f" {len(session.prepared.classes)} genres. Intervals are 95&nbsp;%.</p>",
  ]
  if session.split.leaky:
    parts.append(
      "<p class=notice><b>Leaky split:</b> windows of one song stand on both sides."
      " Nothing on this page tells how well new songs are recognised.</p>"
    )
  if session.prepared.source == "synthetic":
    parts.append("<p class=notice>The synthetic corpus says nothing about real music.</p>")
  several = config.task == "multi_label"
  if not sides:
    parts.append("<p>No side has clips.</p>")
  elif not several:
    parts.append(_overview(sides))
  if lines := _curves(folder / "metrics.jsonl"):
    parts += [
      "<h2>Learning curves</h2>",
      "<p>Training figures are means over an epoch of augmented windows, with dropout;"
      " validation asks whole tracks.</p>",
      html_pictures(
        [
          (picture, f"Learning curve: {name}", "")
          for picture, name in zip(
            report_figures.learning_curves(lines, step), ("loss", "accuracy"), strict=True
          )
        ]
      ),
    ]
  for side, segments in sides.items():
    parts.append(
      report_multi_label.chapter(side, segments.by_track(), folder)
      if several
      else _side(side, segments, asker, session)
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


def _overview(sides: dict[str, Predictions]) -> str:
  """Figures of both sides and both units."""
  rows = []
  for side, segments in sides.items():
    for unit, answers in (("tracks", segments.by_track()), ("windows", segments)):
      figures, probable = summarize(answers), summarize_calibration(answers)
      rows.append(
        [
          side,
          unit,
          str(figures["n"]),
          _interval(figures["accuracy"], figures["ci95"]),
          f"{100 * figures['macro_f1']:.1f}",
          f"{figures['nll']:.3f}",
          f"{probable['brier']:.3f}",
          f"{100 * probable['ece']:.1f}",
        ]
      )
  return html_table(
    ["side", "of", "n", "accuracy %", "macro F1 %", "NLL", "Brier", "ECE %"], rows, 2
  )


def _interval(value, bounds) -> str:
  return f"{100 * value:.1f} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def _side(side: str, segments: Predictions, asker, session) -> str:
  """The chapter on one side."""
  from genre_jax.reports import examples as examples
  from genre_jax.reports import plots as figures

  tracks, recipe, classes = segments.by_track(), asker.recipe, segments.classes
  units = (("tracks", tracks), ("windows", segments))
  ranked = examples.most_confused(tracks)
  chosen = examples.surest(tracks)
  names = {tracks.names[i] for i in ranked[:CONFUSED_SHOWN]}
  names |= {tracks.names[i] for _, _, i in chosen if i is not None}
  log_mels = examples.read_log_mels(session.prepared, names)
  parts = [f"<h2>{side.capitalize()} side</h2>"]
  if side == "valid" and session.config.train.best_metric != "last":
    parts.append("<p>This side also chose the checkpoint, so its figures are flattered.</p>")
  parts += [
    "<h3>Confusion</h3>",
    "<p>Rows are true genres; colour is the share of the row.</p>",
    html_pictures(
      [
        (
          figures.confusion(summarize(answers)["confusion"], classes, unit),
          f"Confusion matrix of {unit} on the {side} side",
          "",
        )
        for unit, answers in units
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
          figures.reliability(reliability(answers.probabilities, answers.labels), unit),
          f"Reliability of {unit} on the {side} side",
          "",
        )
        for unit, answers in units
      ]
    ),
    "<h3>Most confused tracks</h3>",
    "<p>Ordered by how far the most probable wrong genre leads the true one. The curves are windows"
    f" of {recipe.window_seconds:.1f} s that slide along the clip, drawn at their centres; grey"
    " lines are the other genres." + _scale(recipe) + "</p>",
    _confused(tracks, ranked[:CONFUSED_LISTED]),
  ]
  shown = [asker.along(tracks, i, log_mels[tracks.names[i]]) for i in ranked[:CONFUSED_SHOWN]]
  parts.append(
    html_pictures(
      [
        (
          figures.track(one, classes, recipe),
          f"Log-mel of {one.track} and probabilities along it",
          "",
        )
        for one in shown
      ]
    )
  )
  parts.append(_heats(side, segments, tracks, chosen, asker, log_mels))
  return "\n".join(parts)


def _scale(recipe) -> str:
  """What the colours of a log-mel mean."""
  from genre_jax.reports.plots import scale_of

  low, high = scale_of(recipe)
  return (
    f" Log-mels run from dark ({low:.0f} dB) to bright ({high:.0f} dB, the clip's loudest)."
    if low is not None
    else " Each log-mel runs from its lowest value (dark) to its highest."
  )


def _genres(tracks: Predictions) -> str:
  """Recall and precision of each genre, with intervals over groups."""
  figures = summarize(tracks)["per_class"]
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
    recall, precision = figures[name]["recall"] or 0, figures[name]["precision"] or 0
    f1 = 200 * recall * precision / (recall + precision) if recall + precision else 0
    rows.append(
      [
        name,
        str(figures[name]["n"]),
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


def _heats(side, segments, tracks, chosen, asker, log_mels) -> str:
  """Grad-CAM of the surest right and the surest wrong track of each genre."""
  from genre_jax.reports import examples as examples
  from genre_jax.reports import plots as figures

  starts = asker.starts(side)
  picked = [(genre, right, i) for genre, right, i in chosen if i is not None]
  shown = asker.explain(
    [examples.window_of(segments, starts, tracks, i) for _, _, i in picked], log_mels
  )
  if not any(one.heats for one in shown):
    return "<h3>Where the evidence is</h3><p>The network has no convolutions over both axes.</p>"
  branches = list(shown[0].heats)
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
    for (true, right, _), one in zip(picked, shown, strict=True):
      if true == genre:
        verdict = "right" if right else f"wrong, taken for {segments.classes[one.prediction]}"
        caption = f"{one.track}: {verdict} (p = {one.probabilities[one.prediction]:.2f})"
        pictures.append((figures.heat(one, asker.recipe), f"Grad-CAM of {caption}", caption))
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
