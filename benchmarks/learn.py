"""Measure `library learn` on GTZAN: `python -m benchmarks.learn [--models=NAME,...]`.

It scans the excerpts of the train list, learns from their genres, and predicts the excerpts of the
validation list with the learned model and with the shipped one, all by the commands that a user
types. Prints their accuracy and the difference, as a table in Markdown. The folder of GTZAN is in
GENRE_JAX_DATA.
"""

import csv
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags

from benchmarks import gtzan
from genre_jax import command_line
from genre_jax.evaluation.significance import paired_difference
from genre_jax.inference.model_dir import find_model

MODELS = flags.DEFINE_list("models", ["axis_features_10", "musicnn_yamnet"], "Models to compare.")


def run(*arguments):
  """Run a command of genre_jax, with its progress and mistakes on standard error."""
  command = [sys.executable, "-m", "genre_jax", *map(str, arguments)]
  subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def right(folder, model, excerpts, *arguments):
  """Return whether `predict` gives each excerpt its genre, float[excerpts]."""
  out = folder / "predictions.csv"
  run(
    "predict",
    f"--model={model}",
    "--format=csv",
    f"--out={out}",
    *arguments,
    *(path for path, *_ in excerpts),
  )
  with open(out, newline="", encoding="utf-8") as file:
    genres = {row["file"]: row["genre"] for row in csv.DictReader(file)}
  out.unlink()
  return np.array([float(genres[path] == genre) for path, genre, _ in excerpts])


def measure(model):
  """Return (accuracy of the shipped model, of the learned one) by excerpt, float[2, excerpts]."""
  validation = gtzan.excerpts("validation")
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "music").mkdir()
    with open(folder / "genres.csv", "w", newline="", encoding="utf-8") as file:
      rows = csv.writer(file)
      rows.writerow(["file", "genre", "group"])
      for path, genre, artist in gtzan.excerpts("train"):
        copy = shutil.copy(path, folder / "music")
        rows.writerow([copy, genre, artist])
    library = (f"--db={folder / 'library.db'}", f"--model={model}")
    run("library", "scan", *library, folder / "music")
    run("library", "learn", *library, f"--from={folder / 'genres.csv'}", f"--out={folder / 'mine'}")
    labels = ["--labels=gtzan"] if "gtzan" in find_model(model)[0].get("label_sets", {}) else []
    shipped = right(folder, model, validation, *labels)
    return np.stack([shipped, right(folder, folder / "mine", validation)])


def main(_):
  """Print the table."""
  _, genres, groups = zip(*gtzan.excerpts("validation"), strict=True)
  print("| model | shipped, % [95 %] | learned, % [95 %] | difference |\n|---|---|---|---|")
  for model in MODELS.value:
    results = measure(model)
    cells = [gtzan.percent(correct, groups) for correct in results]
    difference, low, high = paired_difference(results[1], results[0], groups, genres)
    cells.append(f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    print(f"| {model} | {' | '.join(cells)} |", flush=True)
  print(f"\nn: {len(genres)} excerpts of {len(set(groups))} artists")


if __name__ == "__main__":
  command_line.run(main)
