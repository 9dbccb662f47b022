"""Draw docs/assets/report.png: the report of a short training on the built-in corpus.

    python tools/screenshot_report.py [--workdir=DIR]

Trains `experiments/synthetic.py` with the network `split_cnn` (about two minutes on two cores),
and takes a picture of the top of its eval/report.html with headless Chromium. The training is
skipped where --workdir contains a finished run.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import PIL.Image

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "assets" / "report.png"
CONFIG = ROOT / "experiments" / "synthetic.py"
WIDTH, HEIGHT = 860, 1330  # CSS pixels
MAX_BYTES = 300_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No window, no network, no dialogs.
BROWSER_FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--hide-scrollbars",
)


def train(workdir: pathlib.Path) -> pathlib.Path:
  """Train the run unless it is finished, and return the path of its report."""
  command = (sys.executable, "-m", "genre_jax.main")
  flags = (f"--config={CONFIG}:split_cnn", f"--workdir={workdir}")
  subprocess.run(command + flags, cwd=ROOT, check=True)
  return workdir / "eval" / "report.html"


def take_screenshot(page: str, picture: pathlib.Path, width: int, height: int, *flags: str) -> None:
  """Write a PNG of the top of a page.

  Args:
    page: URL.
    picture: file to write.
    width: CSS pixels.
    height: CSS pixels.
    flags: further flags of the browser.

  Raises:
    SystemExit: If no browser is installed, or the picture is larger than MAX_BYTES.
  """
  browser = next(filter(None, map(shutil.which, BROWSERS)), None)
  if browser is None:
    raise SystemExit("error: no Chromium on the PATH: install the package chromium")
  with tempfile.TemporaryDirectory() as folder:
    raw = pathlib.Path(folder) / "page.png"
    command = (browser, *BROWSER_FLAGS, *flags, f"--user-data-dir={folder}/profile")
    subprocess.run(
      (*command, f"--window-size={width},{height}", f"--screenshot={raw}", page),
      check=True,
      capture_output=True,
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    with PIL.Image.open(raw) as image:
      image.convert("RGB").quantize(256).save(picture, optimize=True)
  size = picture.stat().st_size
  if size > MAX_BYTES:
    raise SystemExit(f"error: {picture} has {size:,} bytes, more than {MAX_BYTES:,}")
  print(f"written   {picture}, {size:,} bytes")


def main() -> None:
  """Train, then draw."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, default=ROOT / "runs" / "synthetic_split_cnn")
  workdir = parser.parse_args().workdir.resolve()
  take_screenshot(train(workdir).as_uri(), PICTURE, WIDTH, HEIGHT)


if __name__ == "__main__":
  main()
