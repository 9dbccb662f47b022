"""Measure which embedding finds similar songs: `python -m benchmarks.similarity [--out=FILE]`.

Searches, as `library similar` does, for the 10 nearest of the excerpts of a list of GTZAN, and of
the takes of FSDD, whose ten digits are joined. Prints how many of them have the genre, the artist
or the speaker of the recording, and the skewness of how often a recording is among the first 10 of
others, as a table in Markdown, or writes it to a page. The folders of both corpora are in
GENRE_JAX_DATA.
"""

import contextlib
import json
import pathlib
import tempfile

import numpy as np
import soundfile
from absl import flags

from benchmarks import gtzan
from genre_jax import command_line
from genre_jax.evaluation.significance import paired_difference
from genre_jax.files import write_whole
from genre_jax.inference import load, predict
from genre_jax.inference.track_log_mel import read_track_log_mel
from genre_jax.library import database
from genre_jax.library.embeddings import SEARCHED, Embeddings
from genre_jax.studies.corpora import find_corpus
from genre_jax.studies.mfcc_reference import mfcc

MODELS = flags.DEFINE_list(
  "models", ["musicnn_yamnet", "musicnn_msd", "yamnet", "axis_features_10"], "Models to compare."
)
SPLIT = flags.DEFINE_enum("split", "validation", ["train", "validation"], "List of GTZAN.")
OUT = flags.DEFINE_string("out", "", "Page to write; empty prints.")
MFCC, FRONTEND_OF = "mean MFCC", "axis_features_10"
NEAREST = 10
COLUMNS = ("genre, other artists", "same artist", "same speaker", "hubness, GTZAN", "hubness, FSDD")


def fsdd_takes(folder):
  """Write each take of a speaker, all digits joined, to a folder; return (path, speaker)."""
  takes: dict[tuple[str, str], list[str]] = {}
  for path in sorted(find_corpus("fsdd", content="recordings").glob("*.wav")):
    _, speaker, take = path.stem.split("_")
    takes.setdefault((speaker, take), []).append(str(path))
  found = []
  for (speaker, take), paths in takes.items():
    sounds, (rate, *_) = zip(*map(soundfile.read, paths), strict=True)
    path = f"{folder}/{speaker}_{take}.wav"
    soundfile.write(path, np.concatenate(sounds), rate)
    found.append((path, speaker))
  return found


def embeddings_of(name, paths):
  """Return the embeddings of files by a model, or their mean MFCC, [files, features]."""
  if name == MFCC:
    frontend = load(FRONTEND_OF).frontend
    return np.stack([_mean_mfcc(path, frontend) for path in paths])
  found = {prediction.path: prediction for prediction in predict(paths, load(name), workers=1)}
  return np.stack([found[path].embedding for path in paths])


def _mean_mfcc(path, frontend):
  """Return the mean MFCC of a file without the first, which is the level; float[19]."""
  with tempfile.TemporaryDirectory() as folder:
    track = read_track_log_mel(path, frontend, folder).opened()
    log_mel = 10 * np.log10(np.maximum(track.power[:], 1e-10))
  return mfcc(log_mel).mean(0)[1:]


def neighbors(vectors, columns=None):
  """Return the other recordings in the order of `library similar`, int[files, files - 1].

  Args:
    vectors: float[files, features].
    columns: As of `Embeddings`.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "library.db")
    with contextlib.closing(database.open_database(path, create=True)) as db:
      db.execute(
        "INSERT INTO model (id, hash, name, classes, task, used) VALUES (1, 'x', 'x', ?, 'x', 0)",
        (json.dumps([]),),
      )
      for number, vector in enumerate(vectors):
        db.execute(
          "INSERT INTO file VALUES (?, ?, 1, 1, 1, 1, NULL, 1, '{}', 'ok', '', NULL)",
          (number, str(number).encode()),
        )
        stored = vector.astype(np.float16).tobytes()
        db.execute("INSERT INTO analysis VALUES (?, 1, '', 0, x'', ?)", (number, stored))
      embeddings = Embeddings(db, database.find_model(db), columns)
  orders = []
  for number, vector in enumerate(embeddings.vectors(range(len(embeddings)))):
    order, _ = embeddings.ranked(vector, len(embeddings))
    orders.append(order[order != number])
  return np.array(orders)


def same_share(order, names, left_out=None):
  """Return the share of the first NEAREST with the name of each recording, float[files].

  Args:
    order: int[files, files - 1], of `neighbors`.
    names: Name of each recording.
    left_out: Recordings with the same value of this are no candidates.
  """
  names = np.array(names)
  shares = []
  for number, row in enumerate(order):
    if left_out is not None:
      row = row[np.array(left_out)[row] != left_out[number]]
    shares.append((names[row[:NEAREST]] == names[number]).mean())
  return np.array(shares)


def found_share(order, names):
  """Return the share of the others of a name that are among the first NEAREST; NaN for none."""
  names = np.array(names)
  others = np.array([(names == name).sum() - 1 for name in names])
  found = np.array([(names[row[:NEAREST]] == names[i]).sum() for i, row in enumerate(order)])
  return np.where(others > 0, found / np.maximum(np.minimum(others, NEAREST), 1), np.nan)


def skewness(order):
  """Return the skewness of how often a recording is among the first NEAREST of others."""
  counts = np.bincount(order[:, :NEAREST].ravel(), minlength=len(order))
  return float(((counts - counts.mean()) ** 3).mean() / counts.std() ** 3)


def measure(music, speech, excerpts, spoken):
  """Return (shares and groups of the first three COLUMNS, skewness of both).

  Args:
    music: As of `neighbors`, of the excerpts.
    speech: As of `neighbors`, of the takes.
    excerpts: (path, genre, artist) of each excerpt.
    spoken: (path, speaker) of each take.
  """
  _, genre, artist = map(list, zip(*excerpts, strict=True))
  _, speaker = map(list, zip(*spoken, strict=True))
  same_artist = found_share(music, artist)
  known = ~np.isnan(same_artist)
  shares = [
    (same_share(music, genre, artist), artist),
    (same_artist[known], [a for a, use in zip(artist, known, strict=True) if use]),
    (same_share(speech, speaker), speaker),
  ]
  return shares, (skewness(music), skewness(speech))


def measure_all(excerpts, spoken):
  """Return {name of an embedding: results of `measure`}."""
  results = {}
  for name in (*MODELS.value, MFCC):
    music, speech = (embeddings_of(name, [p for p, *_ in some]) for some in (excerpts, spoken))
    results[name] = measure(neighbors(music), neighbors(speech), excerpts, spoken)
    if music.shape[1] in SEARCHED:
      orders = (neighbors(vectors, slice(None)) for vectors in (music, speech))
      results[f"{name}, all {music.shape[1]:,} numbers"] = measure(*orders, excerpts, spoken)
  return results


def table(excerpts, spoken):
  """Return the lines of the table and of the differences from the first model."""
  results = measure_all(excerpts, spoken)
  lines = [
    f"| embedding | {' | '.join(COLUMNS)} |",
    "|---" * (len(COLUMNS) + 1) + "|",
  ]
  for name, (shares, skewed) in results.items():
    cells = []
    for share, groups in shares:
      cells.append(gtzan.percent(share, groups))
    lines.append(f"| {name} | {' | '.join([*cells, *(f'{x:.2f}' for x in skewed)])} |")
  first, *others = results
  lines += ["", f"| difference from {first} | {COLUMNS[0]} |", "|---|---|"]
  genre = [g for _, g, _ in excerpts]
  best, groups = results[first][0][0]
  for name in others:
    difference, low, high = paired_difference(results[name][0][0][0], best, groups, genre)
    lines.append(f"| {name} | {100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] |")
  known = len(results[first][0][1][0])
  lines += [
    "",
    f"n: {len(excerpts)} excerpts of {len(set(groups))} artists; {known} excerpts have another one"
    f" of their artist; {len(spoken)} takes of {len({s for _, s in spoken})} speakers.",
  ]
  return lines


def main(argv: list[str]) -> None:
  """Measure all embeddings."""
  del argv
  with tempfile.TemporaryDirectory() as folder:
    text = "\n".join(table(gtzan.excerpts(SPLIT.value), fsdd_takes(folder))) + "\n"
  if OUT.value:
    write_whole(pathlib.Path(OUT.value), text)
  else:
    print(text, end="")


if __name__ == "__main__":
  command_line.run(main)
