"""Test the search of similar songs: exactness, limits, duplicates, hubs, playlists."""

import json
import os
import pathlib
import shutil
import subprocess
import urllib.parse

import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.library import overview, playlist, similar
from genre_jax.library.database import find_model, transaction
from genre_jax.library.embeddings import NEAR, Embeddings
from genre_jax.library.label_names import read_names
from genre_jax.library.similar import Limits
from tests.library.conftest import CLASSES, write_songs
from tools.genre_features import FEATURES, PARTS_OF

FREE = Limits(count=10, per_artist=0, per_album=0)


def _add(db, path, vector, label="rock", confidence=0.5, genre="", seconds=100.4, **tags):
  """Add a song with an embedding; return its id."""
  db.execute(
    "INSERT OR IGNORE INTO model (id, hash, name, classes, task, used) VALUES (1, 'abcdef', 'fake',"
    " ?, 'single_label', 0)",
    (json.dumps(CLASSES),),
  )
  known = {**tags, "genres": {"ID3v2": [genre]} if genre else {}}
  file = db.execute(
    "INSERT INTO file (path, size, mtime_ns, ctime_ns, inode, sound, seconds, tags, status, error)"
    " VALUES (?, 0, 0, 0, 0, ?, ?, ?, 'ok', '')",
    (os.fsencode(path), os.fsencode(path), seconds, json.dumps(known)),
  ).lastrowid
  db.execute(
    "INSERT INTO analysis (file, model, label, confidence, probabilities, embedding)"
    " VALUES (?, 1, ?, ?, x'', ?)",
    (file, label, confidence, np.asarray(vector, np.float16).tobytes()),
  )
  return file


def _embeddings(db):
  return Embeddings(db, find_model(db))


@pytest.fixture
def songs(db):
  """Return the ids of 300 songs: six artists with five albums of ten songs, in two clusters."""
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(2, 16))
  with transaction(db):
    return [
      _add(
        db,
        f"/music/{n // 50}/{n // 10}/{n:03d}.flac",
        centers[n // 150] + 0.5 * rng.normal(size=16),
        artist=f"Artist {n // 50}",
        album=f"Album {n // 10}",
        title=f"Song {n}",
      )
      for n in range(300)
    ]


def test_the_default_model_is_searched_by_the_penultimate_layer_of_musicnn(db):
  raw = np.random.default_rng(0).normal(size=(4, FEATURES)).astype(np.float16)
  for number, vector in enumerate(raw):
    _add(db, f"/music/{number}", vector)
  part = np.float32(raw[:, PARTS_OF["embedding"]])
  part -= part.mean(0)
  part /= np.linalg.norm(part, axis=1, keepdims=True)
  np.testing.assert_allclose(_embeddings(db).vectors(range(4)), part, atol=1e-5)
  whole = Embeddings(db, find_model(db), slice(None))
  assert whole.vectors(range(4)).shape == raw.shape


def test_distances_are_exact(db, songs):
  embeddings = _embeddings(db)
  raw = np.stack(
    [
      np.frombuffer(row[0], np.float16).astype(np.float64)
      for row in db.execute("SELECT embedding FROM analysis ORDER BY file")
    ]
  )
  centered = raw - raw.mean(0)
  unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
  query = embeddings.index(songs[7])
  expected = 1 - unit @ unit[query]
  found = embeddings.distances(embeddings.vectors([query])[0])
  np.testing.assert_allclose(found, expected, atol=1e-5)
  indices, distances = embeddings.ranked(embeddings.vectors([query])[0], 20)
  assert set(indices) == set(np.argsort(expected)[:20])
  np.testing.assert_allclose(distances, expected[indices], atol=1e-5)
  assert embeddings.index(10_000) == -1 and embeddings.index(0) == -1


def test_searching_further_away_has_bounds(db, songs, monkeypatch):
  embeddings = _embeddings(db)
  indices = np.arange(len(embeddings))
  expected = embeddings.scales(indices)
  monkeypatch.setattr("genre_jax.library.embeddings.SCALED", 7)
  np.testing.assert_allclose(embeddings.scales(indices), expected, atol=1e-6)
  asked = []
  real = Embeddings.ranked

  def ranked(self, vector, count):
    asked.append(count)
    return real(self, vector, count)

  monkeypatch.setattr(Embeddings, "ranked", ranked)
  near = similar.similar(db, embeddings, songs[:1], Limits(50, 0, 0, max_distance=0.3))
  assert 0 < len(near) < 50 and asked == [len(near) + 1]


def test_limits(db, songs):
  embeddings = _embeddings(db)
  free = similar.similar(db, embeddings, songs[:1], FREE)
  assert len(free) == 10 and songs[0] not in [song.file for song in free]
  assert all("/music/0" <= song.path < "/music/3" for song in free)  # the same cluster
  found = similar.similar(db, embeddings, songs[:1], Limits(count=12, per_artist=3, per_album=2))
  artists = [song.artist for song in found]
  albums = [song.album for song in found]
  assert len(found) == 12
  assert max(map(artists.count, artists)) <= 3 and max(map(albums.count, albums)) <= 2
  # Six artists with two songs each are all there is.
  assert len(similar.similar(db, embeddings, songs[:1], Limits(count=50, per_artist=2))) == 12
  near = similar.similar(db, embeddings, songs[:1], Limits(50, 0, 0, max_distance=0.3))
  assert near and all(song.distance <= 0.3 for song in near)
  assert len(near) == int((embeddings.distances(embeddings.vectors([0])[0]) <= 0.3).sum()) - 1
  found = similar.similar(db, embeddings, songs[:1], Limits(10, 0, 0, exclude=["/music/[12]/*"]))
  assert all(not song.path.startswith(("/music/1/", "/music/2/")) for song in found)


def test_near_duplicates_and_the_same_title_are_left_out(db, songs):
  vector = np.frombuffer(
    db.execute("SELECT embedding FROM analysis WHERE file = ?", (songs[0],)).fetchone()[0],
    np.float16,
  )
  other_encoding = _add(db, "/other/a.mp3", vector + np.float16(0.01))
  rng = np.random.default_rng(5)
  live = _add(
    db, "/other/live.mp3", vector + 0.3 * rng.normal(size=16), artist="ARTIST 0", title="song 0"
  )
  twins = [_add(db, f"/other/{n}.mp3", vector + 0.4 * rng.normal(size=16)) for n in range(1)]
  twin = np.frombuffer(
    db.execute("SELECT embedding FROM analysis WHERE file = ?", (twins[0],)).fetchone()[0],
    np.float16,
  )
  twins.append(_add(db, "/other/twin.mp3", twin))
  embeddings = _embeddings(db)
  distances = embeddings.distances(embeddings.vectors([embeddings.index(songs[0])])[0])
  assert distances[embeddings.index(other_encoding)] < NEAR
  found = [song.file for song in similar.similar(db, embeddings, songs[:1], FREE)]
  assert other_encoding not in found and live not in found
  assert len(set(twins) & set(found)) == 1


def test_local_scaling_lowers_hubs(db):
  rng = np.random.default_rng(0)
  with transaction(db):
    for n in range(400):
      _add(db, f"/m/{n}.flac", rng.normal(size=64) * rng.uniform(0.2, 1))
  embeddings = _embeddings(db)

  def skewness(ranking):
    counts = np.zeros(400)
    for index in range(400):
      near = [other for other in ranking(embeddings.vectors([index])[0]) if other != index]
      counts[near[:10]] += 1
    return ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3

  plain = skewness(lambda vector: np.argsort(embeddings.distances(vector)))
  scaled = skewness(lambda vector: embeddings.ranked(vector, 400)[0])
  assert scaled < plain - 0.1 and abs(scaled) < abs(plain)


def test_missing_songs_and_songs_without_embeddings(db, songs):
  db.execute("UPDATE file SET missing_since = 1 WHERE id = ?", (songs[1],))
  embeddings = _embeddings(db)
  assert embeddings.index(songs[1]) == -1 and len(embeddings) == 299
  with pytest.raises(UserError, match="is missing"):
    similar.similar(db, embeddings, [songs[1]], FREE)
  with pytest.raises(UserError, match="is not in the library"):
    similar.find_song(db, "/music/absent.flac")
  db.execute("UPDATE file SET status = 'failed', error = 'is silent' WHERE id = ?", (songs[2],))
  with pytest.raises(UserError, match="is silent"):
    similar.find_song(db, "/music/0/0/002.flac")
  assert similar.find_song(db, "/music/0/../0/0/003.flac") == songs[3]
  db.execute("UPDATE analysis SET embedding = x''")
  with pytest.raises(UserError, match="no embeddings"):
    _embeddings(db)


def test_equal_embeddings_do_not_fail(db):
  ids = [_add(db, f"/m/{n}.flac", np.ones(4)) for n in range(3)]
  assert len(similar.similar(db, _embeddings(db), ids[:1], FREE)) == 2
  (one,) = [_add(db, "/m/other.flac", np.zeros(4))]
  found = similar.similar(db, _embeddings(db), [one], FREE)
  assert len(found) == 1  # the others are near duplicates of it


def test_playlists_from_seeds_and_between_songs(db, songs):
  embeddings = _embeddings(db)
  found = playlist.from_seeds(db, embeddings, [songs[0], songs[290]], Limits(count=8))
  assert [song.file for song in found[:2]] == [songs[0], songs[290]] and len(found) == 8
  twice = playlist.from_seeds(db, embeddings, [songs[0], songs[0]], Limits(count=1))
  assert [song.file for song in twice] == [songs[0]]
  path = playlist.path_between(db, embeddings, songs[0], songs[290], Limits(8, 0, 0))
  assert (path[0].file, path[-1].file, len(path)) == (songs[0], songs[290], 8)
  assert len({song.file for song in path}) == 8
  # The path begins in one cluster and ends in the other.
  halves = [song.file > songs[149] for song in path]
  assert halves[:2] == [False, False] and halves[-2:] == [True, True]
  assert sum(a != b for a, b in zip(halves[:-1], halves[1:], strict=True)) <= 3


def test_playlists_of_a_genre(db):
  weak = _add(db, "/m/weak.flac", [1, 0], "hiphop", 0.4)
  strong = _add(db, "/m/strong.flac", [0, 1], "hiphop", 0.9)
  human = _add(db, "/m/human.flac", [1, 1], "rock", 0.9, genre="Chill; Hip-Hop")
  gone = _add(db, "/m/gone.flac", [1, 2], "hiphop", 1.0)
  db.execute("UPDATE file SET missing_since = 1 WHERE id = ?", (gone,))
  model, names = find_model(db), read_names()
  for name in ("hiphop", "Hip-Hop", "hip-hop"):
    found = playlist.of_genre(db, model, name, names, Limits())
    expected = [strong, weak] if name == "hiphop" else [human, strong, weak]
    assert [song.file for song in found] == expected
  assert [s.file for s in playlist.of_genre(db, model, "chill", names, Limits())] == [human]
  with pytest.raises(UserError, match="did you mean hiphop"):
    playlist.of_genre(db, model, "hipho", names, Limits())
  # A genre given in the page replaces that of the model and of the tags.
  for file in (human, strong):
    db.execute("UPDATE file SET sound = ? WHERE id = ?", (b"%d" % file, file))
    db.execute("INSERT INTO correction VALUES (?, 'Waltz; Slow', 0)", (b"%d" % file,))
  found = playlist.of_genre(db, model, "waltz", names, Limits())
  assert {song.file for song in found} == {human, strong}
  assert [s.file for s in playlist.of_genre(db, model, "hiphop", names, Limits())] == [weak]


def test_a_playlist_is_relative_and_keeps_its_name(tmp_path, db):
  music = tmp_path / "music"
  music.mkdir()
  names = ["a.flac", "#b.flac", "c\n.flac", " d.flac", os.fsdecode(b"\xff.flac"), "ü%20.flac"]
  songs = []
  for number, name in enumerate(names):
    (music / name).write_bytes(b"")
    tags = {"artist": "Ä", "title": "Tune\nTwo"} if number == 0 else {}
    songs.append(similar.read_song(db, _add(db, music / name, [number, 1], **tags)))
  out = tmp_path / "lists" / "mine.m3u8"
  assert playlist.write_playlist(out, songs) == "mine"
  lines = out.read_bytes().split(b"\n")
  assert lines[:4] == [
    b"#EXTM3U",
    b"#PLAYLIST:mine",
    b"#EXTINF:100,\xc3\x84 - Tune\\nTwo",
    b"../music/a.flac",
  ]
  paths = [os.fsdecode(line) for line in lines[3::2] if line]
  for path, name in zip(paths, names, strict=True):
    if path.startswith("file://"):
      path = urllib.parse.unquote(path.removeprefix("file://"), errors="surrogateescape")
    assert os.path.samefile(out.parent / path, music / name)
  notes = tmp_path / "thesis.txt"
  notes.write_text("Chapter 1")
  with pytest.raises(UserError, match="thesis.txt: exists and is no playlist"):
    playlist.write_playlist(notes, songs)
  assert notes.read_text() == "Chapter 1"
  # In the folder itself, a name that begins like a comment.
  playlist.write_playlist(music / "b.m3u8", songs[1:2])
  assert (music / "b.m3u8").read_text().splitlines()[-1] == "./#b.flac"
  text = out.read_text(errors="surrogateescape").replace("PLAYLIST:mine", "PLAYLIST:My own name")
  out.write_text(text, errors="surrogateescape")
  link = tmp_path / "link.m3u8"
  link.symlink_to(out)
  assert playlist.write_playlist(link, songs[:1]) == "My own name"
  assert link.is_symlink() and len(out.read_text().splitlines()) == 4
  with pytest.raises(UserError, match="--out="):
    playlist.write_playlist(music / "a.flac" / "x.m3u8", songs)


def test_music_and_databases_are_not_replaced(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  database = tmp_path / "library.db"
  copy = tmp_path / "no extension"
  shutil.copy(song, copy)
  names = [song, database, copy, tmp_path / "new.mp3"]
  before = [name.read_bytes() for name in names[:3]]
  for name in names:
    with pytest.raises(UserError, match="give another file"):
      playlist.write_playlist(name, [])
    with pytest.raises(UserError, match="give another file"):
      overview.export_to(str(name), overview.rows(db, None), "csv")
  assert [name.read_bytes() for name in names[:3]] == before and not names[3].exists()
  beside = tmp_path / "songs.csv.tmp"
  beside.write_text("mine")
  assert overview.export_to(str(tmp_path / "songs.csv"), overview.rows(db, None), "csv") == 0
  assert beside.read_text() == "mine" and (tmp_path / "songs.csv").exists()


@pytest.mark.parametrize(
  "player",
  [
    ["mpv", "--no-config", "--ao=null", "--vo=null", "--length=0.1", "--msg-level=all=info"],
    ["cvlc", "-I", "dummy", "--aout=dummy", "--play-and-exit", "--run-time=1", "-vv"],
  ],
  ids=lambda command: command[0],
)
def test_a_player_opens_a_playlist(tmp_path, db, player):
  if not shutil.which(player[0]):
    pytest.skip(f"needs {player[0]}")
  if player[0] == "cvlc" and os.geteuid() == 0:
    pytest.skip("VLC does not run as root")
  from tests.library.conftest import write_songs

  paths = write_songs(tmp_path / "music", 2)
  songs = [similar.read_song(db, _add(db, path, [1, 2])) for path in paths]
  playlist.write_playlist(tmp_path / "list.m3u8", songs)
  done = subprocess.run([*player, tmp_path / "list.m3u8"], capture_output=True, text=True)
  for path in paths:
    assert pathlib.Path(path).name in done.stdout + done.stderr
