"""Test the command `predict`: formats, resuming, playlists, exit status, a closed pipe."""

import contextlib
import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from genre_jax.errors import UserError
from genre_jax.inference import load, predict
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.prediction_rows import columns
from tests.conftest import ROOT
from tests.inference.conftest import small_model, songs, sound, write_small_model  # noqa: F401


def _predict(place, *arguments, **keywords):
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache")}
  return subprocess.run(
    [sys.executable, "-m", "genre_jax.predict", *map(str, arguments)],
    cwd=place,
    capture_output=True,
    text=True,
    env=environment,
    **keywords,
  )


@pytest.fixture
def model(small_model):  # noqa: F811
  return f"--model={small_model}"


@pytest.mark.slow
def test_a_table_with_a_timeline(tmp_path, songs, model):  # noqa: F811
  (songs / "bad.mp3").write_text("words")
  done = _predict(tmp_path, model, songs, "--timeline")
  assert done.returncode == 1, done.stderr
  assert "Traceback" not in done.stderr
  assert done.stdout.count("songs/") == 5 and " 0:00 - " in done.stdout
  assert "5 files: 4 predicted, 1 failed" in done.stderr and "bad.mp3" in done.stderr


@pytest.mark.slow
def test_a_table_of_several_tags(tmp_path, songs, monkeypatch):  # noqa: F811
  monkeypatch.setenv("COLUMNS", "80")
  tags = ("calm", "rather a long name of a tag", "odd")
  place = write_small_model(tmp_path, classes=tags, task="multi_label", thresholds=[0.0, 0.0, 1.0])
  files = [songs / "a.wav", songs / "b.flac"]
  done = _predict(tmp_path, f"--model={place}", *files)
  lines = done.stdout.splitlines()
  assert done.returncode == 0 and len(lines) == 2 + 2 * 3, done.stderr
  assert [lines[i] for i in (0, 2, 5)] == ["file", *map(str, files)]
  end = lines[1].index("confidence") + len("confidence")
  for rows in (lines[3:5], lines[6:8]):
    assert {row[: end - 10].strip() for row in rows} == set(tags[:2])
    assert all(0 <= float(row[end - 10 : end]) <= 1 for row in rows)
    assert rows[0][end:].split()[0] == "odd"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_files_in_out_are_not_predicted_again(tmp_path, songs, model, kind):  # noqa: F811
  pytest.importorskip("pyarrow")
  os.rename(songs / "a.wav", os.fsencode(songs) + b"/\xff.wav")  # a name that is not UTF-8
  out = tmp_path / f"predictions.{kind}"
  arguments = (
    model,
    songs,
    f"--format={kind}",
    f"--out={out}",
    f"--embeddings={tmp_path / 'e.parquet'}",
    f"--playlists={tmp_path / 'lists'}",
  )
  done = _predict(tmp_path, *arguments)
  assert done.returncode == 0, done.stderr
  rows = _rows(out, kind)
  assert list(rows[0])[:5] == ["file", "status", "model", "genre", "confidence"]
  assert list(rows[0])[5:] == ["p_calm", "p_loud", "p_odd", "error", "note"]
  first = _embeddings(tmp_path / "e.parquet")
  assert len(rows) == 4 and len(first) == 4 and len(first[0]["embedding"]) == 128
  assert len(_listed(tmp_path / "lists")) == 4
  soundfile.write(songs / "new.wav", sound(3, seed=9), 8000)
  (songs / "bad.wav").write_text("words")
  done = _predict(tmp_path, *arguments)
  assert (
    done.returncode == 1 and "6 files (4 from an earlier run): 5 predicted, 1 failed" in done.stderr
  )
  again = _rows(out, kind)
  assert again[:4] == rows and len(again) == 6 and len(_listed(tmp_path / "lists")) == 5
  assert len(_embeddings(tmp_path / "e.parquet")) == 5
  # An earlier failure still gives exit status 1.
  assert _predict(tmp_path, *arguments).returncode == 1
  assert len(_rows(out, kind)) == 6


def _listed(folder):
  """Return the files of all playlists; check that each exists."""
  lines = [
    line
    for path in folder.iterdir()
    for line in path.read_bytes().splitlines()
    if not line.startswith(b"#")
  ]
  assert all(map(os.path.exists, lines))
  return lines


def _rows(path, kind):
  if kind == "csv":
    return list(csv.DictReader(path.read_text().splitlines()))
  if kind == "jsonl":
    return [json.loads(line) for line in path.read_text().splitlines()]
  return _embeddings(path)


def _embeddings(path):
  import pyarrow.parquet

  return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_incomplete_line_is_written_again(tmp_path, songs, model, kind):  # noqa: F811
  out = tmp_path / "predictions"
  arguments = (model, songs, f"--format={kind}", f"--out={out}", "--timeline")
  assert _predict(tmp_path, *arguments).returncode == 0
  whole = out.read_bytes()
  out.write_bytes(whole[: len(whole) * 2 // 3])
  assert _predict(tmp_path, *arguments).returncode == 0
  assert out.read_bytes() == whole


@pytest.mark.slow
def test_a_killed_command_resumes(tmp_path, songs, model):  # noqa: F811
  for number in range(60):
    soundfile.write(songs / f"x{number}.wav", sound(20, seed=number), 8000)
  out = tmp_path / "predictions.csv"
  arguments = (model, songs, f"--out={out}", "--workers=2")
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  for number, status, lines in (
    (signal.SIGTERM, 128 + signal.SIGTERM, 10),
    (signal.SIGKILL, -signal.SIGKILL, 20),
  ):
    child = subprocess.Popen(
      [sys.executable, "-m", "genre_jax.predict", *map(str, arguments)],
      env=environment,
      stderr=subprocess.DEVNULL,
      cwd=tmp_path,
      start_new_session=True,
    )
    while not out.exists() or out.read_text().count("\n") < lines:
      assert child.poll() is None
      time.sleep(0.02)
    child.send_signal(number)
    assert child.wait() == status
    assert lines <= out.read_text().count("\n") < 65
    _wait_for_the_end_of(child.pid)
  assert _predict(tmp_path, *arguments).returncode == 0
  files = [row["file"] for row in csv.DictReader(out.read_text().splitlines())]
  assert len(files) == len(set(files)) == 64


def _wait_for_the_end_of(process_group):
  """Wait until a command and its workers have ended."""
  for _ in range(500):
    try:
      os.killpg(process_group, 0)
    except ProcessLookupError:
      return
    time.sleep(0.02)
  raise AssertionError("workers are left")


@pytest.mark.slow
def test_an_out_of_another_model_is_refused(tmp_path, songs, model):  # noqa: F811
  other = write_small_model(tmp_path, classes=("x", "y"))
  for kind in ("csv", "jsonl"):
    out = tmp_path / kind
    assert (
      _predict(tmp_path, model, songs / "a.wav", f"--format={kind}", f"--out={out}").returncode == 0
    )
    before = out.read_text()
    done = _predict(
      tmp_path, f"--model={other}", songs / "a.wav", f"--format={kind}", f"--out={out}"
    )
    assert done.returncode == 2 and "another model" in done.stderr
    assert out.read_text() == before


@pytest.mark.slow
def test_an_out_with_other_content_is_not_changed(tmp_path, songs, model):  # noqa: F811
  for kind in ("csv", "jsonl", "parquet"):
    out = tmp_path / "mine"
    out.write_bytes(b"my thesis\n\xff\n")
    done = _predict(tmp_path, model, songs, f"--format={kind}", f"--out={out}")
    assert done.returncode == 2 and str(out) in done.stderr and "Traceback" not in done.stderr
    assert out.read_bytes() == b"my thesis\n\xff\n"


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((), "give one or more"),
    (("x", "--format=xml"), "xml"),
    (("x", "--format=parquet"), "--out"),
    (("x", "--out=y"), "--format"),
    (("x", "--format=table", "--out=y.csv"), "only prints"),
    (("x", "--model=absent"), "--model=absent"),
    (("x", "--min_confidence=2"), "--min_confidence"),
    (("x", "--playlists=/proc/no"), "--playlists"),
  ],
)
def test_mistakes(tmp_path, model, arguments, words):
  if not any(part.startswith("--model") for part in arguments):
    arguments = (model, *arguments)
  done = _predict(tmp_path, *arguments)
  assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error(tmp_path, songs, model):  # noqa: F811
  command = f"{sys.executable} -m genre_jax.predict {model} {songs} --format=jsonl | head -n 1"
  done = subprocess.run(
    ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT
  )
  assert json.loads(done.stdout)["status"] == "ok"
  assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_no_tensorflow(songs, small_model):  # noqa: F811
  script = (
    "import sys\nfrom genre_jax.inference import predict\n"
    f"print(list(predict({str(songs / 'a.wav')!r}, {str(small_model)!r}))[0].status,"
    " 'tensorflow' in sys.modules, 'orbax' in sys.modules)"
  )
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert done.stdout.split() == ["ok", "False", "False"]


@pytest.mark.parametrize(("kind", "text"), [("csv", "my notes"), ("jsonl", '{"my": "settings"}')])
def test_a_line_that_is_not_a_prediction_is_kept(tmp_path, songs, model, kind, text):  # noqa: F811
  out = tmp_path / "notes.txt"
  out.write_text(text)
  done = _predict(tmp_path, model, songs, f"--format={kind}", f"--out={out}")
  assert done.returncode == 2 and str(out) in done.stderr and out.read_text() == text


@pytest.mark.slow
def test_links_are_resolved_and_devices_refused(tmp_path, songs, model):  # noqa: F811
  (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={tmp_path / 'link.csv'}")
  assert done.returncode == 0 and (tmp_path / "link.csv").is_symlink()
  assert len((tmp_path / "real.csv").read_text().splitlines()) == 5
  os.mkfifo(tmp_path / "pipe")
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={tmp_path / 'pipe'}")
  assert done.returncode == 2 and "is not a regular file" in done.stderr


@pytest.mark.slow
def test_predictions_of_two_models_do_not_mix(tmp_path, songs, model):  # noqa: F811
  out = tmp_path / "predictions.csv"
  assert _predict(tmp_path, model, songs, "--format=csv", f"--out={out}").returncode == 0
  before = out.read_text()
  out.write_text(before.replace(",small,", ",other,"))
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={out}")
  assert done.returncode == 2 and "predictions of the model other" in done.stderr
  out.write_text(before)
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={out}", "--min_confidence=1")
  assert done.returncode == 2 and "--min_confidence=1" in done.stderr and out.read_text() == before


def test_a_full_disk(tmp_path, songs, small_model):  # noqa: F811
  model = load(str(small_model))
  found = list(predict(songs, model))
  lines = LinesWriter(tmp_path / "a.csv", "csv", columns(model.classes, False), False)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
  try:
    with pytest.raises(UserError, match="a.csv: cannot be read or written"):
      for prediction in found:
        lines.write(prediction)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with contextlib.suppress(OSError):  # the buffered rest is written now
      lines.close()


@pytest.mark.slow
def test_closed_streams(tmp_path, songs, model):  # noqa: F811
  command = f"{sys.executable} -m genre_jax.predict {model} {songs} --format=jsonl"
  done = subprocess.run(
    ["bash", "-c", f"{command} --out={tmp_path / 'o.jsonl'} <&- >&- 2>&-"], cwd=ROOT
  )
  assert done.returncode == 0 and len(_rows(tmp_path / "o.jsonl", "jsonl")) == 4
