"""Print the metrics of runs as a Markdown table: `python -m genre_jax.table RUN... [--into=FILE]`.

Reads config.json, metrics.jsonl and eval/ of each run. Folds of one experiment are also pooled,
because k-fold cross-validation tests every track once.
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
  "Markdown file; the table replaces its lines between <!-- results --> and <!-- /results -->.",
)

HEADER = (
  "| run | network | parameters | scheme | split | tracks n | track accuracy % [95 %] "
  "| segments n | segment accuracy % [95 %] | seeds | training min |\n" + "|---" * 11 + "|"
)
MULTI_LABEL_METRICS = ("pr_auc_macro", "roc_auc_macro", "f1_macro", "exact_match", "top_match")
HEADER_MULTI_LABEL = (
  "| run | network | parameters | scheme | split | tracks n | PR-AUC [95 %] | ROC-AUC [95 %] "
  "| F1 at thresholds [95 %] | exact match % [95 %] | true labels rank first % [95 %] "
  "| seeds | training min |\n" + "|---" * 13 + "|"
)


def _percent(metrics: dict) -> str:
  """Return accuracy and its interval in percent, as '81.2 [74.0, 86.8]'."""
  low, high = metrics["ci95"]
  return f"{100 * metrics['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def rows(folder: pathlib.Path) -> tuple[str, list[str]]:
  """Return the task of a run, and a table row for each of its splits that contains tracks."""
  from genre_jax.evaluation.multi_label_metrics import format_metric  # late: flags first
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
        metrics = " | ".join(
          format_metric(name, report["track"][name], report["track"]["ci95"][name])
          for name in MULTI_LABEL_METRICS
        )
      else:
        metrics = (
          f"{_percent(report['track'])} | {report['segment']['n']} | {_percent(report['segment'])}"
        )
      lines.append(
        f"| {folder.name} | {config['model']['name']} | {report['parameters']:,} "
        f"| {report['split']}{' (leaky)' if report['leaky'] else ''} | {split} "
        f"| {report['track']['n']} | {metrics} | 1 | {minutes:.1f} |"
      )
  return config["task"], lines


def pooled_rows(folders: list[pathlib.Path]) -> list[str]:
  """Return a table row for each experiment with several folds: metrics of their pooled tracks."""
  from genre_jax.evaluation.metrics import accuracy_interval  # here: flag errors appear first
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
    metrics = {"accuracy": correct.mean(), "ci95": accuracy_interval(correct, pooled.groups)}
    minutes = sum(training_minutes(run.folder, config["train"]["batch_size"]) for run, _ in members)
    assignment = config["split"]
    lines.append(
      f"| {len(folds)} of {assignment['num_folds']} folds, seed {config['seed']} "
      f"| {config['model']['name']} | | {assignment['name']} | test | {len(correct)} "
      f"| {_percent(metrics)} | | | 1 | {minutes:.1f} |"
    )
  return lines


def main(argv: list[str]) -> None:
  """Print the table and write it to the file that --into names."""
  if len(argv) < 2:
    raise UserError("give one or more run folders, as runs/a runs/b")
  folders = [pathlib.Path(name) for name in argv[1:]]
  by_task: dict[str, list[str]] = {"single_label": [], "multi_label": []}
  for folder in folders:
    try:
      task, lines = rows(folder)
      by_task[task] += lines
    except (OSError, ValueError, KeyError) as error:
      raise UserError(
        f"{folder} contains no evaluated run ({error}); run main with --workdir={folder} first"
      ) from error
  by_task["single_label"] += pooled_rows(folders)
  headers = {"single_label": HEADER, "multi_label": HEADER_MULTI_LABEL}
  table = "\n".join(
    "\n".join([headers[task], *lines]) + "\n" for task, lines in by_task.items() if lines
  )
  print(table, end="")
  if INTO.value:
    write_block(pathlib.Path(INTO.value), "results", table)


if __name__ == "__main__":
  command_line.run(main)
