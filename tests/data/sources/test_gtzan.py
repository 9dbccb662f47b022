"""GTZAN as folders, archive, download and tensorflow-datasets folder."""

import hashlib
import http.server
import io
import pickle
import tarfile
import threading

import numpy as np
import pytest
import soundfile

from genre_jax.data.audio import UnreadableAudio, read_audio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.sources.gtzan import archive
from genre_jax.data.sources.registry import open_source
from genre_jax.errors import UserError

TRACKS = ("disco.00001", "disco.00002", "rock.00005", "rock.00099", "jazz.00054")


def write_tracks(root, audio, extension="wav", tracks=TRACKS):
  for track in tracks:
    path = root / track.split(".")[0] / f"{track}.{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, 22050)
  return root


@pytest.mark.parametrize("extension", ["wav", "flac", "au", "mp3"])
@pytest.mark.parametrize("nested", ["", "genres", "Data/genres_original"])
def test_folders(tmp_path, tone, extension, nested):
  write_tracks(tmp_path / nested, tone, extension)
  (tmp_path / nested / "disco" / "._disco.00003.wav").write_bytes(b"x")
  (tmp_path / nested / "features_30_sec.csv").write_text("filename\n")
  source = open_source("auto", str(tmp_path), "all")
  assert source.name == "gtzan" and source.classes == ("disco", "jazz", "rock")
  assert [clip.track for clip in source.clips] == sorted(TRACKS)
  assert "1 other files left out" in source.notes
  by_track = {clip.track: clip for clip in source.clips}
  assert by_track["disco.00001"].group.startswith("artist-")
  assert by_track["disco.00001"].has_group
  assert source.log_mel(by_track["rock.00005"], FrontendConfig()).shape[1] == 128


@pytest.mark.parametrize("extension", ["WAV", "FLAC", "Flac"])
def test_capital_extensions(tmp_path, tone, extension):
  write_tracks(tmp_path, tone, extension)
  source = open_source("auto", str(tmp_path), "all")
  assert source.name == "gtzan" and [clip.track for clip in source.clips] == sorted(TRACKS)
  assert {clip.track: clip for clip in source.clips}["disco.00001"].has_group
  (tmp_path / "disco" / f"disco.00001.{extension}").rename(tmp_path / "disco" / "disco.00001.wav")
  (tmp_path / "rock" / f"rock.00005.{extension}").rename(tmp_path / "Rock.00005.wav")
  again = open_source("auto", str(tmp_path), "all")
  assert [(clip.track, clip.group) for clip in again.clips] == [
    (clip.track, clip.group) for clip in source.clips
  ]


def test_unknown_artists_are_groups_of_their_own(tmp_path, tone):
  source = open_source("gtzan", str(write_tracks(tmp_path, tone, tracks=("pop.00037",))), "all")
  known = source.clips[0].has_group
  assert source.clips[0].group == ("track:pop.00037" if not known else source.clips[0].group)
  every = [f"jazz.{number:05d}" for number in range(100)]
  groups = [clip for clip in map(gtzan_clip, every) if not clip.has_group]
  assert all(clip.group == f"track:{clip.track}" for clip in groups)


def gtzan_clip(track):
  from genre_jax.data.sources.gtzan.tracks import gtzan_clip

  return gtzan_clip(track)


def test_default_genres_are_the_four_in_their_order(gtzan):
  source = open_source("auto", str(gtzan / "audio"))
  assert source.classes == ("classical", "disco", "metal", "rock")
  source = open_source("auto", str(gtzan / "audio"), "all")
  assert len(source.clips) == 331 and len(source.classes) == 10
  clip = source.clips[0]
  reader, clip = pickle.loads(pickle.dumps((source.reader, clip)))
  expected = log_mel(read_audio(clip.path, 22050), FrontendConfig())
  np.testing.assert_array_equal(reader.log_mel(clip, FrontendConfig()), expected)


def test_missing_default_genres(tmp_path, tone):
  with pytest.raises(UserError, match="no classical, metal.*genres=all"):
    open_source("auto", str(write_tracks(tmp_path, tone)))


def test_second_copies_are_counted(tmp_path, tone):
  write_tracks(tmp_path, tone)
  write_tracks(tmp_path / "again", tone, "mp3")
  source = open_source("gtzan", str(tmp_path), "all")
  assert len(source.clips) == 5 and source.clips[0].path.endswith(".wav")
  assert "5 files are second copies" in source.notes[0]


def test_corrupt_file_is_unreadable_with_a_reason(tmp_path, tone):
  write_tracks(tmp_path, tone)
  (tmp_path / "jazz" / "jazz.00054.wav").write_bytes(bytes(range(256)) * 100)
  (tmp_path / "rock" / "rock.00005.wav").write_bytes(b"")
  soundfile.write(tmp_path / "rock" / "rock.00099.wav", np.zeros(5000), 22050)
  source = open_source("gtzan", str(tmp_path), "all")
  reasons = {}
  for clip in source.clips:
    try:
      source.log_mel(clip, FrontendConfig())
    except UnreadableAudio as error:
      reasons[clip.track] = error.reason
  assert set(reasons) == {"jazz.00054", "rock.00005", "rock.00099"}
  assert "cannot be decoded" in reasons["jazz.00054"]
  assert "silent" in reasons["rock.00099"]


def test_fingerprint_follows_the_files(tmp_path, tone):
  write_tracks(tmp_path, tone)
  first = open_source("gtzan", str(tmp_path), "all").fingerprint()
  assert open_source("gtzan", str(tmp_path), "all").fingerprint() == first
  assert open_source("gtzan", str(tmp_path), "disco").fingerprint() != first
  soundfile.write(tmp_path / "rock" / "rock.00005.wav", tone[:100], 22050)
  assert open_source("gtzan", str(tmp_path), "all").fingerprint() != first


def test_folder_without_gtzan(tmp_path):
  with pytest.raises(UserError, match="audio_folder"):
    open_source("gtzan", str(tmp_path))


# The original archive.


def make_archive(path, tone, *extra):
  buffer = io.BytesIO()
  soundfile.write(buffer, tone, 22050, format="AU")
  with tarfile.open(path, "w:gz") as archive:
    for name in ("genres/disco/disco.00001.au", "genres/rock/rock.00005.au", "genres/README"):
      member = tarfile.TarInfo(name)
      member.size = len(buffer.getvalue())
      archive.addfile(member, io.BytesIO(buffer.getvalue()))
    for member in extra:
      archive.addfile(member)
  return path


def trust(monkeypatch, path):
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  monkeypatch.setattr(archive, "SHA256", digest)


def test_archive_is_verified_and_unpacked(tmp_path, tone, monkeypatch):
  path = make_archive(tmp_path / "genres.tar.gz", tone)
  trust(monkeypatch, path)
  source = open_source("auto", str(path), "all", cache_dir=str(tmp_path / "cache"))
  assert [clip.track for clip in source.clips] == ["disco.00001", "rock.00005"]
  assert len(source.log_mel(source.clips[0], FrontendConfig())) == FrontendConfig().frames_of(
    len(tone)
  )
  (folder,) = (tmp_path / "cache").iterdir()
  assert sorted(p.name for p in folder.rglob("*.*")) == ["disco.00001.au", "rock.00005.au"]
  again = open_source("auto", str(path), "all", cache_dir=str(tmp_path / "cache"))
  assert again.fingerprint() == source.fingerprint()


def test_archive_with_another_hash_is_refused(tmp_path, tone):
  path = make_archive(tmp_path / "genres.tar.gz", tone)
  with pytest.raises(UserError, match="sha256"):
    open_source("auto", str(path), cache_dir=str(tmp_path / "cache"))
  assert not (tmp_path / "cache").exists()


def member(name, kind=tarfile.REGTYPE, target=""):
  info = tarfile.TarInfo(name)
  info.type, info.linkname = kind, target
  return info


@pytest.mark.parametrize(
  "extra",
  [
    member("genres/../../evil.wav"),
    member("/tmp/evil.wav"),
    member("genres/rock/rock.00001.au", tarfile.SYMTYPE, "/etc/passwd"),
    member("genres/rock/rock.00001.au", tarfile.LNKTYPE, "genres/disco/disco.00001.au"),
    member("genres/rock/rock.00001.au", tarfile.CHRTYPE),
  ],
  ids=lambda info: f"{info.name} {info.type}",
)
def test_archive_with_paths_outside_the_folder_is_refused(tmp_path, tone, monkeypatch, extra):
  path = make_archive(tmp_path / "genres.tar.gz", tone, extra)
  trust(monkeypatch, path)
  with pytest.raises(UserError, match="refused"):
    open_source("auto", str(path), cache_dir=str(tmp_path / "cache"))
  assert list((tmp_path / "cache").iterdir()) == []


def test_archive_cut_short(tmp_path, tone, monkeypatch):
  path = make_archive(tmp_path / "genres.tar.gz", tone)
  path.write_bytes(path.read_bytes()[:-5000])
  trust(monkeypatch, path)
  with pytest.raises(UserError, match="damaged"):
    open_source("auto", str(path), cache_dir=str(tmp_path / "cache"))
  assert list((tmp_path / "cache").iterdir()) == []


def test_archive_into_a_place_that_cannot_be_written(tmp_path, tone, monkeypatch):
  path = make_archive(tmp_path / "genres.tar.gz", tone)
  trust(monkeypatch, path)
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="cannot be unpacked.*XDG_CACHE_HOME"):
    open_source("auto", str(path), cache_dir=str(tmp_path / "file"))


@pytest.fixture
def server(tmp_path):
  """A local web server for a folder, and its address."""
  folder = tmp_path / "served"
  folder.mkdir()

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
      super().__init__(*args, directory=folder)

    def log_message(self, *args):
      pass

  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()


@pytest.mark.filterwarnings("ignore")  # TensorFlow and its packages warn at import.
def test_download(tmp_path, tone, monkeypatch, server):
  folder, address = server
  path = make_archive(folder / "genres.tar.gz", tone)
  trust(monkeypatch, path)
  monkeypatch.setattr(archive, "SIZE", path.stat().st_size)
  # The first address is dead, as happens in practice.
  monkeypatch.setattr(archive, "URL", f"{address}/gone/genres.tar.gz")
  monkeypatch.setattr(archive, "MIRROR", f"{address}/genres.tar.gz")
  source = open_source("gtzan", "download", "all", cache_dir=str(tmp_path / "cache"))
  assert [clip.track for clip in source.clips] == ["disco.00001", "rock.00005"]


@pytest.mark.filterwarnings("ignore")  # TensorFlow and its packages warn at import.
def test_download_of_something_else(tmp_path, monkeypatch, server):
  folder, address = server
  (folder / "genres.tar.gz").write_bytes(b"sorry")
  for name in ("URL", "MIRROR"):
    monkeypatch.setattr(archive, name, f"{address}/genres.tar.gz")
  with pytest.raises(UserError, match="NonMatchingChecksum"):
    open_source("gtzan", "download", "all", cache_dir=str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")  # TensorFlow and its packages warn at import.
def test_download_without_network_says_what_to_do(tmp_path, monkeypatch):
  # Port 9 of this machine: no server, and no outside connection.
  monkeypatch.setattr(archive, "URL", "http://127.0.0.1:9/genres.tar.gz")
  monkeypatch.setattr(archive, "MIRROR", "http://127.0.0.1:9/again/genres.tar.gz")
  with pytest.raises(UserError, match="could not be downloaded(.|\n)*by other means"):
    open_source("gtzan", "download", cache_dir=str(tmp_path))


# Files that tfds.load('gtzan') writes.


@pytest.fixture
def tfds_folder(tmp_path, tone):
  import tensorflow_datasets as tfds
  from tensorflow_datasets.audio.gtzan import gtzan as published

  class Gtzan(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    _info = published.GTZAN._info

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      for track in TRACKS:
        quiet = track == "rock.00099"
        audio = np.rint((0 if quiet else 1) * tone[:30000] * 32767).astype(np.int64)
        genre, name = track.split(".")[0], f"{track}.wav"
        yield name, {"audio": audio, "label": genre, "audio/filename": name}

  Gtzan(data_dir=tmp_path).download_and_prepare()
  return tmp_path


@pytest.mark.filterwarnings("ignore")  # TensorFlow and its packages warn at import.
@pytest.mark.parametrize("below", ["", "gtzan", "gtzan/1.0.0"])
def test_tfds_folder(tfds_folder, tone, below):
  source = open_source("auto", str(tfds_folder / below), "all")
  assert source.name == "gtzan" and source.classes == ("disco", "jazz", "rock")
  assert [clip.track for clip in source.clips] == sorted(TRACKS)
  source = pickle.loads(pickle.dumps(source))
  values = {clip.track: clip for clip in source.clips}
  audio = np.rint(tone[:30000] * 32767).astype(np.float32) / 32768
  result = source.log_mel(values["disco.00001"], FrontendConfig())
  np.testing.assert_allclose(result, log_mel(audio, FrontendConfig()), atol=1e-5)
  with pytest.raises(UnreadableAudio, match="silent"):
    source.log_mel(values["rock.00099"], FrontendConfig())
