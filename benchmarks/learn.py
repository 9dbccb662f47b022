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

from genre_jax import command_line
from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.evaluation.metrics import accuracy_interval
from genre_jax.evaluation.significance import paired_difference
from genre_jax.studies.corpora import find_corpus

MODELS = flags.DEFINE_list("models", ["axis_features_10", "musicnn_yamnet"], "Models to compare.")


def excerpts(split):
  """Return the paths of the excerpts of a list."""
  lists = published_lists()
  paths = sorted((find_corpus("gtzan") / "audio").glob("*/*.flac"))
  return [path for path in paths if lists.get(path.stem) == split]


def run(*arguments):
  """Run a command of genre_jax, with its progress and mistakes on standard error."""
  command = [sys.executable, "-m", "genre_jax", *map(str, arguments)]
  subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def right(folder, model, paths, *arguments):
  """Return whether `predict` gives each path the genre of its folder, float[paths]."""
  out = folder / "predictions.csv"
  run("predict", f"--model={model}", "--format=csv", f"--out={out}", *arguments, *paths)
  with open(out, newline="", encoding="utf-8") as file:
    genres = {row["file"]: row["genre"] for row in csv.DictReader(file)}
  out.unlink()
  return np.array([float(genres[str(path)] == path.parent.name) for path in paths])


def measure(model):
  """Return (accuracy of the shipped model, of the learned one) by excerpt, float[2, excerpts]."""
  train, validation, by_artist = excerpts("train"), excerpts("validation"), artists()
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "music").mkdir()
    with open(folder / "genres.csv", "w", newline="", encoding="utf-8") as file:
      rows = csv.writer(file)
      rows.writerow(["file", "genre", "group"])
      for path in train:
        link = folder / "music" / path.name
        shutil.copy(path, link)
        rows.writerow([link, path.parent.name, by_artist.get(path.stem, path.stem)])
    library = (f"--db={folder / 'library.db'}", f"--model={model}")
    run("library", "scan", *library, folder / "music")
    run("library", "learn", *library, f"--from={folder / 'genres.csv'}", f"--out={folder / 'mine'}")
    labels = ["--labels=gtzan"] if model == "musicnn_yamnet" else []
    shipped = right(folder, model, validation, *labels)
    return np.stack([shipped, right(folder, folder / "mine", validation)])


def main(_):
  """Print the table."""
  paths, by_artist = excerpts("validation"), artists()
  groups = [by_artist.get(path.stem, path.stem) for path in paths]
  genres = [path.parent.name for path in paths]
  print("| model | shipped, % [95 %] | learned, % [95 %] | difference |\n|---|---|---|---|")
  for model in MODELS.value:
    results = measure(model)
    cells = []
    for correct in results:
      low, high = accuracy_interval(correct, tuple(groups))
      cells.append(f"{100 * correct.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    difference, low, high = paired_difference(results[1], results[0], groups, genres)
    cells.append(f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    print(f"| {model} | {' | '.join(cells)} |", flush=True)
  print(f"\nn: {len(paths)} excerpts of {len(set(groups))} artists")


if __name__ == "__main__":
  command_line.run(main)
