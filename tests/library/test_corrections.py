"""Test the genres of humans: `learn` trains with them, `tag` writes them, `undo` restores."""

import json

import soundfile

from genre_jax.inference.output_lock import OutputLock
from genre_jax.library import corrections, database, overview, tags
from genre_jax.library.correction_writer import CorrectionWriter
from genre_jax.library.database import find_model
from genre_jax.library.label_names import read_names
from genre_jax.library.learning_examples import read_examples
from genre_jax.library.tagging import Options
from tests.inference.conftest import sound
from tests.library.conftest import add_song, content, scan, tag, undo_last, write_songs


def test_tag_writes_the_word_of_a_human(tmp_path, db):
  paths = write_songs(tmp_path / "music", 4)
  files = [add_song(db, path, rock=0.7, hiphop=0.3) for path in paths]
  assert set(tag(db).values()) == {""}  # 'Rock', by the model
  corrections.correct(db, files[0], "hiphop")
  corrections.correct(db, files[1], "speech")
  assert tag(db) == {
    "000.flac": "",  # what this program wrote is replaced
    "001.flac": "speech is no genre",
    "002.flac": "has these genres already",
    "003.flac": "has these genres already",
  }
  known = tags.describe(str(paths[0]))
  assert list(known["genres"].values()) == [["Hip-Hop"]]
  assert json.loads(known["provenance"]) == {
    "genres": ["Hip-Hop"],
    "by": "human",
    "confidence": 1.0,
  }
  # The human's genre stays where the library is lost, and another word replaces it.
  db.execute("DELETE FROM correction")
  assert tag(db, replace="ours")["000.flac"] == "has a genre"
  corrections.correct(db, files[0], "Dub; Doom")
  assert tag(db)["000.flac"] == ""
  assert list(tags.describe(str(paths[0]))["genres"].values()) == [["Dub", "Doom"]]
  undo_last(db)
  assert list(tags.describe(str(paths[0]))["genres"].values()) == [["Hip-Hop"]]


def test_the_genre_in_a_file_stays_without_replace(tmp_path, db):
  [path] = write_songs(tmp_path / "music", 1)
  with open(path, "r+b") as file:
    tags.edit(file, lambda t: t.set_genres(["Polka"], ""))
  file = add_song(db, path, rock=0.7)
  corrections.correct(db, file, "Doom")
  assert tag(db) == {"000.flac": "has a genre"}
  assert tag(db, replace="all") == {"000.flac": ""}


def test_a_session_is_one_batch(tmp_path, db):
  paths = write_songs(tmp_path / "music", 3)
  files = [add_song(db, path, rock=0.7) for path in paths]
  before = [content(path) for path in paths]
  writer = CorrectionWriter(tmp_path / "library.db", find_model(db), Options(read_names(), 0.6))
  for file in files[:2]:
    corrections.correct(db, file, "Doom")
    assert writer.write(file) == ""
  assert writer.write(files[0]) == ""  # has it already
  paths[2].unlink()
  corrections.correct(db, files[2], "Doom")
  assert "cannot be read" in writer.write(files[2])
  assert writer.write(99) == "the file is missing, or its genre was taken back"
  lock = OutputLock((tmp_path / "library.db").resolve())
  assert "another command writes the library" in writer.write(files[0])
  lock.release()
  writer.close()
  assert db.execute("SELECT COUNT(*) FROM batch").fetchone() == (1,)
  assert list(tags.describe(str(paths[0]))["genres"].values()) == [["Doom"]]
  assert set(undo_last(db).values()) == {""}
  assert [content(path) for path in paths[:2]] == before[:2]


def test_a_new_encoding_keeps_the_word_of_a_human(tmp_path, db, model):
  song, other = write_songs(tmp_path / "music", 2, seconds=4)
  scan(db, model, tmp_path / "music")
  for (file,) in db.execute("SELECT id FROM file").fetchall():
    corrections.correct(db, file, "Doom")
  soundfile.write(song, 0.5 * sound(4.2, 8000, 0), 8000)
  soundfile.write(other, sound(9, 8000, 5), 8000)  # another song under the same name
  scan(db, model, tmp_path / "music")
  found = db.execute("SELECT genre FROM file LEFT JOIN correction USING (sound) ORDER BY path")
  assert found.fetchall() == [("Doom",), (None,)]
  assert "genres given by humans in `library serve`: 1" in overview.status(db, find_model(db))


def test_learn_trains_with_the_word_of_a_human(db):
  vector = bytes(16)
  db.execute("INSERT INTO model VALUES (1, 'x', 'fake', '[]', 'single_label', 0)")
  for number in range(6):
    known = {
      "artist": str(number % 3),
      "genres": {"MP4": ["Rock"] if number < 4 else ["Doom"]},
      "provenance": '{"genres": ["Doom"], "by": "human"}' if number == 4 else "",
    }
    db.execute(
      "INSERT INTO file VALUES (?, ?, 0, 0, 0, 0, ?, 1, ?, 'ok', '', NULL)",
      (number + 1, f"/m/{number}".encode(), bytes([number]), json.dumps(known)),
    )
    db.execute("INSERT INTO analysis VALUES (?, 1, '', 0, x'', ?)", (number + 1, vector))
  corrections.correct(db, 1, "hiphop; Rock")
  corrections.correct(db, 2, "hip-hop")
  examples = read_examples(db, 1)
  assert examples.genres == ("Doom", "Hip-Hop", "Rock")
  assert examples.labels.tolist() == [1, 1, 2, 2, 0, 0]


def test_status_and_export(tmp_path, db):
  [path] = write_songs(tmp_path / "music", 1)
  file = add_song(db, path, rock=0.7)
  corrections.correct(db, file, "Doom")
  model = database.find_model(db)
  assert "genres given by humans in `library serve`: 1" in overview.status(db, model)
  [row] = overview.rows(db, model)
  assert row["correction"] == "Doom" and row["genre"] == "rock"
