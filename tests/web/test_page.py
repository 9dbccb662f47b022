"""Test the page in a browser: predictions, refusals, the microphone, no request to other machines.

Needs gradio, playwright and Debian's chromium. Screenshots are saved in $GENRE_JAX_SCREENSHOTS if
it is set.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401
from tests.web.conftest import need, start_page

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Return a folder with a clip, a text named like a clip, a too long and a too large clip."""
  folder = tmp_path_factory.mktemp("files")
  soundfile.write(folder / "clip.flac", sound(12), 8000)
  (folder / "words.mp3").write_text("not audio " * 50)
  soundfile.write(folder / "long.flac", np.tile(sound(10), 4), 8000)
  soundfile.write(folder / "large.wav", sound(20, 96000), 96000)
  return folder


@pytest.fixture(scope="module")
def browser(files):
  """Yield Chromium with a microphone that repeats a clip."""
  playwright = need("playwright.sync_api")
  if not CHROMIUM:
    pytest.skip("needs Debian's chromium: apt install chromium")
  soundfile.write(files / "microphone.wav", sound(12, 48000), 48000, subtype="PCM_16")
  with playwright.sync_playwright() as play:
    chromium = play.chromium.launch(
      executable_path=CHROMIUM,
      args=[
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={files / 'microphone.wav'}",
      ],
    )
    yield chromium
    chromium.close()


@pytest.fixture(params=[(1280, 1400), (390, 844)], ids=["desktop", "phone"])
def visit(request, browser, server):
  """Yield a visitor's page; check afterwards that no other machine was contacted."""
  width, height = request.param
  context = browser.new_context(
    viewport={"width": width, "height": height}, permissions=["microphone"]
  )
  page = context.new_page()
  requested = []
  page.on("request", lambda request: requested.append(request.url))
  page.on("websocket", lambda request: requested.append(request.url))
  page.goto(server[0])
  page.wait_for_selector("#file input[type=file]", state="attached", timeout=60_000)
  page.width = width
  yield page
  here = r"(https?|wss?)://127\.0\.0\.1:|data:|blob:"
  outside = [url for url in requested if not re.match(here, url)]
  context.close()
  assert requested and not outside, f"requests to other machines: {outside}"


def _screenshot(page, name):
  if folder := os.environ.get("GENRE_JAX_SCREENSHOTS"):
    page.screenshot(path=pathlib.Path(folder) / f"{name}-{page.width}.png", full_page=True)


def _upload(page, path):
  page.set_input_files("#file input[type=file]", path)


def test_a_clip_is_predicted_and_explained(visit, files):
  _upload(visit, files / "clip.flac")
  visit.wait_for_selector("#message:has-text('clip.flac')", timeout=120_000)
  text = visit.inner_text("#message")
  assert re.search(r"clip\.flac, 12 s: (calm|loud|odd), confidence 0\.\d\d", text), text
  visit.wait_for_selector("#overview img", timeout=60_000)
  assert visit.inner_text("#genres").count("%") == 3
  # The page is not wider than the screen.
  assert visit.evaluate("document.documentElement.scrollWidth") <= visit.width
  visit.click("#explain")
  visit.wait_for_selector("#cam img", timeout=120_000)
  visit.wait_for_timeout(500)
  _screenshot(visit, "clip")


def test_a_text_is_refused(visit, files):
  _upload(visit, files / "words.mp3")
  visit.wait_for_selector("#message:has-text('words.mp3')", timeout=60_000)
  assert "cannot be decoded: it is not audio" in visit.inner_text("#message")
  _screenshot(visit, "refused")


def test_too_long_or_too_large_files_are_refused(visit, files):
  _upload(visit, files / "long.flac")
  visit.wait_for_selector("#message:has-text('longer than')", timeout=60_000)
  visit.reload()
  visit.wait_for_selector("#file input[type=file]", state="attached", timeout=60_000)
  _upload(visit, files / "large.wav")
  visit.wait_for_selector("text=/exceed|too large|maximum/i", timeout=60_000)
  assert "large.wav" not in visit.inner_text("#message")


def test_the_microphone_is_classified_live(visit):
  visit.click("button[role=tab]:has-text('Microphone')")
  visit.click("#microphone button:has-text('Record')", timeout=60_000)
  visit.wait_for_selector("#now:has-text('after')", timeout=120_000)
  first = visit.inner_text("#now")
  visit.wait_for_function(
    "before => document.querySelector('#now').innerText != before", arg=first, timeout=60_000
  )
  _screenshot(visit, "microphone")


def test_a_port_in_use(small_model, tmp_path):  # noqa: F811
  need("gradio")
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    child = start_page(small_model, port, tmp_path)
    out, _ = child.communicate(timeout=300)
  assert child.returncode == 2 and f"--port={port}" in out and "Traceback" not in out


def test_without_gradio(small_model, tmp_path):  # noqa: F811
  (tmp_path / "gradio.py").write_text("raise ImportError('none')")
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax.page", f"--model={small_model}"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and "pip install 'genre-jax[web]'" in done.stderr


def test_markdown_in_a_name_stays_text():
  from genre_jax.web.page import escape_markdown

  assert "<" not in escape_markdown("<img src=x onerror=alert(1)>.mp3")
