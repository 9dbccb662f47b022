"""The command `predict`: formats, resumption, playlists, exit status, a closed pipe."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from tests.conftest import ROOT
from tests.inference.conftest import small_model, songs, sound, write_small_model  # noqa: F401


def _predict(place, *arguments, **keywords):
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache")}
  return subprocess.run([sys.executable, "-m", "genre_jax.predict", *map(str, arguments)],
                        cwd=place, capture_output=True, text=True, env=environment, **keywords)


@pytest.fixture
def model(small_model):  # noqa: F811
  return f"--model={small_model}"


def test_a_table_with_a_timeline(tmp_path, songs, model):  # noqa: F811
  (songs / "bad.mp3").write_text("words")
  done = _predict(tmp_path, model, songs, "--timeline")
  assert done.returncode == 1, done.stderr
  assert "Traceback" not in done.stderr
  assert done.stdout.count("songs/") == 5 and " 0:00 - " in done.stdout
  assert "5 files: 4 answered, 1 failed" in done.stderr and "bad.mp3" in done.stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_out_holds_is_not_asked_again(tmp_path, songs, model, kind):  # noqa: F811
  pytest.importorskip("pyarrow")
  out = tmp_path / f"answers.{kind}"
  arguments = (model, songs, f"--format={kind}", f"--out={out}",
               f"--embeddings={tmp_path / 'e.parquet'}", f"--playlists={tmp_path / 'lists'}")
  done = _predict(tmp_path, *arguments)
  assert done.returncode == 0, done.stderr
  rows = _rows(out, kind)
  assert list(rows[0])[:5] == ["file", "status", "model", "genre", "confidence"]
  assert list(rows[0])[5:] == ["p_calm", "p_loud", "p_odd", "error"]
  first = _embeddings(tmp_path / "e.parquet")
  assert len(rows) == 4 and len(first) == 4 and len(first[0]["embedding"]) == 512
  playlists = {path.stem: path.read_text().splitlines() for path in (tmp_path / "lists").iterdir()}
  assert sum(len(lines) - 1 for lines in playlists.values()) == 4
  assert all(os.path.exists(line) for lines in playlists.values() for line in lines[1:])
  soundfile.write(songs / "new.wav", sound(3, seed=9), 8000)
  (songs / "bad.wav").write_text("words")
  done = _predict(tmp_path, *arguments)
  assert done.returncode == 1 and "6 files (4 of them before): 5 answered, 1 failed" in done.stderr
  again = _rows(out, kind)
  assert again[:4] == rows and len(again) == 6
  assert len(_embeddings(tmp_path / "e.parquet")) == 5
  # A failure that is held is no success the next time.
  assert _predict(tmp_path, *arguments).returncode == 1
  assert len(_rows(out, kind)) == 6


def _rows(path, kind):
  if kind == "csv":
    return list(csv.DictReader(path.read_text().splitlines()))
  if kind == "jsonl":
    return [json.loads(line) for line in path.read_text().splitlines()]
  return _embeddings(path)


def _embeddings(path):
  import pyarrow.parquet

  return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_torn_line_is_made_anew(tmp_path, songs, model, kind):  # noqa: F811
  out = tmp_path / "answers"
  arguments = (model, songs, f"--format={kind}", f"--out={out}", "--timeline")
  assert _predict(tmp_path, *arguments).returncode == 0
  whole = out.read_bytes()
  out.write_bytes(whole[:len(whole) * 2 // 3])
  assert _predict(tmp_path, *arguments).returncode == 0
  assert out.read_bytes() == whole


def test_a_killed_command_goes_on(tmp_path, songs, model):  # noqa: F811
  for number in range(60):
    soundfile.write(songs / f"x{number}.wav", sound(20, seed=number), 8000)
  out = tmp_path / "answers.csv"
  arguments = (model, songs, "--format=csv", f"--out={out}")
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  child = subprocess.Popen([sys.executable, "-m", "genre_jax.predict", *map(str, arguments)],
                           env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path)
  while not out.exists() or out.read_text().count("\n") < 10:
    assert child.poll() is None
    time.sleep(0.02)
  child.send_signal(signal.SIGTERM)
  assert child.wait() == 128 + signal.SIGTERM
  assert 10 <= out.read_text().count("\n") < 65
  assert _predict(tmp_path, *arguments).returncode == 0
  files = [row["file"] for row in csv.DictReader(out.read_text().splitlines())]
  assert len(files) == len(set(files)) == 64


def test_an_out_of_another_model_is_refused(tmp_path, songs, model):  # noqa: F811
  other = write_small_model(tmp_path, classes=("x", "y"))
  for kind in ("csv", "jsonl"):
    out = tmp_path / kind
    assert _predict(tmp_path, model, songs / "a.wav", f"--format={kind}",
                    f"--out={out}").returncode == 0
    before = out.read_text()
    done = _predict(tmp_path, f"--model={other}", songs / "a.wav", f"--format={kind}",
                    f"--out={out}")
    assert done.returncode == 2 and "another model" in done.stderr
    assert out.read_text() == before


def test_an_out_that_is_something_else_is_left_alone(tmp_path, songs, model):  # noqa: F811
  for kind in ("csv", "jsonl", "parquet"):
    out = tmp_path / "mine"
    out.write_bytes(b"my thesis\n\xff\n")
    done = _predict(tmp_path, model, songs, f"--format={kind}", f"--out={out}")
    assert done.returncode == 2 and str(out) in done.stderr and "Traceback" not in done.stderr
    assert out.read_bytes() == b"my thesis\n\xff\n"


@pytest.mark.parametrize(("arguments", "words"), [
  ((), "give one or more"),
  (("x", "--format=xml"), "xml"),
  (("x", "--format=parquet"), "--out"),
  (("x", "--out=y"), "--format"),
  (("x", "--model=absent"), "--model=absent"),
  (("x", "--min_confidence=2"), "--min_confidence"),
])
def test_mistakes(tmp_path, model, arguments, words):
  if not any(part.startswith("--model") for part in arguments):
    arguments = (model, *arguments)
  done = _predict(tmp_path, *arguments)
  assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_crash(tmp_path, songs, model):  # noqa: F811
  command = f"{sys.executable} -m genre_jax.predict {model} {songs} --format=jsonl | head -n 1"
  done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True,
                        cwd=ROOT)
  assert json.loads(done.stdout)["status"] == "ok"
  assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_no_tensorflow(songs, small_model):  # noqa: F811
  script = ("import sys\nfrom genre_jax.inference import predict\n"
            f"print(list(predict({str(songs / 'a.wav')!r}, {str(small_model)!r}))[0].status,"
            " 'tensorflow' in sys.modules, 'orbax' in sys.modules)")
  done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                        check=True)
  assert done.stdout.split() == ["ok", "False", "False"]


@pytest.mark.parametrize(("kind", "text"), [("csv", "my notes"), ("jsonl", '{"my": "settings"}')])
def test_a_line_that_is_no_answer_is_kept(tmp_path, songs, model, kind, text):  # noqa: F811
  out = tmp_path / "notes.txt"
  out.write_text(text)
  done = _predict(tmp_path, model, songs, f"--format={kind}", f"--out={out}")
  assert done.returncode == 2 and str(out) in done.stderr and out.read_text() == text


def test_a_link_leads_to_its_file_and_a_device_is_refused(tmp_path, songs, model):  # noqa: F811
  (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={tmp_path / 'link.csv'}")
  assert done.returncode == 0 and (tmp_path / "link.csv").is_symlink()
  assert len((tmp_path / "real.csv").read_text().splitlines()) == 5
  os.mkfifo(tmp_path / "pipe")
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={tmp_path / 'pipe'}")
  assert done.returncode == 2 and "is no file" in done.stderr


def test_answers_of_two_models_do_not_mix(tmp_path, songs, model):  # noqa: F811
  out = tmp_path / "answers.csv"
  assert _predict(tmp_path, model, songs, "--format=csv", f"--out={out}").returncode == 0
  before = out.read_text()
  out.write_text(before.replace(",small,", ",other,"))
  done = _predict(tmp_path, model, songs, "--format=csv", f"--out={out}")
  assert done.returncode == 2 and "answers of the model other" in done.stderr
