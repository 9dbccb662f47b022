"""A page of a small model, served for the tests of a module."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.conftest import ROOT
from tests.inference.conftest import small_model  # noqa: F401


def need(package):
  return pytest.importorskip(package, reason=f"needs {package}: pip install 'genre-jax[web]'")


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def start_page(model, port, place, *arguments):
  return subprocess.Popen(
    [sys.executable, "-m", "genre_jax.page", f"--model={model}", f"--port={port}", *arguments],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, "TMPDIR": str(place)},
  )


@pytest.fixture(scope="module")
def server(small_model, tmp_path_factory):  # noqa: F811
  """Serve a page; yield its address and the folder of its temporary files."""
  need("gradio")
  place, port = tmp_path_factory.mktemp("temporary"), free_port()
  child = start_page(small_model, port, place, "--max_megabytes=2", "--max_minutes=0.5")
  address = f"http://127.0.0.1:{port}"
  for _ in range(600):
    try:
      urllib.request.urlopen(address, timeout=5).close()
      break
    except (urllib.error.URLError, OSError):
      assert child.poll() is None, child.stdout.read()
      time.sleep(0.2)
  yield address, place
  child.terminate()
  out, _ = child.communicate(timeout=60)
  # gradio prints a traceback for a path that is not that of an upload.
  errors = re.findall(r"^Traceback .*\n(?: .*\n)*(\S+?)(?::|$)", out, re.MULTILINE)
  assert len(errors) == out.count("Traceback"), out
  assert set(errors) <= {"gradio.exceptions.InvalidPathError"}, out
  assert not list(place.glob("genre_jax-page-*")), "uploads are left behind"
