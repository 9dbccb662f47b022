"""Pages of a small model: one with a library in this process, and commands that serve."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile

from genre_jax.library import database, tags
from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401
from tests.library.conftest import model, scan, write_songs  # noqa: F401

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def need(package):
  return pytest.importorskip(package, reason=f"needs {package}: pip install 'genre-jax[web]'")


def write_library(folder, model, count=8):  # noqa: F811
  """Write songs with tags, and a WAV, a WavPack-named text and AIFF; scan them; return the file."""
  music = folder / "music"
  for number, path in enumerate(write_songs(music, count, seconds=4)):
    with open(path, "r+b") as file:
      found = tags.flac.FLAC(file)
      found["title"] = [f"Song {number}", "<b>Bold</b> & öde"][number == 1]
      found["artist"] = f"Artist {number}"
      if number == 2:
        found["genre"] = "Polka"
      file.seek(0)
      found.save(file)
  soundfile.write(music / "other.aiff", sound(3, 8000, 50), 8000)
  db = database.open_database(folder / "library.db", create=True)
  counts, failures = scan(db, model, music)
  assert counts == {"analyzed": count + 1} and not failures
  db.close()
  return folder / "library.db"


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def start(place, *arguments):
  """Start a command that serves; its temporary files are in a folder."""
  return subprocess.Popen(
    [sys.executable, "-m", *arguments],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, "TMPDIR": str(place)},
  )


def wait_for(child, port):
  """Wait until a command answers; return the address."""
  address = f"http://127.0.0.1:{port}"
  for _ in range(600):
    try:
      urllib.request.urlopen(address, timeout=5).close()
      return address
    except (urllib.error.URLError, OSError):
      assert child.poll() is None, child.stdout.read()
      time.sleep(0.1)
  raise TimeoutError(address)


def end(child, place):
  """End a command; check that it printed its address alone and left no files."""
  child.terminate()
  out, _ = child.communicate(timeout=60)
  assert re.fullmatch(r"http://127\.0\.0\.1:\d+  \(Ctrl-C stops it\)\n(stopped.*\n)?", out), out
  assert not list(place.glob("genre_jax-*")), "files of visitors are left behind"


@pytest.fixture(scope="module")
def server(small_model, tmp_path_factory):  # noqa: F811
  """Serve a page; yield its address and the folder of its temporary files."""
  need("fastapi")
  place, port = tmp_path_factory.mktemp("temporary"), free_port()
  child = start(
    place,
    "genre_jax.page",
    f"--model={small_model}",
    f"--port={port}",
    "--max_megabytes=2",
    "--max_minutes=0.5",
  )
  yield wait_for(child, port), place
  end(child, place)


@pytest.fixture(scope="module")
def microphone_file(tmp_path_factory):
  """Return a WAV file that the browser's microphone repeats."""
  path = tmp_path_factory.mktemp("microphone") / "microphone.wav"
  soundfile.write(path, sound(12, 48000), 48000, subtype="PCM_16")
  return path


@pytest.fixture(scope="module")
def browser(microphone_file):
  """Yield Chromium with a microphone that repeats a clip."""
  playwright = need("playwright.sync_api")
  if not CHROMIUM:
    pytest.skip("needs Debian's chromium: apt install chromium")
  with playwright.sync_playwright() as play:
    chromium = play.chromium.launch(
      executable_path=CHROMIUM,
      args=[
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone_file}",
      ],
    )
    yield chromium
    chromium.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def visitor(request, browser):
  """Yield a visitor's page; check afterwards: no other machine, no fault, nothing too wide."""
  width, height = request.param
  context = browser.new_context(
    viewport={"width": width, "height": height}, permissions=["microphone"]
  )
  page = context.new_page()
  requested, faults = [], []
  page.on("request", lambda request: requested.append(request.url))
  page.on("websocket", lambda request: requested.append(request.url))
  page.on("pageerror", lambda error: faults.append(str(error)))
  page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
  page.width = width
  yield page
  # The page is not wider than the screen.
  assert page.evaluate("document.documentElement.scrollWidth") <= width
  here = r"(https?|wss?)://127\.0\.0\.1:|data:|blob:"
  outside = [url for url in requested if not re.match(here, url)]
  context.close()
  assert requested and not outside, f"requests to other machines: {outside}"
  # Chromium reports each answer with an error status; the page shows its reason.
  assert not [fault for fault in faults if "Failed to load resource" not in fault]


def screenshot(page, name):
  """Save a picture in $GENRE_JAX_SCREENSHOTS if it is set."""
  if folder := os.environ.get("GENRE_JAX_SCREENSHOTS"):
    page.screenshot(path=os.path.join(folder, f"{name}-{page.width}.png"), full_page=True)


def until(page, check, seconds=60):
  """Wait until check() is true; the page's security policy forbids `wait_for_function`."""
  for _ in range(20 * seconds):
    if check():
      return
    page.wait_for_timeout(50)
  raise TimeoutError


def noise(seconds, rate=8000):
  return np.tile(sound(10, rate), 1 + seconds // 10)[: seconds * rate]
