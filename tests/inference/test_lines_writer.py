"""Files of predictions: resuming what a spreadsheet or a crash left, columns, two commands."""

import json
import os
import subprocess
import sys

import pytest

from genre_jax.errors import UserError
from genre_jax.inference import output_lock, parquet_writer
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.predict_files import Prediction, Span
from genre_jax.inference.prediction_rows import columns
from tests.conftest import ROOT

CLASSES = ("calm", "loud")


def _prediction(file, genre="calm", timeline=False):
  probabilities = {"calm": 0.75, "loud": 0.25}
  spans = [Span(start, start + 1.5, genre, 0.75, probabilities) for start in (0.0, 1.5)]
  return Prediction(
    file, file, "ok", "small", genre, 0.75, probabilities, timeline=tuple(spans) if timeline else ()
  )


FILES = ("a.mp3", "one, two; three.mp3", "歌.mp3", "Björk.mp3")


def _write(path, kind, files, timeline=False, fail=()):
  writer = LinesWriter(path, kind, columns(CLASSES, timeline), timeline)
  existing = dict(writer.existing)
  for file in files:
    writer.write(
      Prediction(file, file, "failed", "small", error='is "bad",\nreally')
      if file in fail
      else _prediction(file, timeline=timeline)
    )
  writer.close()
  return existing


@pytest.fixture(params=[False, True], ids=["tracks", "timeline"])
def timeline(request):
  return request.param


def _saved(raw, encoding="utf-8-sig", separator=",", end="\r\n", decimal="."):
  """Return a CSV file of predictions as a spreadsheet saves it."""
  import csv
  import io

  rows = list(csv.reader(io.StringIO(raw.decode())))
  if decimal != ".":
    rows = [
      [cell.replace(".", decimal) if cell.replace(".", "").isdigit() else cell for cell in row]
      for row in rows
    ]
  text = io.StringIO()
  csv.writer(text, delimiter=separator, lineterminator=end).writerows(rows)
  return text.getvalue().encode(encoding)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"separator": ";"},
    {"separator": ";", "decimal": ","},
    {"separator": "\t", "encoding": "utf-16"},
    {"end": "\r"},
    {"encoding": "utf-8", "end": "\r\n"},
  ],
)
def test_csv_that_a_spreadsheet_saved_is_continued(tmp_path, timeline, options):
  out = tmp_path / "out.csv"
  _write(out, "csv", FILES, timeline, fail=FILES[:1])
  whole = out.read_bytes()
  for end in (b"", b"\r\n"):  # with and without the end of the last line
    saved = _saved(whole, **options)
    if not end and options.get("encoding") != "utf-16":
      saved = saved.rstrip(b"\r\n")
    out.write_bytes(saved)
    existing = _write(out, "csv", FILES, timeline)
    # The spans of the last track may be missing: it is predicted again.
    assert set(existing) == set(FILES[: -1 if timeline else None])
    assert out.read_bytes() == whole


def test_csv_in_windows_1252_is_continued(tmp_path):
  out = tmp_path / "out.csv"
  _write(out, "csv", ["a.mp3", "Björk.mp3"])
  whole = out.read_bytes()
  out.write_bytes(_saved(whole, "cp1252", ";"))
  assert set(_write(out, "csv", ["Björk.mp3"])) == {"a.mp3", "Björk.mp3"}
  assert out.read_bytes() == whole


def test_columns_of_an_earlier_version_and_in_another_order(tmp_path):
  out = tmp_path / "out.csv"
  names = columns(CLASSES, False)
  _write(out, "csv", FILES)
  whole = out.read_bytes()
  out.write_text(
    "p_loud,p_calm,file,status,model,genre,confidence,error\n0.25,0.75,a.mp3,ok,small,calm,0.75,\n"
  )
  assert set(_write(out, "csv", FILES)) == {"a.mp3"} and out.read_bytes() == whole
  for change in (b",mine", b""):
    changed = whole.replace(b",model", change, 1) if not change else whole.replace(b"\n", b",x\n")
    out.write_bytes(changed)
    with pytest.raises(UserError, match="another model or with other columns; give another file$"):
      LinesWriter(out, "csv", names, False)
    assert out.read_bytes() == changed


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_crash_at_any_byte_is_repaired(tmp_path, kind, timeline):
  out = tmp_path / "out"
  _write(out, kind, FILES, timeline, fail=FILES[2:3])
  whole = out.read_bytes()
  step = 7 if timeline else 3
  for cut in range(0, len(whole), step):
    for tail in (b"", b"\0" * 9):
      out.write_bytes(whole[:cut] + tail)
      _write(out, kind, FILES, timeline, fail=FILES[2:3])
      assert out.read_bytes() == whole, cut


def test_json_lines_that_an_editor_saved(tmp_path, timeline):
  out = tmp_path / "out.jsonl"
  _write(out, "jsonl", FILES, timeline)
  whole = out.read_bytes()
  out.write_bytes(b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n"))
  assert set(_write(out, "jsonl", ["new.mp3"], timeline)) == set(FILES)
  lines = out.read_text().splitlines()
  assert out.read_bytes().startswith(whole) and json.loads(lines[4])["file"] == "new.mp3"
  out.write_bytes(whole.rstrip(b"\n"))
  assert set(_write(out, "jsonl", [], timeline)) == set(FILES) and out.read_bytes() == whole


def _writers(path, kind):
  names = columns(CLASSES, False)
  if kind == "embeddings":
    return lambda: parquet_writer.embedding_writer(path)
  if kind == "parquet":
    return lambda: parquet_writer.prediction_writer(path, names, False)
  return lambda: LinesWriter(path, kind, names, False)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "embeddings"])
def test_two_writers_of_one_file(tmp_path, kind):
  pytest.importorskip("pyarrow")
  (tmp_path / "link").symlink_to(tmp_path / "out")
  first = _writers(tmp_path / "out", kind)()
  for name in ("out", "link"):
    with pytest.raises(UserError, match="out is being written by another command: wait"):
      _writers(tmp_path / name, kind)()
  first.write(_prediction("a.mp3"))
  first.close()
  assert sorted(os.listdir(tmp_path)) == ["link", "out"]
  _writers(tmp_path / "out", kind)().close()


def test_links_in_a_circle_and_files_as_folders(tmp_path):
  (tmp_path / "loop").symlink_to("loop")
  (tmp_path / "file").write_text("")
  for path, reason in (("loop", "Too many levels"), ("file/a.csv", "Not a directory")):
    for kind in ("csv", "jsonl"):
      with pytest.raises(UserError, match=f"{path}: cannot be read or written .{reason}"):
        _writers(tmp_path / path, kind)()


def test_the_lock_ends_with_its_process(tmp_path):
  script = (
    "import os, pathlib, sys, time\n"
    "from genre_jax.inference.output_lock import OutputLock\n"
    f"lock = OutputLock(pathlib.Path({str(tmp_path / 'out')!r}))\n"
    "print('locked', flush=True)\ntime.sleep(600)\n"
  )
  child = subprocess.Popen(
    [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  assert child.stdout.readline() == "locked\n"
  with pytest.raises(UserError, match="another command"):
    output_lock.OutputLock(tmp_path / "out")
  child.kill()
  child.wait()
  child.stdout.close()
  output_lock.OutputLock(tmp_path / "out").release()
  assert os.listdir(tmp_path) == []


def test_file_systems_without_locks(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(output_lock.errno.ENOLCK, "No locks available")

  monkeypatch.setattr(output_lock.fcntl, "flock", refuse)
  _write(tmp_path / "out.csv", "csv", FILES)
  assert os.listdir(tmp_path) == ["out.csv"]


def test_parquet_of_an_earlier_version(tmp_path):
  parquet = pytest.importorskip("pyarrow.parquet")
  names = [name for name in columns(CLASSES, False) if name != "note"]
  writer = parquet_writer.prediction_writer(tmp_path / "out", names, False)
  writer._rows_of = lambda prediction: [{"file": prediction.file, "model": "small"}]
  writer.write(_prediction("a.mp3"))
  writer.close()
  names += ["note"]
  writer = parquet_writer.prediction_writer(tmp_path / "out", names, False)
  assert set(writer.existing) == {"a.mp3"}
  writer.close()
  assert parquet.read_table(tmp_path / "out").schema.names == names


def test_an_interruption_after_the_parquet_file_was_replaced(tmp_path):
  parquet = pytest.importorskip("pyarrow.parquet")
  make = _writers(tmp_path / "out", "parquet")
  writer = make()
  writer.write(_prediction("a.mp3"))
  partial = (tmp_path / "out.partial.jsonl").read_bytes()
  writer.close()
  (tmp_path / "out.partial.jsonl").write_bytes(partial)
  writer = make()
  writer.write(_prediction("a.mp3"))
  writer.write(_prediction("b.mp3"))
  writer.close()
  assert parquet.read_table(tmp_path / "out")["file"].to_pylist() == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("line", ['[{"file": ["a"]}]', '[{"file": "a", "confidence": "x"}]', "[1]"])
def test_damaged_rows_of_an_interrupted_command(tmp_path, line):
  pytest.importorskip("pyarrow")
  (tmp_path / "out.partial.jsonl").write_text(line + "\n")
  with pytest.raises(UserError, match="cannot be read"):
    _writers(tmp_path / "out", "parquet")()


@pytest.mark.parametrize("text", ["[" * 5000 + "\n", '\n\n"\n'])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_files_that_are_deeply_nested_or_have_no_header(tmp_path, kind, text):
  (tmp_path / "out").write_text(text)
  with pytest.raises(UserError, match="other than predictions|other columns"):
    _writers(tmp_path / "out", kind)()
