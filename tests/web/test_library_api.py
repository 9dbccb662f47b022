"""Test the JSON of `library serve`: songs, similar songs, paths, sound, corrections, refusals."""

import dataclasses
import io
import json

import pytest
import soundfile

from genre_jax.errors import UserError
from genre_jax.library import database, tags
from genre_jax.library.label_names import read_names
from genre_jax.library.tagging import Options
from genre_jax.models import musicnn_yamnet
from tests.library.conftest import CallsHere, model, undo_last  # noqa: F401
from tests.web.conftest import need, small_model, write_library  # noqa: F401

need("fastapi")
need("httpx2")

from fastapi.testclient import TestClient  # noqa: E402

from genre_jax.library.correction_writer import CorrectionWriter  # noqa: E402
from genre_jax.web import app as app_module  # noqa: E402
from genre_jax.web.app import Settings, build_app  # noqa: E402
from genre_jax.web.library_routes import add_library_routes  # noqa: E402
from genre_jax.web.library_service import LibraryService  # noqa: E402
from genre_jax.web.predictor import Predictor  # noqa: E402
from genre_jax.web.sound import DecodedFiles  # noqa: E402


def client_of(path, model, uploads, write=False, load=None):  # noqa: F811
  db = database.open_database(path)
  known = database.find_model(db)
  db.close()
  writer = CorrectionWriter(path, known, Options(read_names(), 0.6)) if write else None
  predictor = Predictor(load or (lambda: model), CallsHere(), 1)
  app = build_app(Settings(True, write, "small", 2, 1), predictor, str(uploads), "127.0.0.1")
  add_library_routes(app, LibraryService(path, known, writer), predictor, DecodedFiles(CallsHere()))
  return TestClient(app, base_url="http://127.0.0.1:7870")


@pytest.fixture(scope="module")
def library(tmp_path_factory, model):  # noqa: F811
  return write_library(tmp_path_factory.mktemp("library"), model)


@pytest.fixture
def client(library, model, tmp_path):  # noqa: F811
  return client_of(library, model, tmp_path)


def ids(client, **query):
  return [track["id"] for track in client.get("/tracks", params=query).json()["tracks"]]


def test_tracks(client):
  found = client.get("/tracks", params={"limit": 3, "offset": 1}).json()
  assert found["total"] == 9 and len(found["tracks"]) == 3
  assert found["tracks"][0]["title"] == "<b>Bold</b> & öde"
  assert found["tracks"][1]["tag_genres"] == ["Polka"]
  [bold] = ids(client, words="ode bol")
  track = client.get("/track", params={"id": bold}).json()
  assert track["track"]["id"] == bold and sum(track["probabilities"].values()) == pytest.approx(1)
  values = list(track["probabilities"].values())
  assert values == sorted(values, reverse=True) and values[0] == track["track"]["confidence"]
  confidences = [
    t["confidence"] for t in client.get("/tracks?order=confidence&descending=1").json()["tracks"]
  ]
  assert confidences == sorted(confidences, reverse=True)
  counts = client.get("/genres").json()
  assert sum(counts.values()) == 9 and set(counts) == {"calm", "loud", "odd"}


def test_similarity_is_that_of_opensubsonic(client):
  first, last = ids(client)[0], ids(client)[-1]
  matches = client.get("/similar", params={"id": first, "count": 5}).json()["sonicMatch"]
  values = [match["similarity"] for match in matches]
  assert 1 <= len(matches) <= 5 and first not in [match["entry"]["id"] for match in matches]
  assert all(0 <= value < 1 for value in values)
  way = client.get("/path", params={"start": first, "end": last, "count": 4}).json()["sonicMatch"]
  assert way[0]["entry"]["id"] == first and way[-1]["entry"]["id"] == last
  assert way[0]["similarity"] == way[-1]["similarity"] == 1


@pytest.mark.parametrize(
  "path, status, detail",
  [
    ("/track?id=999", 404, "id=999: the library has no such song"),
    ("/similar?id=999", 404, "no such song"),
    ("/path?start=1&end=999", 404, "no such song"),
    ("/sound?id=999", 404, "no such song"),
    ("/timeline?id=999", 404, "no such song"),
    ("/track?id=../../etc/passwd", 422, "valid integer"),
    ("/sound?id=/etc/passwd", 422, "valid integer"),
    ("/tracks?order=tags;drop", 422, "'confidence', 'genre'"),
    ("/tracks?limit=100000", 422, "less than or equal to 500"),
    ("/static/../app.py", 404, "Not Found"),
    ("/static/%2e%2e/app.py", 404, "Not Found"),
    ("/docs", 404, "Not Found"),
  ],
)
def test_what_is_wrong_gets_a_reason(client, path, status, detail):
  answer = client.get(path)
  assert answer.status_code == status and detail in answer.text


def test_sound_with_ranges(client):
  first = ids(client)[0]
  whole = client.get("/sound", params={"id": first})
  assert whole.headers["content-type"] == "audio/flac" and whole.content[:4] == b"fLaC"
  part = client.get("/sound", params={"id": first}, headers={"range": "bytes=100-199"})
  assert part.status_code == 206 and part.content == whole.content[100:200]
  assert client.get(f"/sound?id={first}", headers={"range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize("name, as_wav", [("other.aiff", False), ("000.flac", True)])
def test_what_browsers_do_not_play_is_decoded(client, name, as_wav):
  [song] = ids(client, words=name)
  answer = client.get("/sound", params={"id": song, "as_wav": as_wav})
  assert answer.headers["content-type"] == "audio/wav"
  values, rate = soundfile.read(io.BytesIO(answer.content))
  assert rate == 44100 and len(values) == pytest.approx((3, 4)[as_wav] * rate, abs=50)
  assert client.get("/sound", params={"id": song, "as_wav": as_wav}).content == answer.content


def test_a_missing_file_gets_a_reason(model, tmp_path):  # noqa: F811
  path = write_library(tmp_path, model, 2)
  client = client_of(path, model, tmp_path)
  song = ids(client)[0]
  (tmp_path / "music" / "000.flac").unlink()
  for route in ("/sound", "/timeline"):
    answer = client.get(route, params={"id": song})
    assert answer.status_code == 400 and "o such file" in answer.text, answer.text


def test_without_the_model_the_library_remains(library, tmp_path):
  def load():
    raise UserError("no such model")

  client = client_of(library, None, tmp_path, load=load)
  song = ids(client)[0]
  assert client.get("/similar", params={"id": song}).status_code == 200
  answer = client.get("/timeline", params={"id": song})
  assert answer.status_code == 400 and answer.json()["detail"] == "no such model"


def test_timeline(client):
  timeline = client.get("/timeline", params={"id": ids(client)[0]}).json()
  assert timeline["seconds"] == 4 and set(timeline["labels"]) == {"calm", "loud", "odd"}
  spans = timeline["spans"]
  assert spans[0]["start"] == 0 and spans[-1]["end"] == 4
  assert all(sum(span["probabilities"]) == pytest.approx(1, abs=0.01) for span in spans)


def test_corrections(model, tmp_path):  # noqa: F811
  path = write_library(tmp_path, model, 3)
  client = client_of(path, model, tmp_path)
  before = {file: file.read_bytes() for file in (tmp_path / "music").iterdir()}
  song = ids(client, unreviewed=True, order="confidence")[0]
  answer = client.put("/genre", params={"id": song}, json={"genre": "Dub"}).json()
  assert answer["track"]["correction"] == "Dub" and not answer["written"] and not answer["reason"]
  assert song not in ids(client, unreviewed=True) and ids(client, genre="Dub") == [song]
  assert client.put(f"/genre?id={song}", json={"genre": " "}).status_code == 400
  assert client.put(f"/genre?id={song}", json={"genre": "x" * 300}).status_code == 422
  for text in ('"\\ud800"', '"Jazz\\ud800"', '["x"]'):
    body = f'{{"genre": {text}}}'.encode()
    answer = client.put(
      f"/genre?id={song}", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422), text
  assert client.put("/genre?id=999", json={"genre": "x"}).status_code == 404
  assert client.delete(f"/genre?id={song}").json()["correction"] == ""
  assert {file: file.read_bytes() for file in before} == before  # without --write


def test_corrections_with_write(model, tmp_path):  # noqa: F811
  path = write_library(tmp_path, model, 3)
  client = client_of(path, model, tmp_path, write=True)
  first, second, polka = ids(client)[:3]
  for song in (first, second):
    answer = client.put(f"/genre?id={song}", json={"genre": "Dub"}).json()
    assert answer["written"] and answer["track"]["tag_genres"] == ["Dub"]
  answer = client.put(f"/genre?id={polka}", json={"genre": "Dub"}).json()
  assert not answer["written"] and answer["reason"] == "has a genre"
  db = database.open_database(path)
  assert set(undo_last(db)) == {"000.flac", "001.flac"}
  db.close()
  assert tags.describe(str(tmp_path / "music" / "000.flac"))["genres"] == {}


def test_other_sites_are_refused(client):
  song = ids(client)[0]
  evil = {"origin": "http://evil.example"}
  assert client.put(f"/genre?id={song}", json={"genre": "x"}, headers=evil).status_code == 403
  assert client.get("/tracks", headers={"host": "evil.example"}).status_code == 403
  image = {"sec-fetch-site": "cross-site"}  # a picture of another site has no origin
  assert client.get(f"/timeline?id={song}", headers=image).status_code == 403
  assert client.get("/", headers=image).status_code == 200
  broken = {"origin": "http://["}
  assert client.put(f"/genre?id={song}", json={"genre": "x"}, headers=broken).status_code == 403
  own = {"origin": "http://127.0.0.1:7870"}
  assert client.put(f"/genre?id={song}", json={"genre": "x"}, headers=own).status_code == 200
  assert client.delete(f"/genre?id={song}").status_code == 200


def test_long_requests_and_formulas_are_refused(client):
  song = ids(client)[0]
  assert client.put(f"/genre?id={song}", content=bytes(1 << 20)).status_code == 413
  assert client.put(f"/genre?id={song}", content=iter([b"{}"] * 9)).status_code == 411
  answer = client.put(f"/genre?id={song}", json={"genre": "=HYPERLINK(1)"})
  assert answer.status_code == 400 and "printable" in answer.json()["detail"]


def test_a_genre_that_was_taken_back_is_not_written(library, model, tmp_path):  # noqa: F811
  path = write_library(tmp_path, model)
  db = database.open_database(path)
  known = database.find_model(db)
  file = db.execute("SELECT file FROM analysis").fetchone()[0]
  db.close()
  writer = CorrectionWriter(path, known, Options(read_names(), 0.0))
  assert "taken back" in writer.write(file)
  writer.close()


def test_the_page_uses_its_own_machine_alone(client):
  answer = client.get("/")
  assert "default-src 'self'" in answer.headers["content-security-policy"]
  for path in ("/", *[f"/static/{name}" for name in ("main.js", "page.css", "icon.svg")]):
    text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text and " style=" not in text


def test_openapi_describes_the_routes(client):
  described = client.get("/openapi.json").json()
  assert {
    "/tracks",
    "/track",
    "/similar",
    "/path",
    "/timeline",
    "/sound",
    "/genre",
    "/genres",
  } < set(described["paths"])
  match = described["components"]["schemas"]["Match"]["properties"]
  assert set(match) == {"entry", "similarity"}
  json.dumps(described)


def test_a_dropped_file(client, library):
  content = (library.parent / "music" / "000.flac").read_bytes()
  answer = client.post("/predict", params={"name": "x<y>.flac"}, content=content).json()
  assert answer["name"] == "x<y>.flac" and answer["timeline"]["seconds"] == 4
  assert answer["plot"].startswith("iVBOR")  # PNG
  assert answer["explains"]
  assert client.post("/evidence?label=loud", content=content).content.startswith(b"\x89PNG")
  assert client.post("/evidence?label=no", content=content).status_code == 400
  assert "it is not audio" in client.post("/predict", content=b"words " * 50).json()["detail"]
  assert client.post("/predict", content=b"").status_code == 400
  assert client.post("/predict", content=bytes(3 << 20)).status_code == 413


def test_a_model_of_waveforms_explains_nothing(library, model, tmp_path):  # noqa: F811
  waveforms = dataclasses.replace(model, frontend=musicnn_yamnet.FRONTEND)
  assert not Predictor(lambda: waveforms, CallsHere(), 1).explains
  client = client_of(library, waveforms, tmp_path)
  content = (library.parent / "music" / "000.flac").read_bytes()
  answer = client.post("/evidence?label=loud", content=content)
  assert answer.status_code == 400 and "reads a waveform" in answer.json()["detail"]


def test_live_sound(client):
  need("websockets")
  from tests.inference.conftest import sound

  with client.websocket_connect("ws://127.0.0.1:7870/live?rate=48000") as socket:
    values = sound(8, 48000)
    for first in range(0, len(values), 4096):
      socket.send_bytes(values[first : first + 4096].astype("<f4").tobytes())
    update = socket.receive_json()
  assert update["genre"] in ("calm", "loud", "odd") and len(update["probabilities"]) == 3
  with client.websocket_connect("ws://127.0.0.1:7870/live?rate=7") as socket:
    assert "give a sample rate" in socket.receive_json()["detail"]


def test_a_silent_microphone_ends(client, monkeypatch):
  need("websockets")
  monkeypatch.setattr(app_module, "STALL_SECONDS", 0.2)
  with client.websocket_connect("ws://127.0.0.1:7870/live?rate=48000") as socket:
    assert socket.receive()["type"] == "websocket.close"


def test_the_number_of_microphones_is_limited(library, model, tmp_path, monkeypatch):  # noqa: F811
  need("websockets")
  monkeypatch.setattr(app_module, "MAX_VISITORS", 1)
  client = client_of(library, model, tmp_path)
  with (
    client.websocket_connect("ws://127.0.0.1:7870/live?rate=48000"),
    client.websocket_connect("ws://127.0.0.1:7870/live?rate=48000") as second,
  ):
    assert second.receive_json()["detail"] == "1 visitors are recording: try again later"


def test_the_bytes_of_all_visitors_are_limited(library, model, tmp_path, monkeypatch):  # noqa: F811
  monkeypatch.setattr(app_module, "MAX_VISITORS", 0)
  client = client_of(library, model, tmp_path)
  assert client.post("/predict", content=b"x").status_code == 503
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
  "host, name, status",
  [
    ("127.0.0.1", "localhost:7870", 200),
    ("127.0.0.1", "192.168.1.5:7870", 403),
    ("0.0.0.0", "192.168.1.5:7870", 200),
    ("0.0.0.0", "[fe80::1]:7870", 200),
    ("0.0.0.0", "nas:7870", 200),
    ("0.0.0.0", "nas.local", 200),
    ("0.0.0.0", "music.example.org", 200),
    ("0.0.0.0", "evil.example", 403),
    ("0.0.0.0", "", 403),
    ("music.example", "Music.Example:1", 200),
  ],
)
def test_names_of_the_page(model, tmp_path, host, name, status):  # noqa: F811
  predictor = Predictor(lambda: model, CallsHere(), 1)
  settings = Settings(False, False, "small", 2, 1)
  app = build_app(settings, predictor, str(tmp_path), host, ["music.example.org"])
  client = TestClient(app, base_url="http://127.0.0.1:7870")
  assert client.get("/settings", headers={"host": name}).status_code == status
