"""Test genres in forms that programs read in different ways: numbers of ID3, free atoms of MP4."""

import io

import mutagen.flac
import mutagen.id3
import mutagen.mp4
import pytest

from genre_jax.library import tags
from tests.library.conftest import add_song, content, tag, undo_last, write_songs
from tests.library.test_formats import _genre_by_ffmpeg, write_kind


def _file(genre, version):
  """Return a file with a TCON frame that has this text."""
  frames = mutagen.id3.ID3()
  frames.add(mutagen.id3.TCON(encoding=3 if version == 4 else 1, text=[genre]))
  file = io.BytesIO()
  frames.save(file, v2_version=version, v23_sep=None)
  return file


def _genres(file):
  file.seek(0)
  return tags.Tags(file).genres().get("ID3v2", [])


FORMS = {
  "(4)Disco": ["Disco"],
  "(4)": ["Disco"],
  "4": ["Disco"],
  "(4)Eurodisco": ["Disco", "Eurodisco"],
  "(RX)": ["Remix"],
  "((Foo": ["(Foo"],
  "(Foo": ["(Foo"],
  "80s": ["80s"],
  "255": [],
  "(255)": [],
  "Unknown": ["Unknown"],
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("text", FORMS)
def test_numbers_of_id3_are_read_as_genres(text, version):
  file = _file(text, version)
  assert _genres(file) == FORMS[text]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("genre", ["(4)Foo", "(Foo", "80s", "(RX)"])
def test_the_genre_of_a_human_is_put_back_as_it_was_read(genre, version):
  file = _file("Rock", version)
  tags.edit(file, lambda t: t.put_back({"ID3v2": [genre]}))
  assert _genres(file) == [genre]


def test_a_number_is_not_put_back_as_another_genre():
  file = _file("Rock", 4)
  with pytest.raises(tags.TagError, match="would be read as another"):
    tags.edit(file, lambda t: t.put_back({"ID3v2": ["4"]}))


@pytest.mark.parametrize("genre", ["4", "(4)Disco", "(Foo", "RX", "2-Step", "80s"])
def test_what_programs_read_as_a_number_is_not_written_into_id3(genre):
  with pytest.raises(tags.TagError, match="--names"):
    tags.edit(_file("Rock", 4), lambda t: t.set_genres([genre], ""))


def test_a_name_that_begins_with_a_number_is_written_where_it_is_safe(tmp_path, db):
  mp3 = write_kind(tmp_path, "song.mp3")
  (song,) = write_songs(tmp_path, 1)
  frames = mutagen.id3.ID3(mp3)
  frames.add(mutagen.id3.TCON(encoding=0, text="80s"))
  frames.save(mp3)
  assert _genre_by_ffmpeg(mp3) == "Folk"  # what the rule prevents
  frames.delall("TCON")
  frames.save(mp3)
  before = content(mp3)
  for path in (mp3, song):
    add_song(db, path, rock=0.9)
  reasons = tag(db, names={"rock": "2000s"})
  assert reasons == {"song.mp3": "", song.name: ""}
  undo_last(db)
  reasons = tag(db, names={"rock": "80s"})
  assert "'80s' in ID3" in reasons["song.mp3"] and content(mp3) == before
  assert reasons[song.name] == "" and mutagen.flac.FLAC(song)["genre"] == ["80s"]


@pytest.mark.parametrize("key", ["----:com.apple.iTunes:GENRE", "----:org.example:genre"])
def test_a_genre_in_a_free_atom_of_mp4(tmp_path, db, key):
  path = write_kind(tmp_path, "aac.m4a")
  file = mutagen.mp4.MP4(path)
  file[key] = [mutagen.mp4.MP4FreeForm(b"Doom")]
  file["----:com.apple.iTunes:MOOD"] = [mutagen.mp4.MP4FreeForm(b"calm")]
  file.save()
  before = content(path)
  add_song(db, path, rock=0.9)
  assert tags.describe(str(path))["genres"] == {"MP4": ["Doom"]}
  assert tag(db) == {path.name: "has a genre"}
  assert tag(db, replace="all") == {path.name: ""}
  file = mutagen.mp4.MP4(path)
  assert file["\xa9gen"] == ["Rock"] and key not in file
  assert file["----:com.apple.iTunes:MOOD"] == [b"calm"]
  assert tag(db) == {path.name: "has these genres already"}
  assert undo_last(db) == {path.name: ""} and content(path) == before
