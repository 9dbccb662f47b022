"""Damage tables, models, predictions and archives: `python -m benchmarks.fuzz_parsers`.

Only a UserError or UnreadableAudio may be the answer to a damaged file. Every other exception is
printed with its traceback, and the file is kept with --keep.
"""

import collections
import hashlib
import io
import json
import pathlib
import shutil
import tempfile
import time
import traceback
import warnings

import numpy as np
from absl import flags

from benchmarks import fuzz
from genre_jax import command_line
from genre_jax.data import audio
from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.groups import read_groups
from genre_jax.data.source import Request
from genre_jax.data.sources.audio_table import open_audio_table
from genre_jax.data.sources.mel_archive import open_mel_archive
from genre_jax.errors import UserError
from genre_jax.files import write_block
from genre_jax.inference import load, prediction_rows
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.parquet_writer import embedding_writer, prediction_writer
from genre_jax.inference.predict_files import Prediction
from tests.inference.conftest import SMALL, write_small_model

CASES = flags.DEFINE_integer("cases", 5000, "Damaged files of each kind.", lower_bound=1)
ONLY = flags.DEFINE_string("only", "", "One kind.")
SHOWN_FAULTS = 3  # tracebacks of each kind

CLASSES = ("blues", "rock")
COLUMNS = prediction_rows.columns(CLASSES, timeline=False)
TABLE = (
  "file,genre,group,split\n" + "".join(f"s{i}.flac,rock;pop,g{i},train\n" for i in range(8))
).encode()
GROUPS = ("file,group\n" + "".join(f"blues.{i:05d},Artist {i}\n" for i in range(8))).encode()
TOKENS = (
  *(b'"', b"\n", b"\r", b"\t", b";", b",", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"sep=;\n", b"?"),
  *(b"\xc3\xa9", b"\xe9", b"\x85", b"\xe2\x80\xa8", b"{", b"}", b"[", b"]", b"null", b"NaN"),
  *(b"-1", b"1e999", b"9" * 400, b"Infinity", b"\\ud800", b"true", b'"file": ', b"[" * 3000),
)
VALUES = (None, True, 0, -1, 1 << 70, 1e999, 0.5, "", "x", [], {}, [[]], {"a": []}, "\ud800")


def insert_tokens(data, _, rng):
  """Insert separators, quotes and odd values."""
  for _ in range(int(rng.integers(1, 6))):
    at = int(rng.integers(len(data) + 1))
    data = data[:at] + TOKENS[int(rng.integers(len(TOKENS)))] + data[at:]
  return data


def damaged_bytes(data: bytes, rng) -> bytes:
  """Return bytes after 1 to 3 kinds of damage."""
  changed = bytearray(data)
  for _ in range(int(rng.integers(1, 4))):
    changes = (insert_tokens, insert_tokens, *fuzz.DAMAGES)
    changed = bytearray(changes[int(rng.integers(len(changes)))](changed, data, rng) or b"\n")
  return bytes(changed)


def damaged_value(value, rng):
  """Return a JSON value with one part replaced, removed or added."""
  if isinstance(value, dict) and value and rng.random() < 0.9:
    key = list(value)[int(rng.integers(len(value)))]
    if rng.random() < 0.1:
      return {name: part for name, part in value.items() if name != key}
    return {**value, key: damaged_value(value[key], rng)}
  if isinstance(value, list) and value and rng.random() < 0.7:
    at = int(rng.integers(len(value)))
    return [*value[:at], damaged_value(value[at], rng), *value[at + 1 :]]
  return VALUES[int(rng.integers(len(VALUES)))]


def npz(**arrays) -> bytes:
  """Return arrays as the bytes of an .npz file."""
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


class Kinds:
  """Functions that read one damaged file each; all files are in one folder."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    for number in range(8):
      (folder / f"s{number}.flac").write_bytes(b"x")
    self.model = write_small_model(folder, "small")
    self.metadata = json.loads((self.model / "model.json").read_text())
    self.weights = (self.model / "weights.npz").read_bytes()
    self.audio = fuzz.undamaged(folder)
    self.rows = {kind: self._predictions(kind) for kind in ("csv", "jsonl")}
    self.parquet = {name: self._parquet(name) for name in ("predictions", "embeddings")}
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 255, (4, 8, 20), np.uint8)
    self.archive = npz(log_mel=levels, names=np.array([f"blues.{i:05d}" for i in range(4)]))

  def _example(self, number):
    return Prediction(
      f"s{number}.flac",
      f"s{number}.flac",
      "ok",
      "small",
      "rock",
      0.75,
      {"blues": 0.25, "rock": 0.75},
      seconds=3.0,
      embedding=np.zeros(4, np.float32),
    )

  def _predictions(self, kind):
    path = self.folder / f"seed.{kind}"
    writer = LinesWriter(path, kind, COLUMNS, False)
    for number in range(4):
      writer.write(self._example(number))
    writer.close()
    return path.read_bytes()

  def _parquet(self, name):
    path = self.folder / f"{name}.parquet"
    writer = self._parquet_writer(name, path)
    for number in range(4):
      writer.write(self._example(number))
    writer.close()
    return path.read_bytes()

  def _parquet_writer(self, name, path):
    if name == "embeddings":
      return embedding_writer(path)
    return prediction_writer(path, COLUMNS, False)

  def table(self, path, rng):
    """Read a table of audio files."""
    path.write_bytes(damaged_bytes(TABLE, rng))
    open_audio_table(Request(path=str(path), genres="all"))

  def groups(self, path, rng):
    """Read a table of groups."""
    path.write_bytes(damaged_bytes(GROUPS, rng))
    read_groups(str(path))

  def model_json(self, path, rng):
    """Load a model whose description is damaged."""
    text = json.dumps(damaged_value(self.metadata, rng)).encode()
    self._model(path, text if rng.random() < 0.8 else damaged_bytes(text, rng), self.weights)

  def weights_npz(self, path, rng):
    """Load a model whose weights are damaged and have the hash of the description."""
    weights = damaged_bytes(self.weights, rng)
    metadata = {**self.metadata, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    self._model(path, json.dumps(metadata).encode(), weights)

  def _model(self, path, metadata, weights):
    path.mkdir()
    (path / "model.json").write_bytes(metadata)
    (path / "weights.npz").write_bytes(weights)
    load(str(path))

  def csv_predictions(self, path, rng):
    """Continue a CSV file."""
    self._continue("csv", path, rng)

  def jsonl_predictions(self, path, rng):
    """Continue a JSON lines file."""
    self._continue("jsonl", path, rng)

  def _continue(self, kind, path, rng):
    path.write_bytes(damaged_bytes(self.rows[kind], rng))
    writer = LinesWriter(path, kind, COLUMNS, False)
    writer.write(self._example(9))
    writer.close()
    LinesWriter(path, kind, COLUMNS, False).close()  # what was written can be read

  def parquet_predictions(self, path, rng):
    """Continue a Parquet file."""
    self._continue_parquet("predictions", path, rng)

  def parquet_embeddings(self, path, rng):
    """Continue a Parquet file of embeddings."""
    self._continue_parquet("embeddings", path, rng)

  def _continue_parquet(self, name, path, rng):
    partial = path.with_name(path.name + ".partial.jsonl")
    if rng.random() < 0.5:
      path.write_bytes(damaged_bytes(self.parquet[name], rng))
    else:
      rows = [self._example(n) for n in range(3)]
      make = prediction_rows.embedding_rows
      if name == "predictions":
        make = lambda row: prediction_rows.flat_rows(row, False)  # noqa: E731
      lines = [json.dumps(make(row)) + "\n" for row in rows]
      if rng.random() < 0.5:
        lines[1] = json.dumps(damaged_value(json.loads(lines[1]), rng)) + "\n"
        partial.write_text("".join(lines))
      else:
        partial.write_bytes(damaged_bytes("".join(lines).encode(), rng))
    try:
      writer = self._parquet_writer(name, path)
      writer.write(self._example(9))
      writer.close()
      self._parquet_writer(name, path).close()
    finally:
      partial.unlink(missing_ok=True)

  def mel_archive(self, path, rng):
    """Open an archive of log-mel and read its clips."""
    path.write_bytes(damaged_bytes(self.archive, rng))
    source = open_mel_archive(Request(path=str(path), genres="all", clip_seconds=1.55))
    for clip in source.clips:
      source.log_mel(clip, FrontendConfig(n_mels=8))

  def audio_stream(self, path, rng):
    """Decode audio from an open file that cannot be searched."""
    path.write_bytes(fuzz.damaged(self.audio, rng)[1])

    class Pipe(io.BytesIO):
      def seekable(self):
        return False

      def seek(self, *_):
        raise OSError("cannot be searched")

    for block in audio.read_blocks(Pipe(path.read_bytes()), SMALL.sample_rate, notes=[]):
      if block.dtype != np.float32 or block.ndim != 1 or not len(block):
        raise AssertionError(f"a block is {block.dtype} {block.shape}")


KINDS = (
  *("table", "groups", "model_json", "weights_npz", "csv_predictions", "jsonl_predictions"),
  *("parquet_predictions", "parquet_embeddings", "mel_archive", "audio_stream"),
)


def main(_):
  """Damage and read files of each kind, and print a table."""
  warnings.simplefilter("ignore")
  lines = ["| kind of file | damaged files | read | refused | faults | seconds |"]
  lines.append("|---|---|---|---|---|---|")
  faults = 0
  with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
    folder = pathlib.Path(name)
    kinds = Kinds(folder)
    for kind in [ONLY.value] if ONLY.value else KINDS:
      rng = np.random.default_rng(fuzz.SEED.value)
      started, counts, path = time.monotonic(), collections.Counter(), folder / "damaged"
      for _ in range(CASES.value):
        try:
          getattr(kinds, kind)(path, rng)
          counts["read"] += 1
        except (UserError, UnreadableAudio):
          counts["refused"] += 1
        except Exception:
          counts["faults"] += 1
          if counts["faults"] <= SHOWN_FAULTS:
            print(f"--- {kind}\n{''.join(traceback.format_exc().splitlines(True)[-14:])}")
            if fuzz.KEEP.value:
              kept = pathlib.Path(fuzz.KEEP.value) / f"{kind}_{counts['faults']}"
              (shutil.copytree if path.is_dir() else shutil.copy)(path, kept)
        if path.is_dir():
          shutil.rmtree(path)
        path.unlink(missing_ok=True)
      faults += counts["faults"]
      seconds = time.monotonic() - started
      row = [
        kind.replace("_", " "),
        f"{CASES.value:,}",
        *(f"{counts[n]:,}" for n in ("read", "refused", "faults")),
        f"{seconds:.0f}",
      ]
      lines.append("| " + " | ".join(row) + " |")
      print(lines[-1], flush=True)
  text = "\n".join(lines) + "\n"
  if fuzz.INTO.value:
    note = f"\n`python -m benchmarks.fuzz_parsers --cases={CASES.value}`:\n\n"
    write_block(pathlib.Path(fuzz.INTO.value), "parsers", note + text + "\n")
  if faults:
    raise UserError(f"{faults} damaged files raised something else than a UserError")


if __name__ == "__main__":
  command_line.run(main)
