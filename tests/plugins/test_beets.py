"""The beets plugin: genres from genre-jax, in the import and by its command."""

import json
import logging
import os
import shlex
import shutil
import stat
import sys

import pytest

from tests.conftest import AUDIO, ROOT

pytest.importorskip("beets", minversion="2.7", reason="beets 2.7 is not installed")
helper = pytest.importorskip(
  "beets.test.helper", reason="what beets.test needs is not installed", exc_type=ImportError
)

import beetsplug  # noqa: E402
from beets import ui  # noqa: E402
from beets.library import Item  # noqa: E402

# Behaves as genre-jax: the name of a file says its genre and confidence, as `rock_0.9.flac`.
PROGRAM = """#!{python} -I
import json, os, sys
with open({log!r}, "a") as file:
  print(json.dumps(list(map(ascii, sys.argv[1:]))), file=file)
if sys.argv[1] == "library":
  names = {{"hiphop": "Hip-Hop", "speech": ""}}
  print("label,tag")
  for label in sys.argv[sys.argv.index("--") + 1 :]:
    print(f"{{label}},{{names.get(label, label.title())}}")
  sys.exit()
status = 0
for path in sys.argv[sys.argv.index("--") + 1 :]:
  stem = os.path.splitext(os.path.basename(path))[0]
  genre, _, confidence = stem.rpartition("_")
  if genre == "absent":
    continue
  row = {{"file": os.fsencode(path).decode("utf-8", "backslashreplace"), "model": "fake"}}
  if genre == "broken":
    print("warning", file=sys.stderr)
    status, row = 1, row | {{"status": "failed", "genre": None, "error": "cannot be decoded"}}
  else:
    genre = genre.removeprefix("-").split("\\udcff")[0]
    row |= {{"status": "ok", "genre": genre, "error": None}}
    row |= {{f"p_{{name}}": float(confidence) - i / 100 for i, name in enumerate(genre.split(";"))}}
  print(json.dumps(row), flush=True)
sys.exit(status)
"""


class Beets(helper.PluginMixin, helper.ImportHelper):
  """A library of beets with the plugin, which calls a program that behaves as genre-jax."""

  plugin = "genrejax"
  preload_plugin = False

  def start(self, program, **options):
    """Load the plugin with some options."""
    self.config["genrejax"].set({"command": str(program), **options})
    self.load_plugins()

  def add(self, *names, **fields):
    """Add a copy of a recording under each name; return the items."""
    items = []
    for name in names:
      path = os.path.join(os.fsencode(self.lib_path), os.fsencode(name))
      shutil.copy(AUDIO, path)
      item = Item.from_path(path)
      item.update({"title": os.fsdecode(name).encode("ascii", "replace").decode(), **fields})
      item.add(self.lib)
      items.append(item)
    return items

  def genres(self):
    """Return {title: genres} of the library."""
    return {item.title: item.get("genres", with_album=False) for item in self.lib.items()}


@pytest.fixture
def library(monkeypatch):
  place = str(ROOT / "plugins" / "beets" / "beetsplug")
  monkeypatch.setattr(beetsplug, "__path__", [place, *beetsplug.__path__])
  monkeypatch.setattr(sys, "argv", ["beet"])
  library = Beets()
  library.setup_beets()
  yield library
  library.teardown_beets()


@pytest.fixture
def program(tmp_path):
  return write_program(
    tmp_path / "genre-jax", PROGRAM.format(python=sys.executable, log=str(tmp_path / "log"))
  )


def write_program(path, text):
  path.write_text(text)
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  return path


def calls(program):
  """Return the arguments of each call of the program."""
  return [json.loads(line) for line in program.with_name("log").read_text().splitlines()]


def test_the_command_sets_genres_of_items_that_have_none(library, program):
  library.start(program, model="~/mine")
  library.add("hiphop_0.9.flac", "rock_0.49.flac", "speech_0.9.flac", "jazz_0.8.flac")
  library.add("rock_0.9.flac", genres=["Doom", "Drone"])
  library.run_command("genrejax")
  assert library.genres() == {
    "hiphop_0.9.flac": ["Hip-Hop"],
    "rock_0.49.flac": [],
    "speech_0.9.flac": [],
    "jazz_0.8.flac": ["Jazz"],
    "rock_0.9.flac": ["Doom", "Drone"],
  }
  (item,) = library.lib.items("title:hiphop")
  assert (item.genrejax_model, item.genrejax_confidence) == ("fake", 0.9)
  assert Item.from_path(item.path).genres == ["Hip-Hop"]
  (predict,) = (call for call in calls(program) if "predict" in call[0])
  home = os.path.expanduser("~")
  assert predict[:4] == list(
    map(ascii, ["predict", "--format=jsonl", f"--model={home}/mine", "--"])
  )
  assert len(predict) == 8


def test_pretend_force_and_query(library, program, capsys):
  library.start(program)
  library.add("hiphop_0.9.flac", genres=["Doom"])
  library.add("rock_0.9.flac", "jazz_0.9.flac")
  library.run_command("genrejax", "--pretend", "title:rock")
  assert "0.90  Rock  " in capsys.readouterr().out
  assert set(map(str, library.genres().values())) == {"[]", "['Doom']"}
  library.run_command("genrejax", "--force", "title:hiphop")
  assert library.genres()["hiphop_0.9.flac"] == ["Hip-Hop"]
  assert library.genres()["rock_0.9.flac"] == []


def test_several_genres(library, program):
  library.start(program, max_genres=2)
  library.add("rock;speech;hiphop;jazz_0.9.flac")
  library.run_command("genrejax")
  assert list(library.genres().values()) == [["Rock", "Hip-Hop"]]


def test_files_that_fail_have_a_line_each(library, program, caplog):
  library.start(program)
  library.add("broken_1.flac", "absent_1.flac", "jazz_0.8.flac")
  with caplog.at_level(logging.WARNING):
    library.run_command("genrejax")
  warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
  assert [w.rpartition("/")[2] for w in warnings] == [
    "broken_1.flac: cannot be decoded",
    "absent_1.flac: genre-jax gave no prediction",
  ]
  assert library.genres()["jazz_0.8.flac"] == ["Jazz"]


def test_names_of_any_bytes(library, program):
  library.start(program)
  (odd, dash) = library.add(b"jazz\xff_0.9.flac", "-rock_0.9.flac")
  library.run_command("genrejax")
  assert [library.lib.get_item(item.id).genres for item in (odd, dash)] == [["Jazz"], ["Rock"]]


def test_many_files_are_several_processes(library, program, monkeypatch):
  library.start(program)
  monkeypatch.setattr("beetsplug.genrejax.ARGUMENT_BYTES", 1)
  library.add("jazz_0.8.flac", "rock_0.9.flac")
  library.run_command("genrejax")
  assert [call[0] for call in calls(program)].count("'predict'") == 2
  assert list(library.genres().values()) == [["Jazz"], ["Rock"]]


FAULTS = {
  "absent": ("", "cannot be started (No such file or directory): set `command`"),
  "failing": (
    "#!/bin/sh\necho notice >&2; echo 'error: --model=x: there is no such model' >&2; exit 2\n",
    "ended with status 2: --model=x: there is no such model",
  ),
  "silent": ("#!/bin/sh\nexit 3\n", "ended with status 3: no message"),
  "another": ("#!/bin/sh\necho hello\n", "its output is not that of genre-jax predict"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_cannot_be_used(library, tmp_path, fault):
  text, message = FAULTS[fault]
  program = write_program(tmp_path / "x", text) if text else tmp_path / "x"
  library.start(program)
  library.add("jazz_0.8.flac")
  with pytest.raises(ui.UserError) as error:
    library.run_command("genrejax")
  assert message in str(error.value) and "\n" not in str(error.value)
  assert str(program) in str(error.value)


def _import(library, *names, genres=()):
  folder = library.import_path / "album"
  folder.mkdir()
  for name in names:
    shutil.copy(AUDIO, folder / name)
    item = Item.from_path(os.fsencode(folder / name))
    item.update({"title": name, "artist": "A", "album": "B", "genres": list(genres)})
    item.write()
  library.setup_importer(autotag=False).run()


def test_an_import_sets_genres_and_that_of_the_album(library, program):
  library.start(program)
  _import(library, "rock_0.7.flac", "jazz_0.9.flac", "jazz_0.8.flac")
  found = library.genres()
  assert found["rock_0.7.flac"] == ["Rock"] and found["jazz_0.8.flac"] == ["Jazz"]
  (album,) = library.lib.albums()
  assert album.genres == ["Jazz"]
  assert [call[0] for call in calls(program)].count("'predict'") == 1


def test_an_import_keeps_the_genres_of_humans(library, program):
  library.start(program)
  _import(library, "rock_0.7.flac", genres=["Doom"])
  assert list(library.genres().values()) == [["Doom"]]
  assert library.lib.albums().get().genres == ["Doom"]
  assert not program.with_name("log").exists()


def test_an_import_ends_without_the_program(library, tmp_path, caplog):
  library.start(tmp_path / "absent")
  _import(library, "rock_0.7.flac")
  assert list(library.genres().values()) == [[]]
  assert "cannot be started" in caplog.text


def test_an_import_without_auto(library, program):
  library.start(program, auto=False)
  _import(library, "rock_0.7.flac")
  assert not program.with_name("log").exists()


@pytest.mark.slow
def test_the_real_program(library, tmp_path):
  command = shlex.join([sys.executable, "-P", "-m", "genre_jax"])
  path = f"PYTHONPATH={shlex.quote(str(ROOT))}"
  program = write_program(tmp_path / "genre-jax", f'#!/bin/sh\n{path} exec {command} "$@"\n')
  library.start(program, model="axis_features_10", min_confidence=0)
  library.add(b"\xff -.flac", "gone.flac")
  os.unlink(library.lib.items("title:gone").get().path)
  library.run_command("genrejax")
  assert sorted(map(bool, library.genres().values())) == [False, True]
