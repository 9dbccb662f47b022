"""Draw docs/assets/library.png: the page of `library serve` with clips of the built-in corpus.

    PYTHONPATH=. python tools/screenshot_library.py

Writes some clips with tags into a temporary folder, scans them with axis_features_10, serves them,
and takes a picture with headless Chromium. Needs the extras `library`, `web` and `test`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import mutagen.flac
import numpy as np
import soundfile
from screenshot_report import ROOT, take_screenshot

from genre_jax.data.sources import synthetic

PICTURE = ROOT / "docs" / "assets" / "library.png"
SONGS, STEP, RATE = 14, 7, 22050  # songs, every so many clips of the corpus, and Hz
OTHER = 72  # clips from one style to the next: a song has three styles
WIDTH, HEIGHT = 1200, 860  # CSS pixels
READY_MS = 20_000  # until the page has its timeline
COMMAND = (sys.executable, "-m", "genre_jax", "library")


def write_songs(folder: pathlib.Path) -> None:
  """Write three clips each as FLAC with title and artist."""
  for number in range(SONGS):
    path = folder / f"{number:02}.flac"
    clips = [synthetic.synthesize(STEP * number + OTHER * style, RATE) for style in range(3)]
    soundfile.write(path, np.concatenate(clips), RATE)
    file = mutagen.flac.FLAC(path)
    file["title"], file["artist"] = [f"Tune {number + 1}"], [f"Artist {number % 5 + 1}"]
    file.save()


def main() -> None:
  """Write songs, scan and serve them, and take the picture."""
  with tempfile.TemporaryDirectory() as folder:
    music = pathlib.Path(folder) / "music"
    music.mkdir()
    write_songs(music)
    db = f"--db={folder}/library.db"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    scan = (*COMMAND, "scan", str(music), db, "--model=axis_features_10")
    subprocess.run(scan, env=environment, check=True)
    serve = (*COMMAND, "serve", db, "--port=0")
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, text=True) as server:
      try:
        address = server.stdout.readline().split()[0]
        page = f"{address}/#songs/2"
        take_screenshot(page, PICTURE, WIDTH, HEIGHT, f"--virtual-time-budget={READY_MS}")
      finally:
        server.terminate()


if __name__ == "__main__":
  main()
