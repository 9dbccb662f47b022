"""Test the list of songs: search, filters, order, pages; and libraries of version 1."""

import json
import sqlite3

import pytest

from genre_jax.errors import UserError
from genre_jax.library import browse, corrections, database
from genre_jax.library.browse import Filter, find_tracks
from tests.library.conftest import CLASSES


def add(db, name, label, confidence, **tags):
  """Add a song without a file; return its id."""
  db.execute(
    "INSERT OR IGNORE INTO model (id, hash, name, classes, task, used) VALUES (1, 'x', 'fake', ?,"
    " 'single_label', 0)",
    (json.dumps(CLASSES),),
  )
  file = db.execute(
    "INSERT INTO file (path, size, mtime_ns, ctime_ns, inode, sound, seconds, tags, status, error)"
    " VALUES (?, 0, 0, 0, 0, ?, 61, ?, 'ok', '')",
    (name, name, json.dumps({"genres": {}, "provenance": "", **tags})),
  ).lastrowid
  db.execute(
    "INSERT INTO analysis (file, model, label, confidence, probabilities, embedding)"
    " VALUES (?, 1, ?, ?, x'', x'')",
    (file, label, confidence),
  )
  return file


@pytest.fixture
def songs(db):
  """Add four songs; return their ids."""
  return [
    add(db, b"/m/Bjork/one.flac", "rock", 0.9, title="Jóga", artist="Björk", album="Homogenic"),
    add(db, b"/m/x/AC-DC two.mp3", "rock;hiphop", 0.5, genres={"MP3": ["Doom"]}),
    add(db, b"/m/x/\xff three.ogg", "doom", 0.2, title="\udcff", artist="Alva"),
    add(
      db,
      b"/m/x/four.ogg",
      "hiphop",
      0.3,
      genres={"Ogg": ["Rock"]},
      provenance='{"genres":["Rock"]}',
    ),
  ]


def ids(db, order="path", **chosen):
  return [track.id for track in find_tracks(db, 1, Filter(**chosen), order)[1]]


@pytest.mark.parametrize(
  "words, found",
  [
    ("bjork", [0]),
    ("BJÖRK homo", [0]),
    ("ac-dc", [1]),
    ("ac two", [1]),
    ("wo", []),
    ("three.ogg", [2]),
    ("jóga rock", []),  # a genre is no word
    ('"', []),
    ("NOT OR (", []),
    ("x NEAR", []),
    ("m", [0, 1, 2, 3]),
  ],
)
def test_search(db, songs, words, found):
  assert sorted(ids(db, words=words)) == [songs[number] for number in found]


def test_filters(db, songs):
  assert sorted(ids(db, genre="rock")) == songs[:2]
  assert ids(db, genre="hiphop", order="confidence") == [songs[3], songs[1]]
  assert ids(db, genre="hip") == []
  assert ids(db, min_confidence=0.3, max_confidence=0.5, order="confidence") == [songs[3], songs[1]]
  # Without a human's genre: neither in the tags nor in the page.
  assert ids(db, unreviewed=True, order="confidence") == [songs[2], songs[3], songs[0]]
  corrections.correct(db, songs[2], " Dub ;doom ")
  assert ids(db, unreviewed=True, order="confidence") == [songs[3], songs[0]]
  assert ids(db, genre="Dub") == [songs[2]]


def test_order_and_pages(db, songs):
  assert ids(db, order="artist") == [songs[2], songs[0], songs[1], songs[3]]  # blanks last
  total, tracks = find_tracks(db, 1, Filter(), "confidence", descending=True, offset=1, limit=2)
  assert total == 4 and [track.id for track in tracks] == [songs[1], songs[3]]


def test_tracks(db, songs):
  track = browse.read_track(db, 1, songs[1])
  assert track.title == "AC-DC two.mp3" and track.tag_genres == ["Doom"] and track.seconds == 61
  broken = browse.read_track(db, 1, songs[2])
  json.dumps(vars(broken), ensure_ascii=False).encode()  # no surrogates
  assert browse.genre_counts(db, 1) == {"hiphop": 2, "rock": 2, "doom": 1}
  with pytest.raises(UserError, match="id=99: the library has no such song"):
    browse.read_track(db, 1, 99)


def test_words_follow_the_files(db, songs):
  db.execute('UPDATE file SET tags = \'{"title": "Novel"}\' WHERE id = ?', (songs[0],))
  assert ids(db, words="joga") == [] and ids(db, words="novel") == [songs[0]]
  db.execute("UPDATE file SET path = CAST('/n/elsewhere' AS BLOB) WHERE id = ?", (songs[0],))
  assert ids(db, words="bjork") == [] and ids(db, words="elsewhere") == [songs[0]]
  db.execute("DELETE FROM file WHERE id = ?", (songs[0],))
  assert ids(db, words="novel") == []
  db.execute("INSERT INTO file_words (file_words) VALUES ('integrity-check')")


def test_a_correction_belongs_to_the_sound(db, songs):
  assert corrections.correct(db, songs[0], "Art Pop; art  pop; Art Pop") == "Art Pop; art pop"
  copy = add(db, b"/m/copy.flac", "rock", 0.9)
  db.execute("UPDATE file SET sound = ? WHERE id = ?", (b"/m/Bjork/one.flac", copy))
  assert browse.read_track(db, 1, copy).correction == "Art Pop; art pop"
  corrections.withdraw(db, copy)
  assert browse.read_track(db, 1, songs[0]).correction == ""
  for genre in ("", " ; ", "x" * 201, "a\x07b"):
    with pytest.raises(UserError, match="give 1 to 200 printable characters"):
      corrections.correct(db, songs[0], genre)


def test_a_library_of_version_1_is_upgraded(tmp_path):
  path = tmp_path / "old.db"
  old = sqlite3.connect(path)
  old.executescript(f"{database.SCHEMA} PRAGMA user_version = 1;")
  old.execute(
    "INSERT INTO file VALUES (1, ?, 0, 0, 0, 0, x'01', 1, ?, 'ok', '', NULL)",
    (b"/m/a.flac", '{"title": "Old"}'),
  )
  old.execute("INSERT INTO model VALUES (1, 'x', 'fake', '[]', 'single_label', 0)")
  old.execute("INSERT INTO analysis VALUES (1, 1, 'rock', 0.5, x'', x'')")
  old.commit()
  old.close()
  for _ in range(2):
    db = database.open_database(path)
    assert ids(db, words="old") == [1]
    db.close()
