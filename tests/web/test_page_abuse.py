"""The page gives no file of the machine away, and bad visitors do not keep others from it."""

import concurrent.futures
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
import soundfile

from tests.conftest import AUDIO
from tests.web.conftest import noise

pytestmark = pytest.mark.slow

SOUND = AUDIO.read_bytes()


def fetch(address, path, data=None, **headers):
  """Return the status and the content of a request."""
  headers = {name.replace("_", "-"): value for name, value in headers.items()}
  request = urllib.request.Request(address + path, data=data, headers=headers)
  try:
    with urllib.request.urlopen(request, timeout=120) as answer:
      return answer.status, answer.read()
  except urllib.error.HTTPError as error:
    return error.code, error.read()


def predict(address, content, name="x.flac", **headers):
  """Predict a file; return the status, and the JSON of the answer."""
  query = urllib.parse.urlencode({"name": name})
  status, answer = fetch(address, f"/predict?{query}", content, **headers)
  return status, json.loads(answer) if answer[:1] == b"{" else {}


def stored(place):
  """Return the bytes in the files of visitors."""
  folders = place.glob("genre_jax-page-*")
  return sum(file.stat().st_size for folder in folders for file in folder.iterdir())


@pytest.mark.parametrize(
  "path",
  [
    "/{secret}",
    "/static/{secret}",
    "/static/../../../../../..{secret}",
    "/static/..%2f..%2f..%2f..%2f..%2f..{secret}",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{secret}",
    "/sound?id={secret}",
    "/predict?name={secret}",
  ],
)
def test_no_file_of_the_machine_can_be_fetched(server, tmp_path, path):
  (tmp_path / "secret").write_text("do not read me")
  secret = urllib.parse.quote(str(tmp_path / "secret"))
  status, content = fetch(server[0], path.format(secret=secret))
  assert status >= 400 and b"do not read me" not in content


@pytest.mark.parametrize(
  "name", ["../../../tmp/x.flac", "/tmp/x.flac", "..\\x.flac", "\0", "", "é"]
)
def test_a_name_is_only_shown(server, name):
  status, answer = predict(server[0], SOUND, name)
  assert status == 200 and answer["timeline"]["genre"] in ("calm", "loud", "odd")
  assert stored(server[1]) == 0


def test_other_sites_are_refused(server):
  assert predict(server[0], SOUND, Origin="http://evil.example")[0] == 403
  assert fetch(server[0], "/settings", Host="evil.example")[0] == 403
  assert fetch(server[0], "/settings", Host="[")[0] in (400, 403)
  assert predict(server[0], SOUND, Origin=server[0])[0] == 200


def _connection(server, length):
  """Return a connection with the head of an upload."""
  connection = http.client.HTTPConnection(urllib.parse.urlsplit(server[0]).netloc, timeout=60)
  connection.putrequest("POST", "/predict")
  for name, value in length.items():
    connection.putheader(name, value)
  connection.endheaders()
  return connection


@pytest.mark.parametrize(
  "length", [{"Content-Length": str(10 << 30)}, {"Transfer-Encoding": "chunked"}]
)
def test_a_huge_upload_is_cut_off(server, length):
  connection = _connection(server, length)
  part = bytes(1 << 20)
  if "Transfer-Encoding" in length:
    part = b"%x\r\n%b\r\n" % (len(part), part)
  try:
    for _ in range(200):
      connection.send(part)
  except OSError:
    pass  # cut off
  else:
    assert connection.getresponse().status == 413
  connection.close()
  assert stored(server[1]) < 4 << 20


def test_a_slow_or_cancelled_upload_keeps_nobody_waiting(server):
  slow = [_connection(server, {"Content-Length": "100000"}) for _ in range(60)]
  for connection in slow:
    connection.send(b"fLaC")
  assert predict(server[0], SOUND)[0] == 200
  for connection in slow:
    connection.close()
  assert predict(server[0], SOUND)[0] == 200
  assert stored(server[1]) == 0


def test_hours_of_silence_are_refused(server, tmp_path):
  with soundfile.SoundFile(tmp_path / "silence.flac", "w", 8000, 1) as file:
    for _ in range(60):
      file.write(0 * noise(60))
  content = (tmp_path / "silence.flac").read_bytes()
  assert len(content) < 1 << 20
  status, answer = predict(server[0], content)
  assert status == 400 and "is longer than 0.5 minutes" in answer["detail"]


def test_twenty_one_visitors_at_once_get_predictions(server):
  with concurrent.futures.ThreadPoolExecutor(21) as pool:
    answers = list(pool.map(lambda _: predict(server[0], SOUND), range(21)))
  assert all(status == 200 and answer["timeline"]["genre"] for status, answer in answers)
