"""Measure `library serve` on synthetic songs: `python -m benchmarks.serve [--rows=100000]`.

Prints seconds until the page has its first table, and of searches, filters and orders. The requests
go through a socket to a server in this process. With playwright and chromium, it also prints the
time until the table is in a browser.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import uvicorn

from benchmarks.library import fill
from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.library import database
from genre_jax.web import server
from genre_jax.web.app import STATIC, Settings, build_app
from genre_jax.web.library_routes import add_library_routes
from genre_jax.web.library_service import LibraryService
from genre_jax.web.predictor import Predictor
from genre_jax.web.sound import DecodedFiles

REPEATS = 9
QUERIES = {
  "first rows": {},
  "search, 1 word": {"words": "4711"},
  "search, 2 words": {"words": "music 99", "order": "confidence"},
  "search, all match": {"words": "flac", "order": "confidence"},
  "genre and confidence": {"genre": "class 3", "min_confidence": 0.9},
  "review": {"unreviewed": True, "order": "confidence"},
  "by artist": {"order": "artist"},
  "by title": {"order": "title"},
  "last page": {"offset": 99_950},
}


def start(path: pathlib.Path) -> tuple[str, uvicorn.Server]:
  """Serve a library without a model in a thread; return the address and the server."""
  with database.open_database(path) as db:
    known = database.find_model(db)
  calls = IsolatedCalls()
  predictor = Predictor(lambda: None, calls, 1)
  app = build_app(Settings(True, False, "synthetic", 1, 1), predictor, "", "127.0.0.1")
  add_library_routes(app, LibraryService(path, known), predictor, DecodedFiles(calls))
  listener = server.listen("127.0.0.1", 0)
  running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
  threading.Thread(target=running.run, args=([listener],), daemon=True).start()
  return f"http://127.0.0.1:{listener.getsockname()[1]}", running


def get(address: str, path: str, **values) -> bytes:
  """Return the answer to a request."""
  with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(values)}") as answer:
    return answer.read()


def median(function) -> float:
  """Return the median of the seconds that a function takes."""
  times = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    function()
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def first_table(address: str) -> None:
  """Request what a browser requests until it has the first table."""
  for path in ("/", *[f"/static/{name}" for name in STATIC], "/settings", "/tracks"):
    get(address, path)


def in_browser(address: str) -> float:
  """Return the median of the seconds from opening the page to its first row, in Chromium."""
  from playwright.sync_api import sync_playwright

  with sync_playwright() as play:
    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
    page = browser.new_page()

    def visit():
      page.goto(address, wait_until="commit")
      page.wait_for_selector("#rows tr")
      page.goto("about:blank")

    visit()
    seconds = median(visit)
    browser.close()
  return seconds


def main() -> None:
  """Fill a library, serve it, and print what each request took."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=100_000, help="number of songs")
  rows = parser.parse_args().rows
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "library.db")
    db = database.open_database(path, create=True)
    fill(db, rows)
    db.execute("UPDATE analysis SET confidence = file * 7919 % 1000 / 1000.0")
    db.close()
    address, running = start(path)
    while not running.started:
      time.sleep(0.01)
    begin = time.perf_counter()
    first_table(address)
    print(f"first table, first visit    {time.perf_counter() - begin:7.3f} s")
    print(f"first table, median         {median(lambda: first_table(address)):7.3f} s")
    for name, values in QUERIES.items():
      total = json.loads(get(address, "/tracks", **values))["total"]
      seconds = median(lambda values=values: get(address, "/tracks", **values))
      print(f"{name:27} {seconds:7.3f} s  {total:9,} songs")
    get(address, "/similar", id=1)  # reads the embeddings
    print(f"{'similar songs':27} {median(lambda: get(address, '/similar', id=1)):7.3f} s")
    try:
      print(f"{'first table in Chromium':27} {in_browser(address):7.3f} s")
    except ImportError:
      print("first table in Chromium: needs playwright")
    running.should_exit = True


if __name__ == "__main__":
  main()
