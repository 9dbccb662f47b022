"""Test the page of one file in a browser: predictions, refusals, the microphone.

Needs playwright and Debian's chromium. Screenshots are saved in $GENRE_JAX_SCREENSHOTS if it is
set.
"""

import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401
from tests.web.conftest import need, noise, screenshot, start, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Return a folder with a clip, a text named like a clip, a too long and a too large clip."""
  folder = tmp_path_factory.mktemp("files")
  soundfile.write(folder / "clip.flac", sound(12), 8000)
  soundfile.write(folder / "clip.aiff", sound(4), 8000)
  (folder / "<img src=x onerror=alert(1)>.mp3").write_text("not audio " * 50)
  soundfile.write(folder / "long.flac", noise(40), 8000)
  soundfile.write(folder / "large.wav", np.tile(sound(20, 96000), 2), 96000)
  return folder


@pytest.fixture
def visit(visitor, server):
  """Yield a visitor on the page."""
  visitor.goto(server[0])
  visitor.wait_for_selector("#zone")
  assert not visitor.is_visible("a[href='#songs']")
  return visitor


def test_a_file_is_predicted_and_explained(visit, files):
  visit.set_input_files("#chosen", files / "clip.flac")
  visit.wait_for_selector("#song h2:has-text('clip.flac')", timeout=60_000)
  text = visit.inner_text("#waiting")
  assert re.fullmatch(r"(calm|loud|odd), confidence 0\.\d\d", text), text
  assert visit.locator("#labels li").count() == 3
  assert visit.evaluate("document.querySelector('#overview').naturalWidth") > 500
  # The file plays from the visitor's own machine; the cursor follows.
  assert visit.get_attribute("#player", "src").startswith("blob:")
  visit.focus("#track")
  visit.keyboard.press("ArrowRight")
  until(visit, lambda: visit.inner_text("#heard").startswith("0:05"))
  visit.click("#explain")
  visit.wait_for_selector("#evidence:not([hidden])", timeout=120_000)
  screenshot(visit, "file")


def test_bad_files_get_a_reason(visit, files):
  for name, reason in [
    ("<img src=x onerror=alert(1)>.mp3", "it is not audio"),
    ("long.flac", "is longer than 0.5 minutes"),
    ("large.wav", "the file is larger than 2 MB"),
  ]:
    visit.set_input_files("#chosen", files / name)
    visit.wait_for_selector(f"#message.fault:has-text('{reason}')", timeout=60_000)
    assert visit.inner_text("#message").startswith(name)
    assert visit.is_hidden("#song") and visit.locator("#message img").count() == 0
  screenshot(visit, "refused")


def test_a_format_that_the_browser_lacks(visit, files):
  visit.set_input_files("#chosen", files / "clip.aiff")
  visit.wait_for_selector("#fault:has-text('does not play')", timeout=60_000)
  assert visit.locator("#labels li").count() == 3


def test_the_microphone_is_classified_live(visit):
  visit.click("a[href='#microphone']")
  visit.click("#record")
  visit.wait_for_selector("#now:has-text('after')", timeout=60_000)
  first = visit.inner_text("#now")
  until(visit, lambda: visit.inner_text("#now") != first)
  screenshot(visit, "microphone")
  visit.click("#record")
  assert visit.inner_text("#record") == "Record"


def test_a_port_in_use(small_model, tmp_path):  # noqa: F811
  need("fastapi")
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    child = start(tmp_path, "genre_jax.page", f"--model={small_model}", f"--port={port}")
    out, _ = child.communicate(timeout=300)
  assert child.returncode == 2 and f"--port={port}" in out and "Traceback" not in out


def test_without_the_extra(small_model, tmp_path):  # noqa: F811
  (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('none', name='uvicorn')")
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax.page", f"--model={small_model}"],
    cwd=tmp_path,
    env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and "pip install 'genre-jax[web]'" in done.stderr
