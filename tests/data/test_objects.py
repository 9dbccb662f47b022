"""Test object storage: in memory for lists, a web server for a whole job."""

import csv
import functools
import http.server
import subprocess
import sys
import threading

import pytest
import soundfile

from genre_jax.data import objects
from genre_jax.data.decoder import UnreadableAudio
from genre_jax.errors import UserError
from genre_jax.inference import predict
from genre_jax.inference.track_log_mel import read_track_log_mel
from tests.conftest import ROOT
from tests.inference.conftest import SMALL, small_model, sound  # noqa: F401


@pytest.fixture
def memory(monkeypatch, tmp_path):
  """Return fsspec's file system in memory, with a folder of music; pauses have no length."""
  fsspec = pytest.importorskip("fsspec")
  monkeypatch.setitem(objects.PACKAGES, "memory", "fsspec")
  monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0))
  files = fsspec.filesystem("memory")
  soundfile.write(tmp_path / "a.wav", sound(2), 8000)
  for name in ("b.flac", "deep/a.wav", ".hidden/c.wav", "deep/.d.wav", "notes.txt"):
    files.pipe(f"/music/{name}", (tmp_path / "a.wav").read_bytes())
  yield files
  files.store.clear()


@pytest.mark.parametrize(
  ("path", "expected"),
  [
    ("s3://bucket/song.mp3", "s3"),
    ("https://host/song.mp3", "https"),
    ("file:///etc/passwd", ""),
    ("simplecache::s3://bucket/song", ""),
    ("s3:/bucket/song", ""),
    ("music/s3://song", ""),
    ("-", ""),
  ],
)
def test_only_urls_of_storage_are_fetched(path, expected):
  assert objects.protocol(path) == expected


def test_folders_of_objects_are_listed(memory):
  both = [("memory:///music/b.flac", ""), ("memory:///music/deep/a.wav", "")]
  assert objects.find_objects("memory:///music") == both
  assert objects.find_objects("memory:///music/") == both
  assert objects.find_objects("memory:///music/notes.txt") == [("memory:///music/notes.txt", "")]
  ((url, fault),) = objects.find_objects("memory://absent")
  assert url == "memory://absent" and "no such object" in fault


@pytest.mark.slow
def test_objects_are_predicted_as_files_are(memory, small_model, tmp_path):  # noqa: F811
  urls = ["memory:///music", "memory:///music/b.flac", "memory:///music/notes.txt"]
  predictions = list(predict([*urls, tmp_path / "a.wav"], str(small_model)))
  assert [prediction.file for prediction in predictions] == [
    "memory:///music/b.flac",
    "memory:///music/deep/a.wav",
    "memory:///music/notes.txt",
    str(tmp_path / "a.wav"),
  ]
  assert {prediction.confidence for prediction in predictions} == {predictions[0].confidence}


def test_urls_are_fetched_only_where_they_are_expected(memory, tmp_path):
  url = "memory:///music/b.flac"
  assert read_track_log_mel(url, SMALL, str(tmp_path)) == "there is no such file"
  assert read_track_log_mel(url, SMALL, str(tmp_path), urls=True).samples == 16000


def test_faults_of_storage(memory, monkeypatch, tmp_path):
  calls = []

  def fail(error, *_):
    calls.append(error)
    raise error

  with pytest.raises(UnreadableAudio, match="no such object"):
    with objects.fetched("memory:///music/absent.wav", str(tmp_path)):
      pass
  for error, tries in ((RuntimeError("503 slow down\nmore"), 3), (PermissionError("denied"), 1)):
    calls.clear()
    monkeypatch.setattr(type(memory), "get_file", lambda *_, error=error: fail(error))
    with pytest.raises(UnreadableAudio, match=f"cannot be fetched: {str(error).splitlines()[0]}$"):
      with objects.fetched("memory:///music/b.flac", str(tmp_path)):
        pass
    assert len(calls) == tries
  monkeypatch.setattr(type(memory), "find", lambda *_: fail(RuntimeError("no route")))
  with pytest.raises(UserError, match="memory:///music: cannot be listed .no route"):
    objects.find_objects("memory:///music")
  assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(objects.PACKAGES, "s3", "s3fs")
  monkeypatch.setitem(sys.modules, "s3fs", None)
  with pytest.raises(UserError, match=r"s3://bucket/a.mp3 needs s3fs: pip install .*\[remote\]"):
    objects.find_objects("s3://bucket/a.mp3")


@pytest.mark.slow
def test_a_web_server_is_read_once_for_each_file(tmp_path, small_model):  # noqa: F811
  pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'genre-jax[remote]'")
  sent = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
      pass

    def copyfile(self, source, target):
      sent.append(self.path)
      super().copyfile(source, target)

  (tmp_path / "music").mkdir()
  soundfile.write(tmp_path / "music" / "a.wav", sound(2), 8000)
  handler = functools.partial(Handler, directory=tmp_path / "music")
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}"
    urls = [f"{place}/a.wav", f"{place}/absent.wav"]
    found, absent = predict(urls, str(small_model), workers=1)
    server.shutdown()
  expected = next(predict(tmp_path / "music" / "a.wav", str(small_model)))
  assert found.probabilities == expected.probabilities and found.file == f"{place}/a.wav"
  assert absent.status == "failed" and absent.error == "there is no such object"
  assert sent == ["/a.wav"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of moto and boto3
def test_a_job_of_a_bucket(tmp_path, small_model, monkeypatch):  # noqa: F811
  pytest.importorskip("s3fs", reason="needs s3fs: pip install 'genre-jax[remote]'")
  server = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]' boto3")
  import boto3

  soundfile.write(tmp_path / "a.wav", sound(2), 8000)
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    monkeypatch.setenv(name, "test")
  monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
  storage = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
  storage.start()
  try:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*storage.get_host_and_port()))
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for name in ("music/a.wav", "music/deep/b c.wav", "music/notes.txt", "other/d.wav"):
      client.upload_file(str(tmp_path / "a.wav"), "bucket", name)
    command = [sys.executable, "-m", "genre_jax.job"]
    steps = (
      ["predict", "work", "s3://bucket/music", "s3://bucket/absent.wav", f"--model={small_model}"],
      ["merge", "work", "--out=a.csv"],
    )
    done = [
      subprocess.run([*command, *step], cwd=tmp_path, capture_output=True, text=True)
      for step in steps
    ]
  finally:
    storage.stop()
  assert [step.returncode for step in done] == [1, 0], done
  assert "3 files in 1 partitions: 2 predicted, 1 failed" in done[0].stderr
  rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
  names = ["s3://bucket/absent.wav", "s3://bucket/music/a.wav", "s3://bucket/music/deep/b c.wav"]
  assert [row["file"] for row in rows] == names
  assert [row["status"] for row in rows] == ["failed", "ok", "ok"]
