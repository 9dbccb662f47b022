"""The page gives no file of the machine away, and bad visitors do not keep others from it."""

import concurrent.futures
import http.client
import json
import pathlib
import urllib.error
import urllib.parse
import urllib.request
import uuid

import numpy as np
import pytest
import soundfile

from tests.conftest import AUDIO

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


def upload(address, content, name="x.flac", **headers):
  """Upload a file; return the status and its path on the server."""
  boundary = uuid.uuid4().hex
  body = (
    f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
  ).encode()
  body += content + f"\r\n--{boundary}--\r\n".encode()
  kind = f"multipart/form-data; boundary={boundary}"
  status, answer = fetch(address, "/gradio_api/upload", body, Content_Type=kind, **headers)
  return status, json.loads(answer)[0] if status == 200 else ""


def predict(address, path, **headers):
  """Predict a file on the server as the page does; return the status and the message."""
  session = uuid.uuid4().hex
  data = {
    "data": [{"path": path, "orig_name": "x.flac", "meta": {"_type": "gradio.FileData"}}],
    "fn_index": 0,
    "session_hash": session,
  }
  status, _ = fetch(
    address,
    "/gradio_api/queue/join",
    json.dumps(data).encode(),
    Content_Type="application/json",
    **headers,
  )
  if status != 200:
    return status, ""
  address = f"{address}/gradio_api/queue/data?session_hash={session}"
  with urllib.request.urlopen(address, timeout=120) as events:
    for line in events:
      if b"process_completed" in line:
        output = json.loads(line[len("data:") :])
        return status, output["output"]["data"][0] if output["success"] else ""
  return status, ""


@pytest.mark.parametrize(
  "path",
  [
    "/gradio_api/file={secret}",
    "/gradio_api/file=../../../../../../..{secret}",
    "/file={secret}",
    "/static/../../../../../..{secret}",
    "/assets/..%2f..%2f..%2f..%2f..%2f..{secret}",
    "/gradio_api/proxy=file://{secret}",
    "/gradio_api/stream/../..{secret}",
  ],
)
def test_no_file_of_the_machine_can_be_fetched(server, tmp_path, path):
  (tmp_path / "secret").write_text("do not read me")
  secret = urllib.parse.quote(str(tmp_path / "secret"))
  status, content = fetch(server[0], path.format(secret=secret))
  assert status >= 400 and b"do not read me" not in content


def test_only_uploads_are_predicted(server, tmp_path):
  (tmp_path / "own.flac").write_bytes(SOUND)
  assert predict(server[0], str(tmp_path / "own.flac")) == (200, "")
  assert predict(server[0], "/etc/passwd") == (200, "")


@pytest.mark.parametrize("name", ["../../../../../../tmp/x.flac", "/tmp/x.flac", "..\\x.flac"])
def test_an_upload_stays_in_its_folder(server, name):
  status, path = upload(server[0], SOUND, name)
  assert status == 200 and server[1] in pathlib.Path(path).resolve().parents
  assert "confidence" in predict(server[0], path)[1]


def test_other_sites_are_refused(server):
  evil = "http://evil.example"
  assert upload(server[0], SOUND, Origin=evil)[0] == 403
  assert predict(server[0], upload(server[0], SOUND)[1], Origin=evil)[0] == 403
  assert fetch(server[0], "/config", Host="evil.example")[0] == 403
  assert fetch(server[0], "/config", Host="[")[0] in (400, 403)
  assert upload(server[0], SOUND, Origin=server[0])[0] == 200


def test_a_huge_upload_is_cut_off(server):
  assert upload(server[0], bytes(3 << 20))[0] == 413
  connection = http.client.HTTPConnection(urllib.parse.urlsplit(server[0]).netloc, timeout=60)
  connection.putrequest("POST", "/gradio_api/upload")
  connection.putheader("Content-Type", "multipart/form-data; boundary=q")
  connection.putheader("Content-Length", str(10 << 30))
  connection.endheaders()
  try:
    connection.send(b'--q\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n')
    for _ in range(200):
      connection.send(bytes(1 << 20))
  except OSError:
    pass  # cut off
  else:
    assert connection.getresponse().status == 413
  connection.close()
  stored = sum(file.stat().st_size for file in server[1].rglob("*") if file.is_file())
  assert stored < 10 << 20


def test_a_slow_upload_keeps_nobody_waiting(server):
  connection = http.client.HTTPConnection(urllib.parse.urlsplit(server[0]).netloc, timeout=60)
  connection.putrequest("POST", "/gradio_api/upload")
  connection.putheader("Content-Type", "multipart/form-data; boundary=q")
  connection.putheader("Content-Length", "100000")
  connection.endheaders()
  connection.send(b"--q\r\n")
  assert "confidence" in predict(server[0], upload(server[0], SOUND)[1])[1]
  connection.close()


def test_hours_of_silence_are_refused(server, tmp_path):
  with soundfile.SoundFile(tmp_path / "silence.flac", "w", 8000, 1) as file:
    for _ in range(60):
      file.write(np.zeros(8000 * 60, np.int16))
  content = (tmp_path / "silence.flac").read_bytes()
  assert len(content) < 1 << 20
  _, message = predict(server[0], upload(server[0], content)[1])
  assert "is longer than 0.5 minutes" in message


def test_twenty_one_visitors_at_once_get_predictions(server):
  with concurrent.futures.ThreadPoolExecutor(21) as pool:
    messages = list(
      pool.map(lambda _: predict(server[0], upload(server[0], SOUND)[1])[1], range(21))
    )
  assert all("confidence" in message for message in messages)
