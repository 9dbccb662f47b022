"""Test FMA in its exact format: labels, groups, splits, mistakes."""

import pytest

from genre_jax.data.sources.registry import open_source
from genre_jax.data.split_assignment import check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from tests.data.sources.audio_collections import by_track, open_several, write_audio

FMA = ''',album,artist,artist,set,set,track,track,track,track
,title,bio,id,split,subset,genre_top,genres,genres_all,title
track_id,,,,,,,,,
2,AWOL,"<p>A bio,
on two lines</p>",1,training,small,Hip-Hop,[21],[21],Food
3,AWOL,,1,training,medium,Hip-Hop,[21],[21],"Electric ""Ave"""
5,Niris,,6,validation,large,,"[76, 103]","[17, 10, 76, 103]",Freeway
10,Constant,,6,test,small,Pop,[10],[10],Freeway
20,Spiritual,,4,test,large,,"[999]","[999]",Spiritual
26,Spiritual,,,training,large,,[],[],Where is it
'''
FMA_GENRES = """genre_id,#tracks,parent,title,top_level
10,13845,0,Pop,10
17,19351,0,Folk,17
21,8389,0,Hip-Hop,21
76,1868,10,Experimental Pop,10
103,12706,17,Singer-Songwriter,17
"""


@pytest.fixture
def fma(tmp_path, tone):
  (tmp_path / "fma_metadata").mkdir()
  (tmp_path / "fma_metadata" / "tracks.csv").write_text(FMA)
  (tmp_path / "fma_metadata" / "genres.csv").write_text(FMA_GENRES)
  write_audio(
    tmp_path,
    [
      "fma_small/000/000002.mp3",
      "fma_small/000/000010.mp3",
      "fma_large/000/000003.mp3",
      "fma_large/000/000005.mp3",
      "fma_large/000/000020.mp3",
      "fma_large/000/000026.mp3",
    ],
    tone,
  )
  return tmp_path


def test_fma_one_genre(fma):
  source = open_source("fma", str(fma), subset="small")
  clips = by_track(source)
  assert source.classes == ("Hip-Hop", "Pop") and set(clips) == {"000002", "000010"}
  assert clips["000002"].group == "artist-1" and clips["000002"].split == "train"
  assert clips["000010"].split == "test"
  assert set(by_track(open_source("fma", str(fma), subset="medium"))) == {
    "000002",
    "000003",
    "000010",
  }
  source = open_source("fma", str(fma))
  assert len(source.clips) == 3
  assert any("3 tracks have no genre_top: left out" in note for note in source.notes)


def test_fma_every_genre(fma):
  source = open_source("fma", str(fma), subset="large,genres_all")
  clips = by_track(source)
  assert set(clips) == {"000002", "000003", "000005", "000010"}
  assert clips["000005"].labels == ("Experimental Pop", "Folk", "Pop", "Singer-Songwriter")
  assert any("1 genre ids, such as 999, are not in genres.csv" in note for note in source.notes)
  assignment = assign_splits(source.clips, name="official")
  assert assignment.splits == {
    "000002": "train",
    "000003": "train",
    "000005": "validation",
    "000010": "test",
  }
  # An artist in two official splits is noted and kept.
  assert any(
    "1 groups, such as artist-6, are in several official splits" in note
    for note in assignment.notes
  )
  check_groups_apart(assignment, source.clips)


def test_fma_clips_of_no_class_are_negatives_of_several_labels(fma):
  source = open_several("fma", fma, "Folk", subset="large,genres_all")
  # 000020 and 000026 have no known genre: it is unknown whether they are Folk.
  assert {clip.track: clip.labels for clip in source.clips} == {
    "000002": (),
    "000003": (),
    "000005": ("Folk",),
    "000010": (),
  }
  assert any("3 of 4 clips have none of these labels: kept" in note for note in source.notes)
  one = open_source("fma", str(fma), "Hip-Hop", subset="large")
  assert set(by_track(one)) == {"000002", "000003"}


@pytest.mark.parametrize(
  "old, new, message",
  [
    ("\n3,AWOL", "\n2,AWOL", "line 6: 000002 is listed in line 4 already; keep one of the lines"),
    (
      "1,training,medium",
      "1,TRAINING,medium",
      "line 6: set split is 'TRAINING': give training, validation, test",
    ),
    ("6,test,small", "6,test,tiny", "set subset is 'tiny': give small, medium, large"),
    ("track_id,,,", "1,,,", "must begin with track_id"),
    (",title,bio", ",bio", "two lines of headers of equal length"),
    ("set,set,", "sets,sets,", "the column set split is missing"),
    ('"[17, 10, 76, 103]"', "rock", "genres_all is 'rock', not a list"),
    ('"[17, 10, 76, 103]"', '"[""__import__""]"', "not a list"),
    ("10,Constant", "ten,Constant", "the first 'ten'"),
  ],
)
def test_bad_fma(fma, old, new, message):
  (fma / "fma_metadata" / "tracks.csv").write_text(FMA.replace(old, new))
  with pytest.raises(UserError, match=message):
    open_source("fma", str(fma), subset="large,genres_all")


def test_bad_fma_genres(fma):
  with pytest.raises(UserError, match="subset=huge: fma has small, medium, large"):
    open_source("fma", str(fma), subset="huge")
  (fma / "fma_metadata" / "genres.csv").write_text("genre_id,title\nx,y\n")
  with pytest.raises(UserError, match="not FMA's genres.csv"):
    open_source("fma", str(fma), subset="genres_all")
  (fma / "fma_metadata" / "genres.csv").unlink()
  with pytest.raises(UserError, match="genres.csv: cannot be read"):
    open_source("fma", str(fma), subset="genres_all")
