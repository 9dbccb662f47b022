"""Test every kind of file: the genre is written, all else stays, and undo restores each byte."""

import io
import os
import stat
import subprocess

import av
import mutagen
import mutagen.apev2
import mutagen.flac
import mutagen.id3
import mutagen.mp4
import numpy as np
import pytest
import soundfile

from genre_jax.library import tags
from tests.data.encoded import encode, write_dsf
from tests.inference.conftest import sound
from tests.library.conftest import add_song, content, sound_hash, stereo, tag, undo_last

# {name of a file: (container, codec)}; PyAV cannot write DSF and Vorbis.
KINDS = {
  "song.mp3": ("mp3", "libmp3lame"),
  "bare.mp3": ("mp3", "libmp3lame"),
  "v23.mp3": ("mp3", "libmp3lame"),
  "song.aac": ("adts", "aac"),
  "song.flac": ("flac", "flac"),
  "song.ogg": ("ogg", "flac"),
  "song.opus": ("ogg", "libopus"),
  "vorbis.ogg": ("", ""),
  "aac.m4a": ("ipod", "aac"),
  "alac.m4a": ("ipod", "alac"),
  "moov_first.m4a": ("ipod", "aac"),
  "song.wma": ("asf", "wmav2"),
  "song.aiff": ("aiff", "pcm_s16be"),
  "song.wav": ("wav", "pcm_s16le"),
  "song.wv": ("wv", "wavpack"),
  "song.tta": ("tta", "tta"),
  "song.dsf": ("", ""),
}
PICTURE = bytes(range(256)) * 400


def write_kind(folder, name, seconds=1.0):
  """Write a file of a kind with a title, and a picture where the format has a usual one."""
  path = folder / name
  container, codec = KINDS[name]
  if name == "song.dsf":
    write_dsf(path, sound(seconds, 44100), 44100)
  elif name == "vorbis.ogg":
    soundfile.write(path, stereo(seconds).T, 44100, format="OGG", subtype="VORBIS")
  else:
    rate = 48000 if codec == "libopus" else 44100
    encode(path, stereo(seconds, rate), rate, container, codec)
  if name == "moov_first.m4a":
    _move_index(path)
  _add_tags(path, name)
  return path


def _move_index(path):
  """Put the index of an MP4 before the sound."""
  first = path.with_suffix(".tmp")
  with (
    av.open(str(path)) as source,
    av.open(str(first), "w", format="ipod", options={"movflags": "faststart"}) as target,
  ):
    stream = target.add_stream_from_template(source.streams.audio[0])
    for packet in source.demux(audio=0):
      if packet.dts is not None:
        packet.stream = stream
        target.mux(packet)
  os.replace(first, path)
  assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")


def _add_tags(path, name):
  if name == "bare.mp3":
    mutagen.id3.ID3(path).delete()
    return
  if name.endswith((".mp3", ".aac", ".tta")):
    frames = mutagen.id3.ID3()
    frames.add(mutagen.id3.TIT2(encoding=1, text=["Tïtle", "second"]))
    frames.add(mutagen.id3.TPE1(encoding=0, text=["Artist/Other"]))
    frames.add(mutagen.id3.APIC(encoding=0, mime="image/png", type=3, desc="", data=PICTURE))
    frames.save(path, v2_version=3 if name == "v23.mp3" else 4, v23_sep=None, v1=2)
    return
  file = mutagen.File(path)
  if file.tags is None:
    file.add_tags()
  if isinstance(file.tags, mutagen.id3.ID3):
    file.tags.add(mutagen.id3.TIT2(encoding=3, text="Tïtle"))
  elif isinstance(file, mutagen.mp4.MP4):
    file["\xa9nam"], file["trkn"] = "Tïtle", [(3, 10)]
    file["covr"] = [mutagen.mp4.MP4Cover(PICTURE, mutagen.mp4.MP4Cover.FORMAT_PNG)]
  else:
    file["Title"] = "Tïtle"
  if isinstance(file, mutagen.flac.FLAC):
    picture = mutagen.flac.Picture()
    picture.data, picture.mime = PICTURE, "image/png"
    file.add_picture(picture)
  file.save()


def _genre_by_ffmpeg(path):
  """Return the genre that the library of ffprobe finds."""
  with av.open(str(path), metadata_errors="replace") as file:
    found = {**file.streams.audio[0].metadata, **file.metadata}
  return next((value for key, value in found.items() if key.lower() == "genre"), None)


def _others(path):
  with open(path, "rb") as file:
    return tags.Tags(file).others()


@pytest.mark.parametrize("name", KINDS)
def test_a_kind(tmp_path, db, name):
  path = write_kind(tmp_path, name)
  os.chmod(path, 0o640)
  try:
    os.setxattr(path, "user.note", b"kept")
    attributes = True
  except OSError:
    attributes = False
  before, others, sounds = content(path), _others(path), sound_hash(path)
  add_song(db, path, rock=0.9)
  assert tag(db) == {name: ""}

  with open(path, "rb") as file:
    read = tags.Tags(file)
    assert list(read.genres().values())[0] == ["Rock"]
    assert '"model": "fake"' in read.provenance()
  assert _others(path) == others and sound_hash(path) == sounds
  if name not in ("song.aac",):  # FFmpeg reads no tags of ADTS
    assert _genre_by_ffmpeg(path) == "Rock"
  if name == "song.aac":
    assert mutagen.id3.ID3(path)["TCON"].text == ["Rock"]
  else:
    shown = mutagen.File(path)
    keys = ("TCON", "genre", "\xa9gen", "WM/Genre", "Genre")
    found = next(shown.tags[key] for key in keys if key in shown.tags)
    assert str(found[0]) == "Rock"
  facts = os.stat(path)
  assert stat.S_IMODE(facts.st_mode) == 0o640
  if attributes:
    assert os.getxattr(path, "user.note") == b"kept"

  written = content(path)
  assert tag(db) == {name: "has these genres already"}
  assert os.stat(path).st_mtime_ns == facts.st_mtime_ns and content(path) == written
  assert undo_last(db) == {name: ""}
  assert content(path) == before and stat.S_IMODE(os.stat(path).st_mode) == 0o640
  assert os.listdir(tmp_path).count(name) == 1
  assert not [entry for entry in os.listdir(tmp_path) if entry.startswith(".genre_jax")]
  (size,) = db.execute("SELECT length(delta) FROM change").fetchone()
  assert size < 3000, size


@pytest.mark.parametrize("name", ["v23.mp3", "song.mp3", "song.flac", "aac.m4a"])
def test_several_genres(tmp_path, db, name):
  path = write_kind(tmp_path, name)
  with open(path, "rb") as file:
    version = file.read(4)[3]
  add_song(db, path, rock=0.4, doom=0.35, hiphop=0.2)
  assert tag(db, min_confidence=0.3, max_genres=2) == {name: ""}
  with open(path, "rb") as file:
    genres = next(iter(tags.Tags(file).genres().values()))
    file.seek(3)
    if name.endswith(".mp3"):
      assert file.read(1)[0] == version
  assert genres == (["Rock; doom"] if name == "v23.mp3" else ["Rock", "doom"])
  assert tag(db, min_confidence=0.3, max_genres=2) == {name: "has these genres already"}


def _hide(path, place):
  """Write the genre of a human into a place where only some programs look."""
  if place == "ID3v2 before FLAC":
    frames = mutagen.id3.ID3()
    frames.add(mutagen.id3.TCON(encoding=3, text=["Doom"]))
    frames.save(path)
  elif place == "APEv2":
    ape = mutagen.apev2.APEv2()
    ape["Genre"] = "Doom"
    ape.save(path)
  elif place == "ID3v1":
    with open(path, "ab") as file:
      file.write(b"TAG" + bytes(124) + bytes([17]))  # 17 is Rock
  elif place == "RIFF INFO":
    data = path.read_bytes()
    info = b"LIST" + (4 + 8 + 6).to_bytes(4, "little") + b"INFOIGNR" + b"\x05\0\0\0Doom\0\0"
    size = len(data) - 8 + len(info)
    path.write_bytes(data[:4] + size.to_bytes(4, "little") + data[8:] + info)
  elif place == "RIFF INFO of other programs":
    _hide(path, "RIFF INFO")
    path.write_bytes(path.read_bytes().replace(b"INFOIGNR", b"INFOGENR"))
  elif place == "TXXX":
    frames = mutagen.id3.ID3(path)
    frames.add(mutagen.id3.TXXX(encoding=3, desc="Genre", text=["Doom"]))
    frames.save(path)
  elif place == "ID3v2.2":
    frame = b"TCO" + (5).to_bytes(3, "big") + b"\0Doom"
    mutagen.id3.ID3(path).delete()
    path.write_bytes(b"ID3\2\0\0\0\0\0" + bytes([len(frame)]) + frame + path.read_bytes())
  else:
    file = mutagen.File(path)
    if place == "ID3v2":
      file.tags.add(mutagen.id3.TCON(encoding=3, text=["Doom"]))
    elif place == "MP4":
      file["\xa9gen"] = "Doom"
    elif place.startswith("ASF"):
      file[place.partition(" ")[2] or "WM/Genre"] = "Doom"
    else:
      file["GENRE"] = "Doom"
    file.save()


HIDDEN = [
  ("song.flac", "ID3v2 before FLAC"),
  ("song.flac", "APEv2"),
  ("song.flac", "ID3v1"),
  ("song.flac", "Vorbis comment"),
  ("song.opus", "Vorbis comment"),
  ("bare.mp3", "ID3v1"),
  ("bare.mp3", "APEv2"),
  ("song.mp3", "APEv2"),
  ("song.mp3", "TXXX"),
  ("song.mp3", "ID3v2.2"),
  ("v23.mp3", "ID3v2"),
  ("song.wav", "RIFF INFO"),
  ("song.wav", "ID3v2"),
  ("song.aiff", "ID3v2"),
  ("song.dsf", "ID3v2"),
  ("song.wv", "APEv2"),
  ("aac.m4a", "MP4"),
  ("song.wma", "ASF"),
  ("song.wma", "ASF Genre"),
  ("song.wma", "ASF WM/GenreID"),
  ("song.wav", "RIFF INFO of other programs"),
]


@pytest.mark.parametrize("where", ["another ID3v2 tag", "ID3v2 at the end", "TAG+"])
def test_tags_that_are_not_read_are_refused(tmp_path, db, where):
  path = write_kind(tmp_path, "song.mp3")
  frame = io.BytesIO()
  frames = mutagen.id3.ID3()
  frames.add(mutagen.id3.TCON(encoding=3, text=["Doom"]))
  frames.save(frame)
  tag_bytes = frame.getvalue()
  if where == "another ID3v2 tag":
    path.write_bytes(tag_bytes + path.read_bytes())
  elif where == "ID3v2 at the end":
    path.write_bytes(path.read_bytes() + tag_bytes + b"3DI" + tag_bytes[3:10])
  else:
    path.write_bytes(path.read_bytes() + b"TAG+" + bytes(223) + b"TAG" + bytes(124) + b"\xff")
  before = content(path)
  add_song(db, path, hiphop=0.9)
  reason = tag(db, replace="all")["song.mp3"]
  assert ("2 ID3v2 tags" if where.startswith("another") else where) in reason
  assert content(path) == before


@pytest.mark.parametrize(("name", "place"), HIDDEN)
def test_the_genre_of_a_human_stays(tmp_path, db, name, place):
  path = write_kind(tmp_path, name)
  _hide(path, place)
  before = content(path)
  with open(path, "rb") as file:
    found = tags.Tags(file).genres()
  assert {"Doom", "Rock"} & {genre for genres in found.values() for genre in genres}, found
  add_song(db, path, hiphop=0.9)
  assert tag(db) == {name: "has a genre"}
  assert tag(db, replace="ours") == {name: "has a genre"}
  assert content(path) == before
  others, sounds = _others(path), sound_hash(path)
  reason = tag(db, replace="all")[name]
  if place == "ID3v2.2":
    assert "ID3v2.2" in reason and content(path) == before
    return
  assert reason == ""
  with open(path, "rb") as file:
    genres = tags.Tags(file).genres()
  assert {genre for values in genres.values() for genre in values} == {"Hip-Hop"}
  assert _others(path) == others and sound_hash(path) == sounds
  assert "Doom" not in (_genre_by_ffmpeg(path) or "")
  assert undo_last(db) == {name: ""} and content(path) == before


def test_the_program_ffprobe(tmp_path, db):
  try:
    subprocess.run(["ffprobe", "-version"], check=True, capture_output=True)
  except OSError:
    pytest.skip("needs ffprobe")
  for name in KINDS:
    add_song(db, write_kind(tmp_path, name), rock=0.9)
  tag(db)
  for name in set(KINDS) - {"song.aac"}:
    shown = subprocess.run(
      ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", tmp_path / name],
      check=True,
      capture_output=True,
      text=True,
    )
    assert "genre=rock" in shown.stdout.lower(), name


def test_damaged_tags_have_a_reason(tmp_path, db):
  path = write_kind(tmp_path, "song.flac")
  data = path.read_bytes()
  for place in range(0, 200, 3):
    path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    tags.describe(str(path))
  path.write_bytes(b"fLaC" + bytes(100))
  assert "damaged" in tags.describe(str(path))["unreadable"]
  rng = np.random.default_rng(0)
  for kind in ("song.mp3", "aac.m4a", "song.wma", "song.wav", "song.opus", "song.wv"):
    path = write_kind(tmp_path, kind, 0.3)
    data = path.read_bytes()
    for _ in range(20):
      broken = bytearray(data)
      for place in rng.integers(0, min(len(data), 2000), 10):
        broken[place] = rng.integers(256)
      path.write_bytes(broken)
      tags.describe(str(path))
