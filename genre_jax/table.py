"""Runs side by side, as Markdown: `python -m genre_jax.table RUN... [--into=README.md]`.

From their config.json, metrics.jsonl and eval/. Folds of one experiment are also pooled, since
every track of a k-fold split is on the test side once.
"""

import json
import pathlib

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block

INTO = flags.DEFINE_string(
  "into",
  "",
  "Markdown file whose lines between <!-- results --> and <!-- /results --> are"
  " replaced by the table.",
)

HEADER = (
  "| run | network | parameters | split | side | tracks n | track accuracy % [95 %] "
  "| segments n | segment accuracy % [95 %] | seeds | training min |\n" + "|---" * 11 + "|"
)
SEVERAL = ("pr_auc_macro", "roc_auc_macro", "f1_macro", "exact_match", "top_match")
HEADER_SEVERAL = (
  "| run | network | parameters | split | side | tracks n | PR-AUC [95 %] | ROC-AUC [95 %] "
  "| F1 at thresholds [95 %] | all labels right and complete % [95 %] "
  "| labels held lead the others % [95 %] | seeds | training min |\n" + "|---" * 13 + "|"
)


def _percent(figures: dict) -> str:
  """'81.2 [74.0, 86.8]'."""
  low, high = figures["ci95"]
  return f"{100 * figures['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def rows(folder: pathlib.Path) -> tuple[str, list[str]]:
  """The task of a run, and a line for each of its sides that has clips."""
  from genre_jax.evaluation.multi_label_metrics import as_text  # here: flags are checked first
  from genre_jax.evaluation.run_predictions import (
    read_config_file,
    read_evaluation,
    training_minutes,
  )

  config = read_config_file(folder)["config"]
  minutes = training_minutes(folder, config["train"]["batch_size"])
  lines = []
  for split in ("validation", "test"):
    report = read_evaluation(folder, split)
    if report["track"]["n"]:
      if config["task"] == "multi_label":
        figures = " | ".join(
          as_text(name, report["track"][name], report["track"]["ci95"][name]) for name in SEVERAL
        )
      else:
        figures = (
          f"{_percent(report['track'])} | {report['segment']['n']} | {_percent(report['segment'])}"
        )
      lines.append(
        f"| {folder.name} | {config['model']['name']} | {report['parameters']:,} "
        f"| {report['split']}{' (leaky)' if report['leaky'] else ''} | {split} "
        f"| {report['track']['n']} | {figures} | 1 | {minutes:.1f} |"
      )
  return config["task"], lines


def pooled_rows(folders: list[pathlib.Path]) -> list[str]:
  """A line for each experiment of which several folds are among the runs: all test tracks."""
  from genre_jax.evaluation.metrics import accuracy_interval  # here: flags are checked first
  from genre_jax.evaluation.run_predictions import (
    pool_folds,
    read_config_file,
    read_run,
    training_minutes,
  )

  experiments: dict[str, list] = {}
  for folder in folders:
    config = read_config_file(folder)["config"]
    if config["split"]["name"].endswith("kfold") and config["task"] == "single_label":
      run = read_run(folder, "test")
      key = {name: value for name, value in run.config.items() if name != "split.fold"}
      experiments.setdefault(json.dumps(key, sort_keys=True), []).append((run, config))
  lines = []
  for members in experiments.values():
    config = members[0][1]
    folds = sorted({member["split"]["fold"] for _, member in members})
    if len(folds) < 2 or len(folds) != len(members):
      continue
    pooled = pool_folds([run for run, _ in members])
    correct = pooled.correct
    figures = {"accuracy": correct.mean(), "ci95": accuracy_interval(correct, pooled.groups)}
    minutes = sum(training_minutes(run.folder, config["train"]["batch_size"]) for run, _ in members)
    assignment = config["split"]
    lines.append(
      f"| {len(folds)} of {assignment['num_folds']} folds, seed {config['seed']} "
      f"| {config['model']['name']} | | {assignment['name']} | test | {len(correct)} "
      f"| {_percent(figures)} | | | 1 | {minutes:.1f} |"
    )
  return lines


def main(argv: list[str]) -> None:
  """Prints the table, and writes it where --into says."""
  if len(argv) < 2:
    raise UserError("give one or more run folders")
  folders = [pathlib.Path(name) for name in argv[1:]]
  by_task: dict[str, list[str]] = {"single_label": [], "multi_label": []}
  for folder in folders:
    try:
      task, lines = rows(folder)
      by_task[task] += lines
    except (OSError, ValueError, KeyError) as error:
      raise UserError(
        f"{folder} holds no evaluated run ({error}); train it with --workdir={folder}"
      ) from error
  by_task["single_label"] += pooled_rows(folders)
  headers = {"single_label": HEADER, "multi_label": HEADER_SEVERAL}
  table = "\n".join(
    "\n".join([headers[task], *lines]) + "\n" for task, lines in by_task.items() if lines
  )
  print(table, end="")
  if INTO.value:
    write_block(pathlib.Path(INTO.value), "results", table)


if __name__ == "__main__":
  command_line.run(main)
