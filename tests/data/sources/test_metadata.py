"""Published collections with tables in their exact formats: labels, groups, splits, mistakes."""

from collections import Counter

import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared import prepare
from genre_jax.data.sources.registry import open_source
from genre_jax.data.split_assignment import check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from tests.data.sources.audio_collections import by_track, open_several, write_audio

# MTG-Jamendo.

JAMENDO = [
  "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS",
  "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock",
  "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\tgenre---punkrock",
  "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\tgenre---rock"
  "\tgenre---metal\tgenre---jazz",
  "track_0000387\tartist_000021\talbum_000046\t87/387.mp3\t346.0\tgenre---metal",
  "track_0000388\tartist_000022\talbum_000046\t88/388.mp3\t346.0\tgenre---rare",
]


@pytest.fixture
def jamendo(tmp_path, tone):
  """A checkout with split-0 and split-1, audio beside it, one file of the low quality."""
  data = tmp_path / "data"
  for number, order in (("0", (1, 2, 3, 4)), ("1", (3, 4, 1, 2))):
    (data / "splits" / f"split-{number}").mkdir(parents=True)
    for word, rows in (("train", order[:2]), ("validation", order[2:3]), ("test", order[3:])):
      (data / "splits" / f"split-{number}" / f"autotagging_genre-{word}.tsv").write_text(
        "\n".join([JAMENDO[0], *(JAMENDO[row] for row in rows)]) + "\n"
      )
  (data / "autotagging_genre.tsv").write_text("\n".join(JAMENDO) + "\n")
  write_audio(
    tmp_path / "audio", ["14/214.mp3", "15/215.low.mp3", "82/382.mp3", "88/388.mp3"], tone
  )
  return tmp_path


def test_jamendo(jamendo):
  source = open_source("jamendo", str(jamendo))
  clips = by_track(source)
  assert clips["track_0000382"].labels == ("jazz", "metal", "rock")
  assert clips["track_0000215"].group == "artist_000014"
  assert clips["track_0000215"].path.endswith("audio/15/215.low.mp3")
  assert source.skipped == (("track_0000387", "there is no file 87/387.mp3"),)
  # 'rare' is in no split file: its only track has no label left.
  assert source.classes == ("jazz", "metal", "punkrock", "rock") and len(clips) == 3
  assert any("1 tags are not in all three splits of split-0: rare" in note for note in source.notes)
  assignment = assign_splits(source.clips, name="official")
  assert Counter(assignment.splits.values()) == {"train": 2, "validation": 1}
  check_groups_apart(assignment, source.clips)
  other = assign_splits(
    open_source("jamendo", str(jamendo), subset="split-1").clips, name="official"
  )
  assert other.splits["track_0000382"] == "train" != assignment.splits["track_0000382"]
  assert source.log_mel(clips["track_0000214"], FrontendConfig()).shape[1] == 128


def test_jamendo_with_parts_missing(jamendo):
  (jamendo / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv").unlink()
  source = open_source("jamendo", str(jamendo / "data" / "autotagging_genre.tsv"))
  assert "rare" in source.classes and any("no official split" in note for note in source.notes)
  with pytest.raises(UserError, match="has no official split"):
    assign_splits(source.clips, name="official")
  for subset, change, message in (
    ("split-7", None, "jamendo has split-0"),
    ("", "track_1\tartist_1\talbum_1\t1/1.mp3\t3.0", "line 7: 5 cells; there must be a tag"),
    ("", "TRACK_ID\tPATH", "the column ARTIST_ID is missing"),
  ):
    if change:
      lines = [change] if change.startswith("TRACK") else [*JAMENDO, change]
      (jamendo / "data" / "autotagging_genre.tsv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
      open_source("jamendo", str(jamendo), subset=subset)
  with pytest.raises(UserError, match="there is no autotagging_genre.tsv"):
    open_source("jamendo", str(jamendo / "audio"))


def test_jamendo_clips_of_no_class_are_negatives_of_several_labels(jamendo):
  clips = by_track(open_several("jamendo", jamendo, "punkrock"))
  assert {track: clip.labels for track, clip in clips.items()} == {
    "track_0000214": ("punkrock",),
    "track_0000215": ("punkrock",),
    "track_0000382": (),
    "track_0000388": (),
  }
  # The only tag of the last is omitted by the split, so it has no split.
  assert [clips[f"track_0000{n}"].split for n in (382, 388)] == ["validation", ""]
  assert set(by_track(open_source("jamendo", str(jamendo), "punkrock"))) == {
    "track_0000214",
    "track_0000215",
  }


def test_jamendo_tracks_without_a_tag_are_left_out(jamendo):
  table = jamendo / "data" / "autotagging_genre.tsv"
  table.write_text(table.read_text().replace("genre---rare", ""))
  source = open_several("jamendo", jamendo, "punkrock")
  assert "track_0000388" not in by_track(source) and len(source.clips) == 3
  assert any("1 tracks of" in note and "have no tag: left out" in note for note in source.notes)


@pytest.mark.parametrize(
  "old, new, message",
  [
    (
      "track_0000387",
      "track_0000214",
      "line 5: track_0000214 is listed in line 2 already; put all",
    ),
    (
      "\talbum_000046\t82",
      "\t82",
      "line 4: ALBUM_ID is '82/382.mp3'; a cell of the line may be missing",
    ),
    ("\talbum_000046\t87", "\t87", "line 5: ALBUM_ID is '87/387.mp3'"),
    (
      "\t346.0\tgenre---metal",
      "\tgenre---metal\tgenre---x",
      "line 5: DURATION is 'genre---metal'; a cell",
    ),
    (
      "genre---jazz",
      "mood/theme---happy",
      "line 4: mood/theme---happy is not a genre, which begins with genre---;"
      " give autotagging_genre.tsv",
    ),
    ("genre---jazz", "genre---", "line 4: genre--- is not a genre"),
  ],
)
def test_bad_jamendo(jamendo, old, new, message):
  table = jamendo / "data" / "autotagging_genre.tsv"
  assert old in table.read_text()
  table.write_text(table.read_text().replace(old, new, 1))
  with pytest.raises(UserError, match=message):
    open_source("jamendo", str(jamendo))


def test_jamendo_track_in_two_splits(jamendo):
  with open(jamendo / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv", "a") as file:
    file.write(JAMENDO[2] + "\n")
  with pytest.raises(
    UserError,
    match="autotagging_genre-test.tsv, line 3: track_0000215 is in the"
    " train split of split-0 already",
  ):
    open_source("jamendo", str(jamendo))


def test_jamendo_split_of_tracks_that_are_not_listed(jamendo):
  folder = jamendo / "data" / "splits" / "split-0"
  with open(folder / "autotagging_genre-test.tsv", "a") as file:
    file.write(JAMENDO[4].replace("track_0000387", "track_0009999") + "\n")
  source = open_source("jamendo", str(jamendo))
  assert any(
    note.startswith("1 of 5 tracks of") and "such as track_0009999, are not in" in note
    for note in source.notes
  )
  for path in folder.iterdir():
    path.write_text(path.read_text().replace("track_0000", "track_0001"))
  with pytest.raises(
    UserError, match="split-0: none of its 5 tracks, such as track_0001214, is in"
  ):
    open_source("jamendo", str(jamendo))


# FMA.

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


# MagnaTagATune.

MTAT = """"clip_id"\t"no voice"\t"singer"\t"solo"\t"mp3_path"
"2"\t"0"\t"1"\t"0"\t"f/american_bach_soloists-j_s_bach_solo_cantatas-01-bwv54-30-59.mp3"
"6"\t"1"\t"0"\t"1"\t"c/american_bach_soloists-j_s_bach_solo_cantatas-02-bwv1-146-175.mp3"
"10"\t"0"\t"0"\t"0"\t"0/lvx_nova-lvx_nova-01-contimune-30-59.mp3"
"11"\t"0"\t"0"\t"1"\t"0/lvx_nova-lvx_nova-01-contimune-59-88.mp3"
"12"\t"1"\t"0"\t"1"\t"b/lvx_nova-lvx_nova-01-contimune-88-117.mp3"
"""


@pytest.fixture
def mtat(tmp_path, tone):
  (tmp_path / "annotations_final.csv").write_text(MTAT)
  names = [line.split("\t")[-1].strip('"') for line in MTAT.splitlines()[1:]]
  write_audio(tmp_path / "mp3", names[:4], tone)
  (tmp_path / "mp3" / "b").mkdir()
  (tmp_path / "mp3" / names[4]).write_bytes(b"")  # three files of the real dataset are empty
  return tmp_path


def test_magnatagatune(mtat, tmp_path, monkeypatch):
  source = open_source("magnatagatune", str(mtat))
  assert source.classes == ("no voice", "singer", "solo") and len(source.clips) == 4
  assert any("1 clips have none of these labels: left out" in note for note in source.notes)
  clip = by_track(source)["c/american_bach_soloists-j_s_bach_solo_cantatas-02-bwv1-146-175.mp3"]
  assert (clip.labels, clip.split) == (("no voice", "solo"), "validation")
  assert clip.group == "artist-american_bach_soloists"
  prepared = prepare(source, FrontendConfig(), tmp_path / "p", task="multi_label", workers=1)
  assert len(prepared.clips) == 3 and "empty (0 bytes)" in prepared.skipped[0][1]
  assignment = assign_splits(prepared.clips, name="official")
  assert Counter(assignment.splits.values()) == {"train": 1, "validation": 1, "test": 1}
  assert any("are in several official splits" in note for note in assignment.notes)
  monkeypatch.setattr("genre_jax.data.sources.magnatagatune.TOP", 1)
  assert open_source("magnatagatune", str(mtat), subset="top1").classes == ("solo",)
  several = open_several("magnatagatune", mtat, subset="top1")
  assert [len(clip.labels) for clip in several.clips] == [0, 1, 1, 1, 0]  # 0/... to f/...
  assert any("2 of 5 clips have none of these labels: kept" in note for note in several.notes)


@pytest.mark.parametrize(
  "old, new, message",
  [
    ('"mp3_path"', '"path"', "the column mp3_path is missing"),
    ('"6"\t"1"', '"6"\t"2"', "line 3: no voice is '2', not 0 or 1"),
    ('"2"\t"0"', '"2"', "line 2: 4 cells under 5 columns"),
    ("contimune-59-88", "contimune-30-59", "line 5: 0/lvx.*30-59.mp3 is listed in line 4 already"),
  ],
)
def test_bad_magnatagatune(mtat, old, new, message):
  (mtat / "annotations_final.csv").write_text(MTAT.replace(old, new, 1))
  with pytest.raises(UserError, match=message):
    open_source("magnatagatune", str(mtat))
  with pytest.raises(UserError, match="magnatagatune has top50"):
    open_source("magnatagatune", str(mtat), subset="top10")


def test_magnatagatune_saved_by_a_spreadsheet(mtat):
  before = open_source("magnatagatune", str(mtat))
  table = mtat / "annotations_final.csv"
  table.write_bytes(b"\xef\xbb\xbf" + MTAT.replace("\t", ",").replace("\n", "\r\n").encode())
  assert open_source("magnatagatune", str(mtat)).fingerprint() == before.fingerprint()
