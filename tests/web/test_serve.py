"""Test `library serve` in a browser: table, song, review, keys; desktop and phone."""

import subprocess
import sys

import pytest

from genre_jax.library import database, tags
from tests.conftest import ROOT
from tests.inference.conftest import small_model  # noqa: F401
from tests.library.conftest import model  # noqa: F401
from tests.web.conftest import (
  end,
  free_port,
  need,
  screenshot,
  start,
  until,
  wait_for,
  write_library,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(small_model, model, tmp_path_factory):  # noqa: F811
  """Serve a library with --write; yield the address and the library's folder."""
  need("fastapi")
  folder, place = tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("temporary")
  path, port = write_library(folder, model, 60), free_port()
  child = start(
    place,
    "genre_jax",
    "library",
    "serve",
    f"--db={path}",
    f"--model={small_model}",
    f"--port={port}",
    "--write",
  )
  yield wait_for(child, port), folder
  end(child, place)


@pytest.fixture
def visit(visitor, served):
  visitor.goto(served[0])
  visitor.wait_for_selector("#rows tr")
  return visitor


def test_the_table(visit):
  assert visit.locator("#rows tr").count() == 50
  assert visit.inner_text("#range") == "1–50 of 61"
  visit.click("#next")
  visit.wait_for_selector("#range:has-text('51–61 of 61')")
  visit.keyboard.press("/")
  visit.keyboard.type("öde")
  visit.wait_for_selector("#range:has-text('1–1 of 1')")
  assert visit.inner_text("#rows button") == "<b>Bold</b> & öde"
  visit.fill("#words", "nothing like it")
  visit.wait_for_selector("#none:visible")
  visit.fill("#words", "")
  visit.select_option("#genre", index=1)
  until(visit, lambda: not visit.inner_text("#range").endswith("of 61"))
  visit.click("th button[data-order=confidence]")
  visit.wait_for_selector("th[aria-sort=ascending] [data-order=confidence]")
  screenshot(visit, "songs")


def test_a_song(visit):
  visit.click("#rows button:has-text('Song 3')")
  visit.wait_for_selector("#timeline:visible", timeout=60_000)
  assert visit.inner_text("#name") == "Artist 3 – Song 3"
  assert visit.locator("#similar a").count() > 3
  box = visit.locator("#track").bounding_box()
  until(visit, lambda: visit.evaluate("document.querySelector('#player').readyState") > 0)
  visit.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
  until(visit, lambda: visit.inner_text("#heard").startswith("0:02"))
  screenshot(visit, "song")
  visit.click("#similar a >> nth=0")
  until(visit, lambda: not visit.inner_text("#name").endswith("Song 3"))
  visit.go_back()
  visit.wait_for_selector("#name:has-text('Song 3')")
  visit.keyboard.press("Escape")
  visit.wait_for_selector("#song", state="hidden")
  assert visit.is_visible("#rows")


def test_a_file_is_dropped(visit):
  file = visit.evaluate_handle(
    "async () => { const sound = await (await fetch('/sound?id=1')).blob();"
    " const data = new DataTransfer(); data.items.add(new File([sound], 'dropped.flac'));"
    " return data; }"
  )
  visit.dispatch_event("#rows", "drop", {"dataTransfer": file})
  visit.wait_for_selector("#song h2:has-text('dropped.flac')", timeout=60_000)
  assert visit.is_hidden("#rows") and visit.is_hidden("#accept") and visit.is_visible("#overview")
  visit.click("a[href='#songs']")
  visit.wait_for_selector("#rows tr")
  assert visit.is_hidden("#song")


def test_a_format_that_the_browser_lacks_plays(visit):
  visit.fill("#words", "aiff")
  visit.click("#rows button:has-text('other.aiff')")
  until(visit, lambda: visit.evaluate("document.querySelector('#player').readyState") > 0)
  assert visit.evaluate("document.querySelector('#player').duration") == pytest.approx(3, abs=0.1)


def test_review_by_keyboard_alone(visit, served):
  visit.focus("a[href='#review']")
  visit.keyboard.press("Enter")
  visit.wait_for_selector("#review_hint:visible")
  for _ in range(60):  # to the first song
    if visit.evaluate("document.activeElement.closest('#rows') != null"):
      break
    visit.keyboard.press("Tab")
  visit.keyboard.press("Enter")
  visit.wait_for_selector("#song:visible")
  first = visit.inner_text("#name")
  screenshot(visit, "review")
  genre = visit.inner_text("#accept").removeprefix("Accept ")
  visit.keyboard.press("a")
  visit.wait_for_selector(f"#message:has-text('{genre}; its tags are written')")
  until(visit, lambda: visit.inner_text("#name") != first)
  second = visit.inner_text("#name")
  visit.keyboard.press("n")
  until(visit, lambda: visit.inner_text("#name") != second)
  third = visit.inner_text("#name")
  visit.keyboard.press("c")
  visit.keyboard.type("Dub")
  visit.keyboard.press("Enter")
  visit.wait_for_selector("#message:has-text('Dub; its tags are written')")
  db = database.open_database(served[1] / "library.db")
  title = third.split(" – ")[-1]
  [path] = db.execute(
    "SELECT path FROM file WHERE json_extract(tags, '$.title') = ?", (title,)
  ).fetchone()
  db.close()
  assert list(tags.describe(path.decode())["genres"].values()) == [["Dub"]]


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["x"], "library serve takes no file or folder: 'x'"),
    (["--db=/nonexistent/x.db"], "there is no library: run `genre-jax library scan FOLDER`"),
    (["--host=192.0.2.7"], "cannot listen there"),
    (["--model=other"], "the library has no analyses by it"),
  ],
)
def test_mistakes_get_one_line(served, arguments, message):
  db = [] if "--db" in arguments[0] else [f"--db={served[1] / 'library.db'}"]
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax", "library", "serve", *db, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2 and message in done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
