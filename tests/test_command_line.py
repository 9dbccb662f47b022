"""What every command does with odd arguments, encodings of the terminal and errors of files."""

import os
import subprocess
import sys

import pytest
import soundfile

from genre_jax import command_line
from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401

ASCII = (
  {"PYTHONIOENCODING": "ascii"},
  {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)

# Root may write everywhere: give up the capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
UNPRIVILEGED = (
  "import ctypes, os, sys\n"
  "if os.geteuid() == 0:\n"
  "  drop = ctypes.CDLL(None).prctl\n"
  "  if any(drop(24, capability, 0, 0, 0) for capability in (1, 2)): sys.exit('no permission')\n"
  "os.execv(sys.argv[1], sys.argv[1:])\n"
)


def _run(place, module, *arguments, environment=()):
  return subprocess.run(
    [sys.executable, "-m", f"genre_jax.{module}", *map(str, arguments)],
    cwd=place,
    capture_output=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), **dict(environment)},
  )


@pytest.mark.slow
@pytest.mark.parametrize("environment", ASCII)
def test_a_terminal_without_the_characters_of_a_name(tmp_path, small_model, environment):  # noqa: F811
  for name in ("a", "歌", "z"):
    soundfile.write(tmp_path / f"{name}.wav", sound(3), 8000)
  files = [os.fsencode(name) for name in ("a.wav", "歌.wav", "z.wav", "été.wav")]
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax.predict", f"--model={small_model}", "--timeline", *files],
    cwd=tmp_path,
    capture_output=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
  )
  assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
  for name in (b"a.wav", rb"\u6b4c.wav", b"z.wav", rb"\xe9t\xe9.wav"):
    assert name in done.stdout
  assert rb"\xe9t\xe9.wav: " in done.stderr


@pytest.mark.parametrize("environment", ASCII)
def test_messages_in_a_terminal_without_the_characters(tmp_path, environment):
  done = _run(tmp_path, "main", "--config=歌.py", environment=environment.items())
  assert done.returncode == 2 and b"Traceback" not in done.stderr
  assert b"\\u6b4c.py" in done.stderr or b"\\udce6\\udcad\\udc8c.py" in done.stderr
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax", "歌"],
    cwd=tmp_path,
    capture_output=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
  )
  assert done.returncode == 2 and b"there is no command '\\u" in done.stderr


@pytest.mark.parametrize(
  ("argument", "shown"),
  [("-dash.mp3", True), ("-m 01.flac", True), ("--song.mp3", True), ("--modell=x.mp3", False)],
)
def test_a_file_name_that_begins_with_a_dash(tmp_path, argument, shown):
  done = _run(tmp_path, "predict", argument)
  assert done.returncode == 2 and b"Traceback" not in done.stderr
  hint = f"for a file whose name begins with a dash write ./{argument}, or -- before it"
  assert (hint in done.stderr.decode()) == shown, done.stderr


def test_the_hint_at_a_dash(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "-song").write_text("")
  hint = command_line._hint_at_dash
  assert "./-song" in hint(["x", "-song"]) and not hint(["x", "-sing"])
  assert not hint(["x", "--", "-dash.mp3"]) and not hint(["x", "--config.train.epochs"])


@pytest.mark.slow
@pytest.mark.parametrize(
  ("module", "arguments", "words"),
  [
    ("predict", ["--format=csv", "--out=D/a.csv", "song.wav"], "D/a.csv"),
    ("predict", ["--format=jsonl", "--out=D/new/a.jsonl", "song.wav"], "D/new"),
    ("predict", ["--format=parquet", "--out=D/a.parquet", "song.wav"], "D/a.parquet"),
    ("predict", ["--embeddings=D/e.parquet", "song.wav"], "D/e.parquet"),
    ("predict", ["--format=csv", "--out=X/a.csv", "song.wav"], "X/a.csv"),
    ("predict", ["--embeddings=X/e.parquet", "song.wav"], "X/e.parquet"),
    ("predict", ["--playlists=D/lists", "song.wav"], "D/lists"),
    ("predict", ["--model=X/m", "song.wav"], "X/m"),
    ("predict", ["--model=unreadable", "song.wav"], "unreadable"),
    ("export", ["--out=D/m.zip"], "D/m.zip"),
    ("export", ["--out=X/m.zip"], "X/m.zip"),
    ("pretrained", ["pack", "run", "--out=X/m"], "X/m"),
    ("main", ["--config=experiments/synthetic.py:baseline", "--workdir=X/run"], "X/run"),
    ("table", ["X/run"], "X/run"),
  ],
)
def test_paths_without_permission(tmp_path, small_model, module, arguments, words):  # noqa: F811
  """D can be read, X cannot even be entered, and `unreadable` is a model without permission."""
  soundfile.write(tmp_path / "song.wav", sound(3), 8000)
  for name in ("model", "unreadable"):
    (tmp_path / name).mkdir()
    for file in small_model.iterdir():
      (tmp_path / name / file.name).write_bytes(file.read_bytes())
      (tmp_path / name / file.name).chmod(0o000 if name == "unreadable" else 0o644)
  for name, mode in (("D", 0o555), ("X", 0o000)):
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(mode)
  if module in ("predict", "export") and not any(part.startswith("--model") for part in arguments):
    arguments = ["--model=model", *arguments]
  done = subprocess.run(
    [sys.executable, "-c", UNPRIVILEGED, sys.executable, "-m", "genre_jax", module, *arguments],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  (tmp_path / "X").chmod(0o755)
  assert done.returncode == 2, done.stderr
  lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  assert len(lines) == 1 and words in lines[0] and "Permission denied" in lines[0], done.stderr
  assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_names_of_genres_in_a_locale_without_their_characters(tmp_path):
  for genre in ("Électro", "rock"):
    (tmp_path / "music" / genre).mkdir(parents=True)
    for name in ("1", "歌"):
      soundfile.write(tmp_path / "music" / genre / f"{name}.wav", sound(3), 8000)
  done = _run(
    tmp_path,
    "prepare",
    "--config=experiments/base.py",
    "--config.dataset.path=music",
    "--config.dataset.prepared_dir=prepared",
    "--config.dataset.workers=1",
    environment=ASCII[1].items(),
  )
  assert done.returncode == 0, done.stderr
  (table,) = (tmp_path / "prepared").glob("*/clips.csv")
  assert "Électro/歌.wav" in table.read_text(encoding="utf-8")
