"""Test which genres are written, what is left alone, and what undo refuses."""

import builtins
import json
import os
import sys

import mutagen.flac
import pytest

from genre_jax.errors import UserError
from genre_jax.library import changes, overview, tagging, undo
from genre_jax.library.database import find_model
from genre_jax.library.label_names import print_names, read_names, tag_of
from tests.library.conftest import add_song, content, tag, undo_last, write_songs


def _genres(path):
  return mutagen.flac.FLAC(path).get("genre")


def test_confidence_and_names(tmp_path, db):
  songs = write_songs(tmp_path, 4)
  add_song(db, songs[0], rock=0.59, doom=0.41)
  add_song(db, songs[1], hiphop=0.7, rock=0.3)
  add_song(db, songs[2], doom=0.8)
  add_song(db, songs[3], speech=0.9, rock=0.7)
  names = [song.name for song in songs]
  reasons = tag(db, max_genres=3)
  assert reasons == dict(
    zip(names, ["confidence below 0.6", "", "", "speech is no genre"], strict=True)
  )
  assert [_genres(song) for song in songs] == [None, ["Hip-Hop"], ["doom"], None]


def test_names_of_the_user(tmp_path):
  table = tmp_path / "names.csv"
  table.write_text("label;tag\nhiphop;Rap\nRock;\ndoom;Doom Metal, Slow\n")
  names = read_names(table)
  assert tag_of("hiphop", names) == "Rap" and tag_of("rock", names) == ""
  assert tag_of("doom", names) == "Doom Metal, Slow" and tag_of("jazz", names) == "Jazz"
  assert tag_of("my own", names) == "my own"
  table.write_text("label,tag\nrock,Rock\nROCK,Pop\n")
  with pytest.raises(UserError, match="line 3"):
    read_names(table)
  table.write_text("label,tag\nrock,Rock\n,Pop\n")
  with pytest.raises(UserError, match="names.csv, line 3: the label is empty"):
    read_names(table)
  table.write_text("label,genre\n")
  with pytest.raises(UserError, match="the column tag is missing"):
    read_names(table)


def test_names_are_printed(capsys):
  names = {"hiphop": "Hip-Hop", "speech": ""}
  print_names(["HipHop", "my, own"], names, sys.stdout)
  assert capsys.readouterr().out == 'label,tag\nHipHop,Hip-Hop\n"my, own","my, own"\n'
  print_names([], names, sys.stdout)
  assert capsys.readouterr().out == "label,tag\nhiphop,Hip-Hop\nspeech,\n"


def test_every_label_of_the_default_models_has_a_name(small_model):
  from genre_jax.data.labels import read_labels

  names = read_names()
  for label in read_labels():
    assert tag_of(label.name, names)[0].isupper(), label.name
  for label in ("hiphop", "blues", "metal"):
    assert tag_of(label, names)[0].isupper()
  for label in ("speech", "sound effect", "noise", "silence", "unknown", "female vocalists"):
    assert tag_of(label, names) == ""


def test_replace(tmp_path, db):
  ours, humans = write_songs(tmp_path, 2)
  flac = mutagen.flac.FLAC(humans)
  flac["genre"] = "Doom"
  flac.save()
  for song in (ours, humans):
    add_song(db, song, rock=0.9)
  assert tag(db) == {ours.name: "", humans.name: "has a genre"}
  # Another analysis of both.
  db.execute("DELETE FROM file")
  for song in (ours, humans):
    add_song(db, song, hiphop=0.8)
  assert tag(db) == {ours.name: "has a genre that genre_jax wrote", humans.name: "has a genre"}
  assert tag(db, replace="ours") == {ours.name: "", humans.name: "has a genre"}
  assert _genres(ours) == ["Hip-Hop"] and _genres(humans) == ["Doom"]
  # What a human removes stays removed.
  flac = mutagen.flac.FLAC(ours)
  del flac["genre"]
  flac.save()
  db.execute("DELETE FROM file")
  add_song(db, ours, hiphop=0.8)
  assert tag(db) == {ours.name: "its genre was removed after genre_jax wrote it"}
  assert tag(db, replace="ours") == {ours.name: ""} and _genres(ours) == ["Hip-Hop"]
  db.execute("DELETE FROM file")
  for song in (ours, humans):
    add_song(db, song, hiphop=0.8)
  # What a human changes is no longer ours.
  flac = mutagen.flac.FLAC(ours)
  flac["genre"] = ["Hip-Hop", "Chill"]
  flac.save()
  db.execute("DELETE FROM file")
  for song in (ours, humans):
    add_song(db, song, rock=0.8)
  assert tag(db, replace="ours") == {ours.name: "has a genre", humans.name: "has a genre"}
  assert tag(db, replace="all") == {ours.name: "", humans.name: ""}
  assert _genres(ours) == _genres(humans) == ["Rock"]
  provenance = json.loads(mutagen.flac.FLAC(ours)["genre_jax"][0])
  assert provenance == {
    "genres": ["Rock"],
    "model": "fake",
    "hash": "01234567",
    "confidence": 0.8,
  }


def test_an_empty_genre_is_no_genre(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  flac = mutagen.flac.FLAC(song)
  flac["genre"] = " "
  flac.save()
  add_song(db, song, rock=0.9)
  assert tag(db) == {song.name: ""} and _genres(song) == ["Rock"]


def test_a_dry_run_opens_nothing_for_writing(tmp_path, db, monkeypatch):
  songs = write_songs(tmp_path, 2)
  for song in songs:
    add_song(db, song, rock=0.9)
  before = [(content(song), os.stat(song)) for song in songs]
  real_open, real_os_open, opened = builtins.open, os.open, []

  def watch(path, mode="r", *args, **options):
    assert not set(mode) & set("wxa+"), (path, mode)
    opened.append(path)
    return real_open(path, mode, *args, **options)

  def os_watch(path, flags, *args, **options):
    assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), path
    return real_os_open(path, flags, *args, **options)

  with monkeypatch.context() as patch:
    patch.setattr(builtins, "open", watch)
    patch.setattr(os, "open", os_watch)
    options = tagging.Options({}, 0.6)
    decisions = list(tagging.decide(db, find_model(db), options))
  assert [d.reason for d in decisions] == ["", ""] and set(opened) == set(map(str, songs))
  after = [(content(song), os.stat(song)) for song in songs]
  assert [(c, s.st_mtime_ns, s.st_ino) for c, s in before] == [
    (c, s.st_mtime_ns, s.st_ino) for c, s in after
  ]


def test_only_named_folders(tmp_path, db):
  (a,), (b,) = write_songs(tmp_path / "a", 1), write_songs(tmp_path / "ab", 1)
  for song in (a, b):
    add_song(db, song, rock=0.9)
  options = tagging.Options({}, 0.6)
  found = list(tagging.decide(db, find_model(db), options, [str(tmp_path / "a")]))
  assert [d.path for d in found] == [str(a)]
  assert len(list(tagging.decide(db, find_model(db), options, [str(tmp_path)]))) == 2


def test_files_that_cannot_be_written_have_a_reason(tmp_path, db):
  linked, changed, gone, link = write_songs(tmp_path, 4)
  for song in (linked, changed, gone, link):
    add_song(db, song, rock=0.9)
  os.link(linked, tmp_path / "other name")
  os.utime(changed)
  gone.unlink()
  os.rename(link, tmp_path / "target.flac")
  os.symlink("target.flac", link)
  for song in (linked, link):  # new names change ctime
    db.execute(
      "UPDATE file SET ctime_ns = ? WHERE path = ?",
      (os.stat(song).st_ctime_ns, os.fsencode(song)),
    )
  before = content(linked)
  reasons = tag(db)
  assert "2 hard links" in reasons[linked.name]
  assert "changed since the scan" in reasons[changed.name]
  assert "cannot be read: No such file" in reasons[gone.name]
  assert content(linked) == before
  assert reasons[link.name] == "" and link.is_symlink()
  assert _genres(tmp_path / "target.flac") == ["Rock"]


@pytest.mark.parametrize("place", ["file", "folder"])
def test_what_is_read_only_is_left_alone(tmp_path, db, monkeypatch, place):
  (song,) = write_songs(tmp_path, 1)
  add_song(db, song, rock=0.9)
  closed = {"file": song, "folder": tmp_path}[place]
  with monkeypatch.context() as patch:
    patch.setattr(os, "access", lambda path, mode: str(path) != str(closed))
    reasons = tag(db)
  assert "is read-only" in reasons[song.name] or "folder that is read-only" in reasons[song.name]
  assert _genres(song) is None and tag(db) == {song.name: ""}


def test_a_tag_that_joins_genres_is_ours(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  add_song(db, song, rock=0.9)
  options = {"names": {"rock": "R&B; Soul"}}
  assert tag(db, **options) == {song.name: ""}
  for replace in ("none", "ours", "all"):
    assert tag(db, replace=replace, **options) == {song.name: "has these genres already"}
  assert tag(db) == {song.name: "has a genre that genre_jax wrote"}


def test_paths_that_the_library_lacks(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  add_song(db, song, rock=0.9)
  with pytest.raises(UserError, match="is not in the library"):
    list(tagging.decide(db, find_model(db), tagging.Options({}, 0.6), [str(tmp_path / "x")]))
  with pytest.raises(UserError, match="is not in the library"):
    overview.forget(db, [str(song), str(tmp_path / "x")])
  assert overview.forget(db, [str(tmp_path)]) == 1


def test_an_interrupted_command_names_its_batch(tmp_path, db, monkeypatch, capsys):
  songs = write_songs(tmp_path, 2)
  before = content(songs[0])
  for song in songs:
    add_song(db, song, rock=0.9)
  steps = iter([tagging.rewrite])

  def interrupt(*args, **options):
    next(steps, _interrupt)(*args, **options)

  monkeypatch.setattr(tagging, "rewrite", interrupt)
  with pytest.raises(KeyboardInterrupt):
    tagging.run(db, find_model(db), tagging.Options({}, 0.6), [], True)
  assert "batch 1: 1 files written, 0 failed; `genre-jax library undo" in capsys.readouterr().err
  assert undo_last(db) == {songs[0].name: ""} and content(songs[0]) == before


def _interrupt(*args, **options):
  raise KeyboardInterrupt


def test_preserve_mtime(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  os.utime(song, ns=(10**18, 10**18))
  add_song(db, song, rock=0.9)
  tag(db, preserve_mtime=True)
  assert _genres(song) == ["Rock"] and os.stat(song).st_mtime_ns == 10**18
  undo_last(db)
  assert os.stat(song).st_mtime_ns != 10**18


def test_undo_refuses_a_file_that_changed(tmp_path, db):
  changed, gone, moved = write_songs(tmp_path, 3)
  before = content(moved)
  for song in (changed, gone, moved):
    add_song(db, song, rock=0.9)
  tag(db)
  flac = mutagen.flac.FLAC(changed)
  flac["title"] = "New"
  flac.save()
  gone.unlink()
  os.rename(moved, tmp_path / "x.flac")
  db.execute(
    "UPDATE file SET path = ? WHERE path = ?",
    (os.fsencode(tmp_path / "x.flac"), os.fsencode(moved)),
  )
  reasons = undo_last(db)
  assert "--genre_only" in reasons[changed.name] and reasons[gone.name] == "cannot be read"
  assert reasons["x.flac"] == "" and content(tmp_path / "x.flac") == before
  assert _genres(changed) == ["Rock"]
  # The rest of the batch can still be undone.
  assert undo_last(db, genre_only=True) == {changed.name: "", gone.name: "cannot be read"}
  flac = mutagen.flac.FLAC(changed)
  assert dict(flac.tags) == {"title": ["New"]}


def test_batches_are_undone_in_turn(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  states = [content(song)]
  for genre in ("rock", "hiphop"):
    db.execute("DELETE FROM file")
    add_song(db, song, **{genre: 0.9})
    assert tag(db, replace="ours") == {song.name: ""}
    states.append(content(song))
  (first, second) = [n for (n,) in db.execute("SELECT id FROM batch ORDER BY id")]
  assert "changed since" in undo.check(undo.find_changes(db, first)[0])
  undo_last(db)
  assert content(song) == states[1]
  with pytest.raises(UserError, match=f"batches that have: {first}"):
    undo.find_batch(db, second)
  undo_last(db)
  assert content(song) == states[0]
  with pytest.raises(UserError, match="no changes to undo"):
    undo.find_batch(db)


def test_genre_only_restores_the_genre_of_a_human(tmp_path, db):
  (song,) = write_songs(tmp_path, 1)
  flac = mutagen.flac.FLAC(song)
  flac["genre"] = ["Doom", "Drone"]
  flac.save()
  add_song(db, song, rock=0.9)
  tag(db, replace="all")
  flac = mutagen.flac.FLAC(song)
  flac["title"] = "New"
  flac.save()
  assert undo_last(db, genre_only=True) == {song.name: ""}
  assert dict(mutagen.flac.FLAC(song).tags) == {"title": ["New"], "genre": ["Doom", "Drone"]}


def test_genre_only_leaves_a_new_genre_alone(tmp_path, db, capsys):
  songs = write_songs(tmp_path, 3)
  for song in songs:
    add_song(db, song, rock=0.9)
  tag(db)
  for song, new in zip(songs, ({"genre": "Doom"}, {"genre": []}, {"title": "New"}), strict=True):
    flac = mutagen.flac.FLAC(song)
    flac.update(new)
    flac.save()
  assert undo.run(db, 1, False, genre_only=True) == 1
  assert "batch 1: 1 files would be restored, 2 not" in capsys.readouterr().err
  reason = "its genre was changed since"
  assert list(undo_last(db, genre_only=True).values()) == ["", reason, reason]
  assert [_genres(song) for song in songs] == [["Doom"], None, None]


def test_a_change_that_cannot_be_undone_is_not_made(tmp_path, db, monkeypatch):
  (song,) = write_songs(tmp_path, 1)
  before = content(song)
  add_song(db, song, rock=0.9)
  monkeypatch.setattr(changes.delta, "encode", lambda old, new: changes.delta.zlib.compress(b""))
  assert "could not be undone" in tag(db)[song.name]
  assert content(song) == before and os.listdir(tmp_path).count(song.name) == 1
