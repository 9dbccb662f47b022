"""Collections with a CSV table: labels, groups, splits, missing and damaged files."""

import unicodedata

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared import prepare
from genre_jax.data.source import label_vectors
from genre_jax.data.sources import metadata
from genre_jax.data.sources.registry import open_source
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from genre_jax.experiments import base
from genre_jax.training.setup import open_experiment
from tests.data.sources.audio_collections import by_track, open_several, write_audio


@pytest.fixture
def csv_table(tmp_path, tone):
  write_audio(tmp_path, ["a/1.wav", "a/2.wav", "3.flac"], tone)
  path = tmp_path / "songs.csv"
  path.write_text(
    "\ufeffFile,Genre,Group,Split\na/1.wav,rock; pop,anna,train\na/2.wav,jazz;?pop,,\n"
    "./3.flac,pop,bert,test\n\ngone.wav,pop,bert,test\na/4.wav,,bert,\n",
    encoding="utf-8",
  )
  return path


@pytest.mark.slow
def test_csv(csv_table, tmp_path):
  source = open_source("audio_table", str(csv_table))
  assert source.name == "audio_table" and source.classes == ("jazz", "pop", "rock")
  clips = by_track(source)
  assert set(clips) == {"a/1.wav", "a/2.wav", "3.flac"}
  assert clips["a/1.wav"].labels == ("pop", "rock") and clips["a/1.wav"].group == "anna"
  assert clips["a/2.wav"].unknown == ("pop",) and not clips["a/2.wav"].has_group
  assert clips["3.flac"].split == "test"
  assert source.skipped == (("gone.wav", "there is no file gone.wav"),)
  assert any("1 lines" in note and "no genre" in note for note in source.notes)
  assert any(note.startswith("1 of 4 audio files are missing") for note in source.notes)
  prepared = prepare(source, FrontendConfig(), tmp_path / "prepared", task="multi_label", workers=1)
  assert [
    dict(zip(("labels", "unknown", "split"), (clip.labels, clip.unknown, clip.split), strict=True))
    for clip in prepared.clips
  ] == [
    {"labels": clip.labels, "unknown": clip.unknown, "split": clip.split} for clip in source.clips
  ]
  assert prepared.skipped == source.skipped
  labels, known = label_vectors(clips["a/2.wav"], source.classes)
  assert labels.tolist() == [1, 0, 0] and known.tolist() == [1, 0, 1]
  assignment = assign_splits(prepared.clips, name="official")
  assert assignment.splits == {"a/1.wav": "train", "3.flac": "test"}
  assert "1 clips are in no official split: left out" in assignment.notes


def test_csv_names_of_earlier_versions(csv_table):
  """The column `side` is `split`, and its value `valid` is `validation`."""
  csv_table.write_text("file,genre,side\na/1.wav,rock,train\na/2.wav,pop,valid\n3.flac,pop,test\n")
  splits = {clip.track: clip.split for clip in open_source("audio_table", str(csv_table)).clips}
  assert splits == {"a/1.wav": "train", "a/2.wav": "validation", "3.flac": "test"}
  csv_table.write_text("file,genre,split\na/1.wav,rock,valid\na/2.wav,pop,validation\n")
  assert {clip.split for clip in open_source("audio_table", str(csv_table)).clips} == {"validation"}


def test_csv_genres(csv_table):
  source = open_source("audio_table", str(csv_table), "rock,jazz")
  assert source.classes == ("rock", "jazz") and set(by_track(source)) == {"a/1.wav", "a/2.wav"}
  assert any("1 clips have none of these labels" in note for note in source.notes)
  with pytest.raises(UserError, match="no genre 'polka'. There are: jazz, pop, rock"):
    open_source("audio_table", str(csv_table), "rock,polka")


def test_csv_clips_of_no_class_are_negatives_of_several_labels(csv_table, tmp_path):
  with open(csv_table, "a") as file:
    file.write("b/5.wav,?jazz,,validation\nb/6.wav,?jazz;?rock,,\n")
  write_audio(tmp_path, ["b/5.wav", "b/6.wav"], np.sin(np.arange(9000) / 9))
  source = open_several("audio_table", csv_table, "rock,jazz")
  clips = by_track(source)
  assert set(clips) == {"a/1.wav", "a/2.wav", "3.flac", "b/5.wav"}
  labels, known = label_vectors(clips["3.flac"], source.classes)
  assert labels.tolist() == [0, 0] and known.tolist() == [1, 1]
  labels, known = label_vectors(clips["b/5.wav"], source.classes)
  assert labels.tolist() == [0, 0] and known.tolist() == [1, 0]
  assert any("2 of 4 clips have none of these labels: kept" in note for note in source.notes)
  assert any("1 clips are unknown for all these labels: left out" in n for n in source.notes)
  prepared = prepare(source, FrontendConfig(), tmp_path / "prepared", task="multi_label", workers=1)
  assert [clip.labels for clip in prepared.clips] == [clip.labels for clip in source.clips]
  assert assign_splits(prepared.clips, name="official").splits == {
    "a/1.wav": "train",
    "3.flac": "test",
    "b/5.wav": "validation",
  }
  # A single class; a label that a line does not name is negative.
  one = by_track(open_several("audio_table", csv_table, "rock"))
  assert {track: clip.labels for track, clip in one.items()} == {
    "a/1.wav": ("rock",),
    "a/2.wav": (),
    "3.flac": (),
    "b/5.wav": (),
  }
  # For single_label, clips without one of the genres are left out.
  assert set(by_track(open_source("audio_table", str(csv_table), "rock,jazz"))) == {
    "a/1.wav",
    "a/2.wav",
  }


def test_csv_label_that_is_only_unknown(csv_table):
  csv_table.write_text("file,genre\na/1.wav,rock;?polka\na/2.wav,pop;;\n3.flac,?polka\n")
  source = open_several("audio_table", csv_table)
  assert source.classes == ("pop", "rock") and len(source.clips) == 3
  assert any("only unknown, and thus not classes: polka" in note for note in source.notes)
  with pytest.raises(UserError, match=r"no clip has the label polka, it is only unknown \(.polka"):
    open_several("audio_table", csv_table, "rock,polka")


def test_csv_several_groups(csv_table):
  csv_table.write_text("file,genre,group\na/1.wav,rock, anna ; bert;\na/2.wav,pop,bert\n")
  assert by_track(open_source("audio_table", str(csv_table)))["a/1.wav"].group == "anna;bert"


def test_table_of_groups_beside_those_of_the_source(csv_table, tmp_path):
  table = tmp_path / "groups.csv"
  table.write_text("file,group\na/2.wav,carl\n")
  source = open_source("audio_table", str(csv_table), groups=str(table))
  assert {track: clip.group for track, clip in by_track(source).items()} == {
    "a/1.wav": "anna",
    "a/2.wav": "carl",
    "3.flac": "bert",
  }
  assert all(clip.has_group for clip in source.clips)
  assert any(
    note.startswith("2 clips are not in") and "keeps the group" in note for note in source.notes
  )


def test_csv_of_a_spreadsheet(csv_table, tmp_path, tone):
  accent = unicodedata.normalize("NFD", "été.wav")
  write_audio(tmp_path, [accent], tone)
  text = 'FILE;Genre;Group\r\na\\1.wav;"rock;pop";Björk\r\néTé.wav;Été;BJÖRK \r\n3.flac;rock;x\r\n'
  csv_table.write_bytes(text.encode("cp1252"))
  source = open_source(
    "audio_table", str(csv_table), "rock, e\u0301te\u0301".replace("e\u0301t", "Ét")
  )
  assert source.classes == ("rock", "Été")
  assert [clip.group for clip in source.clips] == ["x", "BJÖRK", "BJÖRK"]
  assert source.clips[2].path == str(tmp_path / accent)
  notes = " ".join(source.notes)
  assert "read as Windows-1252" in notes and "'Björk' of 'BJÖRK': joined" in notes


def test_a_file_in_two_spellings(csv_table):
  csv_table.write_text("file,genre\na/1.wav,rock\nA/1.wav,pop\n")
  with pytest.raises(UserError, match="lists the file .*a/1.wav twice, as 'a/1.wav' and as 'A/1.w"):
    open_source("audio_table", str(csv_table))


@pytest.mark.parametrize(
  "text, message",
  [
    ("file,genre\na/1.wav,jazz;?\n", r"line 2: a '\?' has no label after it; write \?GENRE"),
    ("file,genre\na/1.wav,jazz\na/2.wav,? ;pop\n", r"line 3: a '\?' has no label after it"),
    ("file,genre,Label\na/1.wav,rock,pop\n", "line 1: the columns genre and Label both give the g"),
    ("file,genre,group,group\na/1.wav,rock,x,y\n", "columns group and group both give the group"),
    (
      "file,genre\na/1.wav,pop\na/2.wav,Rock\n3.flac,pop;rock\n",
      "line 4: 'rock' is spelled 'Rock' in line 3; .* use one spelling",
    ),
    ("file,genre\na/1.wav,?Rock\na/2.wav,rock\n", "line 3: 'rock' is spelled 'Rock' in line 2"),
    (
      'file,genre\n3.flac,pop\na/1.wav,"rock\na/2.wav,pop\n',
      "line 3: cannot be read as a table: .*one that begins with a quote must end with one",
    ),
    ('file,genre\na/1.wav,"rock\na/2.wav,"pop"\n', "line 2: cannot be read as a table"),
    (
      'file,genre\n\na/1.wav,"rock\na/2.wav,pop\n3.flac,"\n',
      "line 3: there is a line break in the genre, beginning 'rock'; close the quote",
    ),
    ('file,genre\n"a/1.wav,rock\na/2.wav",pop\n', "line 2: there is a line break in the file"),
    ("file,artist\na/1.wav,x\n", "the column genre is missing"),
    ("a/1.wav,rock\n", "the column file is missing"),
    ("file,genre\na/1.wav,rock,pop\n", "line 2: 3 cells under 2 columns"),
    ("file,genre\n,rock\n", "line 2: the file is not named"),
    ("file,genre\na/1.wav,rock\na/1.wav,pop\n", "line 3: a/1.wav is listed in line 2"),
    ("file,genre\na/1.wav,rock;?rock\n", "rock is both positive and unknown"),
    (
      "file,genre,split\na/1.wav,rock,training\n",
      "the split is 'training': give train, validation, test or nothing",
    ),
    ("file,genre,split,side\na/1.wav,rock,train,train\n", "split and side both give the split"),
    ("file,genre\nx.wav,rock\ny.wav,rock\n", "none of the 2 audio files.*such as x.wav"),
    ("file,genre\na/1.wav,\n", "no line of the table names a known genre"),
    (b"file,genre\n\xff\xfe,x\n", "cannot be read as a table"),
    ("", "the column file is missing"),
    (
      "file,genre\na/1.wav,?É\na/2.wav,E\u0301\n",
      r"line 3: .* is spelled .* in line 2;.*'E\\u0301', NFD.*differ in Unicode normal form",
    ),
    ("file,genre\na/1.wav\n", "line 2: 1 cell under 2 columns"),
    ("file;genre\na/1.wav;rock;pop\n", "line 2: 3 cells under 2 columns"),
    (
      "file,genre\na/1.wav,hip hop\na/2.wav,hip\u3000hop;\u200bHip Hop\n",
      "spelled 'hip hop' in lin",
    ),
  ],
)
def test_bad_csv(csv_table, text, message):
  csv_table.write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(UserError, match=message):
    open_source("audio_table", str(csv_table))


def test_many_missing_files_are_counted(csv_table, monkeypatch):
  monkeypatch.setattr(metadata, "MOST_LISTED", 1)
  with open(csv_table, "a") as file:
    file.write("gone2.wav,pop,x,\n")
  source = open_source("audio_table", str(csv_table))
  assert len(source.skipped) == 1
  assert any("2 of 5 audio files are missing, the first 1 of them" in n for n in source.notes)


def test_class_whose_files_are_all_missing(csv_table):
  csv_table.write_text("file,genre\na/1.wav,rock\na/2.wav,pop;?jazz\nb/9.wav,jazz\nc.wav,pop\n")
  source = open_source("audio_table", str(csv_table))
  assert source.classes == ("pop", "rock")
  assert "labels whose files are all missing, and thus not classes: jazz" in source.notes
  assert not any("only unknown" in note for note in source.notes)
  with pytest.raises(
    UserError, match="all files of jazz are missing: put them, such as b/9.wav, in"
  ):
    open_source("audio_table", str(csv_table), "rock,jazz")


def test_class_whose_only_file_cannot_be_read(csv_table, tmp_path, capsys):
  csv_table.write_text(
    "file,genre,split\na/1.wav,rock,train\na/2.wav,pop,train\n3.flac,pop,test\n"
    "bad.wav,jazz,validation\n"
  )
  (tmp_path / "bad.wav").write_bytes(b"no audio")
  config = base.get_config()
  config.dataset.source, config.dataset.path = "audio_table", str(csv_table)
  config.dataset.prepared_dir, config.dataset.workers = str(tmp_path / "prepared"), 1
  config.split.name = "official"
  assert open_experiment(config).prepared.classes == ("jazz", "pop", "rock")
  lines = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
  assert len(lines) == 1 and "no track is left with the label jazz," in lines[0]
