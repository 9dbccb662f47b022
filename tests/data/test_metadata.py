"""Collections with metadata files, each in its exact format with its oddities: labels, groups,
sides, and what is missing or damaged."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from experiments import base
from genre_jax.data import metadata
from genre_jax.data.prepared import label_vectors, prepare
from genre_jax.data.recipe import Recipe
from genre_jax.data.sources import open_source
from genre_jax.data.splits import check_groups_apart, make_split
from genre_jax.errors import UserError
from genre_jax.training.session import open_session


def write_audio(folder, names, tone):
  for i, name in enumerate(names):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, tone[100 * i:8000 + 100 * i], 22050)


def open_several(name, path, genres="", **options):
  """Opened for task=multi_label."""
  return open_source(name, str(path), genres, task="multi_label", **options)


def by_track(source):
  return {clip.track: clip for clip in source.clips}


# Any CSV.


@pytest.fixture
def csv_table(tmp_path, tone):
  write_audio(tmp_path, ["a/1.wav", "a/2.wav", "3.flac"], tone)
  path = tmp_path / "songs.csv"
  path.write_text("\ufeffFile,Genre,Group,Side\na/1.wav,rock; pop,anna,train\na/2.wav,jazz;?pop,,\n"
                  "./3.flac,pop,bert,test\n\ngone.wav,pop,bert,test\na/4.wav,,bert,\n",
                  encoding="utf-8")
  return path


def test_csv(csv_table, tmp_path):
  source = open_source("audio_table", str(csv_table))
  assert source.name == "audio_table" and source.classes == ("jazz", "pop", "rock")
  clips = by_track(source)
  assert set(clips) == {"a/1.wav", "a/2.wav", "3.flac"}
  assert clips["a/1.wav"].labels == ("pop", "rock") and clips["a/1.wav"].group == "anna"
  assert clips["a/2.wav"].unknown == ("pop",) and not clips["a/2.wav"].has_group
  assert clips["3.flac"].side == "test"
  assert source.skipped == (("gone.wav", "there is no file gone.wav"),)
  assert any("1 lines" in note and "no genre" in note for note in source.notes)
  assert any(note.startswith("1 of 4 audio files are missing") for note in source.notes)
  prepared = prepare(source, Recipe(), tmp_path / "prepared", task="multi_label", workers=1)
  assert [dict(zip(("labels", "unknown", "side"), (clip.labels, clip.unknown, clip.side),
                   strict=True)) for clip in prepared.clips] == [
    {"labels": clip.labels, "unknown": clip.unknown, "side": clip.side} for clip in source.clips]
  assert prepared.skipped == source.skipped
  labels, known = label_vectors(clips["a/2.wav"], source.classes)
  assert labels.tolist() == [1, 0, 0] and known.tolist() == [1, 0, 1]
  split = make_split(prepared.clips, name="official")
  assert split.sides == {"a/1.wav": "train", "3.flac": "test"}
  assert "1 clips are on no side of the official split: left out" in split.notes


def test_csv_genres(csv_table):
  source = open_source("audio_table", str(csv_table), "rock,jazz")
  assert source.classes == ("rock", "jazz") and set(by_track(source)) == {"a/1.wav", "a/2.wav"}
  assert any("1 clips have none of these labels" in note for note in source.notes)
  with pytest.raises(UserError, match="no genre 'polka'. There are: jazz, pop, rock"):
    open_source("audio_table", str(csv_table), "rock,polka")


def test_csv_clips_of_no_class_are_negatives_of_several_labels(csv_table, tmp_path):
  with open(csv_table, "a") as file:
    file.write("b/5.wav,?jazz,,valid\nb/6.wav,?jazz;?rock,,\n")
  write_audio(tmp_path, ["b/5.wav", "b/6.wav"], np.sin(np.arange(9000) / 9))
  source = open_several("audio_table", csv_table, "rock,jazz")
  clips = by_track(source)
  assert set(clips) == {"a/1.wav", "a/2.wav", "3.flac", "b/5.wav"}
  labels, known = label_vectors(clips["3.flac"], source.classes)
  assert labels.tolist() == [0, 0] and known.tolist() == [1, 1]
  labels, known = label_vectors(clips["b/5.wav"], source.classes)
  assert labels.tolist() == [0, 0] and known.tolist() == [1, 0]
  assert any("2 of 4 clips carry none of these labels: kept" in note for note in source.notes)
  assert any("1 clips are unknown of all these labels: left out" in n for n in source.notes)
  prepared = prepare(source, Recipe(), tmp_path / "prepared", task="multi_label", workers=1)
  assert [clip.labels for clip in prepared.clips] == [clip.labels for clip in source.clips]
  assert make_split(prepared.clips, name="official").sides == {
    "a/1.wav": "train", "3.flac": "test", "b/5.wav": "valid"}
  # One class can be asked; what a line does not name, its file does not carry.
  one = by_track(open_several("audio_table", csv_table, "rock"))
  assert {track: clip.labels for track, clip in one.items()} == {
    "a/1.wav": ("rock",), "a/2.wav": (), "3.flac": (), "b/5.wav": ()}
  # Of one genre a clip, others are of no use.
  assert set(by_track(open_source("audio_table", str(csv_table), "rock,jazz"))) == {
    "a/1.wav", "a/2.wav"}


def test_csv_label_that_is_only_ever_unknown(csv_table):
  csv_table.write_text("file,genre\na/1.wav,rock;?polka\na/2.wav,pop;;\n3.flac,?polka\n")
  source = open_several("audio_table", csv_table)
  assert source.classes == ("pop", "rock") and len(source.clips) == 3
  assert any("only ever unknown, and so no class: polka" in note for note in source.notes)
  with pytest.raises(UserError, match=r"no clip carries polka, it is only ever unknown \(.polka"):
    open_several("audio_table", csv_table, "rock,polka")


def test_csv_several_groups(csv_table):
  csv_table.write_text("file,genre,group\na/1.wav,rock, anna ; bert;\na/2.wav,pop,bert\n")
  assert by_track(open_source("audio_table", str(csv_table)))["a/1.wav"].group == "anna;bert"


def test_table_of_groups_beside_those_of_the_source(csv_table, tmp_path):
  table = tmp_path / "groups.csv"
  table.write_text("file,group\na/2.wav,carl\n")
  source = open_source("audio_table", str(csv_table), groups=str(table))
  assert {track: clip.group for track, clip in by_track(source).items()} == {
    "a/1.wav": "anna", "a/2.wav": "carl", "3.flac": "bert"}
  assert all(clip.has_group for clip in source.clips)
  assert any(note.startswith("2 clips are not in") and "keeps the group" in note
             for note in source.notes)


@pytest.mark.parametrize("text, message", [
  ("file,genre\na/1.wav,jazz;?\n", r"line 2: a '\?' stands alone; write \?GENRE"),
  ("file,genre\na/1.wav,jazz\na/2.wav,? ;pop\n", r"line 3: a '\?' stands alone"),
  ("file,genre,Label\na/1.wav,rock,pop\n", "line 1: the columns genre and Label both give the g"),
  ("file,genre,group,group\na/1.wav,rock,x,y\n", "columns group and group both give the group"),
  ("file,genre\na/1.wav,pop\na/2.wav,Rock\n3.flac,pop;rock\n",
   "line 4: 'rock' is spelt 'Rock' in line 3; .* spell them alike"),
  ("file,genre\na/1.wav,?Rock\na/2.wav,rock\n", "line 3: 'rock' is spelt 'Rock' in line 2"),
  ('file,genre\n3.flac,pop\na/1.wav,"rock\na/2.wav,pop\n',
   "line 3: cannot be read as a table: .*one that begins with a quote must end with one"),
  ('file,genre\na/1.wav,"rock\na/2.wav,"pop"\n', "line 2: cannot be read as a table"),
  ('file,genre\n\na/1.wav,"rock\na/2.wav,pop\n3.flac,"\n',
   "line 3: there is a line break in the genre, beginning 'rock'; close the quote"),
  ('file,genre\n"a/1.wav,rock\na/2.wav",pop\n', "line 2: there is a line break in the file"),
  ("file,artist\na/1.wav,x\n", "the column genre is missing"),
  ("a/1.wav,rock\n", "the column file is missing"),
  ("file,genre\na/1.wav,rock,pop\n", "line 2: 3 cells under 2 columns"),
  ("file,genre\n,rock\n", "line 2: the file is not named"),
  ("file,genre\na/1.wav,rock\na/1.wav,pop\n", "line 3: a/1.wav was listed in line 2"),
  ("file,genre\na/1.wav,rock;?rock\n", "rock is both held and unknown"),
  ("file,genre,side\na/1.wav,rock,training\n", "side is 'training': give train, valid, test"),
  ("file,genre\nx.wav,rock\ny.wav,rock\n", "none of the 2 audio files.*as x.wav"),
  ("file,genre\na/1.wav,\n", "no line of the metadata names a genre"),
  (b"file,genre\n\xff\xfe,x\n", "cannot be read as a table"),
  ("", "the column file is missing")])
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
  assert "all of their files are missing, and so no class: jazz" in source.notes
  assert not any("only ever unknown" in note for note in source.notes)
  with pytest.raises(UserError, match="all files of jazz are missing: put them, as b/9.wav, in"):
    open_source("audio_table", str(csv_table), "rock,jazz")


def test_class_whose_only_file_cannot_be_read(csv_table, tmp_path, capsys):
  csv_table.write_text("file,genre,side\na/1.wav,rock,train\na/2.wav,pop,train\n3.flac,pop,test\n"
                       "bad.wav,jazz,valid\n")
  (tmp_path / "bad.wav").write_bytes(b"no sound")
  config = base.get_config()
  config.dataset.source, config.dataset.path = "audio_table", str(csv_table)
  config.dataset.prepared_dir, config.dataset.workers = str(tmp_path / "prepared"), 1
  config.split.name = "official"
  assert open_session(config).prepared.classes == ("jazz", "pop", "rock")
  lines = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
  assert len(lines) == 1 and "no clip is left that carries jazz:" in lines[0]


# MTG-Jamendo.

JAMENDO = ["TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS",
           "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock",
           "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal"
           "\tgenre---punkrock",
           "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\tgenre---rock"
           "\tgenre---metal\tgenre---jazz",
           "track_0000387\tartist_000021\talbum_000046\t87/387.mp3\t346.0\tgenre---metal",
           "track_0000388\tartist_000022\talbum_000046\t88/388.mp3\t346.0\tgenre---rare"]


@pytest.fixture
def jamendo(tmp_path, tone):
  """A checkout with split-0 and split-1, audio beside it, one file of the low quality."""
  data = tmp_path / "data"
  for number, order in (("0", (1, 2, 3, 4)), ("1", (3, 4, 1, 2))):
    (data / "splits" / f"split-{number}").mkdir(parents=True)
    for word, rows in (("train", order[:2]), ("validation", order[2:3]), ("test", order[3:])):
      (data / "splits" / f"split-{number}" / f"autotagging_genre-{word}.tsv").write_text(
        "\n".join([JAMENDO[0], *(JAMENDO[row] for row in rows)]) + "\n")
  (data / "autotagging_genre.tsv").write_text("\n".join(JAMENDO) + "\n")
  write_audio(tmp_path / "audio", ["14/214.mp3", "15/215.low.mp3", "82/382.mp3", "88/388.mp3"],
              tone)
  return tmp_path


def test_jamendo(jamendo):
  source = open_source("jamendo", str(jamendo))
  clips = by_track(source)
  assert clips["track_0000382"].labels == ("jazz", "metal", "rock")
  assert clips["track_0000215"].group == "artist_000014"
  assert clips["track_0000215"].path.endswith("audio/15/215.low.mp3")
  assert source.skipped == (("track_0000387", "there is no file 87/387.mp3"),)
  # 'rare' stands in no split file: its only track is left with nothing.
  assert source.classes == ("jazz", "metal", "punkrock", "rock") and len(clips) == 3
  assert any("1 tags are not on all sides of split-0: rare" in note for note in source.notes)
  split = make_split(source.clips, name="official")
  assert Counter(split.sides.values()) == {"train": 2, "valid": 1}
  check_groups_apart(split, source.clips)
  other = make_split(open_source("jamendo", str(jamendo), subset="split-1").clips, name="official")
  assert other.sides["track_0000382"] == "train" != split.sides["track_0000382"]
  assert source.log_mel(clips["track_0000214"], Recipe()).shape[1] == 128


def test_jamendo_with_parts_missing(jamendo):
  (jamendo / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv").unlink()
  source = open_source("jamendo", str(jamendo / "data" / "autotagging_genre.tsv"))
  assert "rare" in source.classes and any("no official split" in note for note in source.notes)
  with pytest.raises(UserError, match="no split of its own"):
    make_split(source.clips, name="official")
  for subset, change, message in (
      ("split-7", None, "jamendo has split-0"),
      ("", "track_1\tartist_1\talbum_1\t1/1.mp3\t3.0", "line 7: 5 cells; there must be a tag"),
      ("", "TRACK_ID\tPATH", "the column ARTIST_ID is missing")):
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
    "track_0000214": ("punkrock",), "track_0000215": ("punkrock",), "track_0000382": (),
    "track_0000388": ()}
  # The last has only a tag that the split leaves out, and so no side.
  assert [clips[f"track_0000{n}"].side for n in (382, 388)] == ["valid", ""]
  assert set(by_track(open_source("jamendo", str(jamendo), "punkrock"))) == {
    "track_0000214", "track_0000215"}


def test_jamendo_tracks_without_a_tag_are_left_out(jamendo):
  table = jamendo / "data" / "autotagging_genre.tsv"
  table.write_text(table.read_text().replace("genre---rare", ""))
  source = open_several("jamendo", jamendo, "punkrock")
  assert "track_0000388" not in by_track(source) and len(source.clips) == 3
  assert any("1 tracks of" in note and "have no tag: left out" in note for note in source.notes)


@pytest.mark.parametrize("old, new, message", [
  ("track_0000387", "track_0000214", "line 5: track_0000214 was listed in line 2 already; put all"),
  ("\talbum_000046\t82", "\t82", "line 4: ALBUM_ID is '82/382.mp3'; is a cell of the line missing"),
  ("\talbum_000046\t87", "\t87", "line 5: ALBUM_ID is '87/387.mp3'"),
  ("\t346.0\tgenre---metal", "\tgenre---metal\tgenre---x",
   "line 5: DURATION is 'genre---metal'; is a cell"),
  ("genre---jazz", "mood/theme---happy",
   "line 4: mood/theme---happy is no genre, those begin with genre---; give autotagging_genre.tsv"),
  ("genre---jazz", "genre---", "line 4: genre--- is no genre")])
def test_bad_jamendo(jamendo, old, new, message):
  table = jamendo / "data" / "autotagging_genre.tsv"
  assert old in table.read_text()
  table.write_text(table.read_text().replace(old, new, 1))
  with pytest.raises(UserError, match=message):
    open_source("jamendo", str(jamendo))


def test_jamendo_track_on_two_sides(jamendo):
  with open(jamendo / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv", "a") as file:
    file.write(JAMENDO[2] + "\n")
  with pytest.raises(UserError, match="autotagging_genre-test.tsv, line 3: track_0000215 is on the"
                                      " train side of split-0 already"):
    open_source("jamendo", str(jamendo))


def test_jamendo_split_of_tracks_that_are_not_listed(jamendo):
  folder = jamendo / "data" / "splits" / "split-0"
  with open(folder / "autotagging_genre-test.tsv", "a") as file:
    file.write(JAMENDO[4].replace("track_0000387", "track_0009999") + "\n")
  source = open_source("jamendo", str(jamendo))
  assert any(note.startswith("1 of 5 tracks of") and "as track_0009999, are not in" in note
             for note in source.notes)
  for path in folder.iterdir():
    path.write_text(path.read_text().replace("track_0000", "track_0001"))
  with pytest.raises(UserError, match="split-0: none of its 5 tracks, as track_0001214, is in"):
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
  write_audio(tmp_path, ["fma_small/000/000002.mp3", "fma_small/000/000010.mp3",
                         "fma_large/000/000003.mp3", "fma_large/000/000005.mp3",
                         "fma_large/000/000020.mp3", "fma_large/000/000026.mp3"], tone)
  return tmp_path


def test_fma_one_genre(fma):
  source = open_source("fma", str(fma), subset="small")
  clips = by_track(source)
  assert source.classes == ("Hip-Hop", "Pop") and set(clips) == {"000002", "000010"}
  assert clips["000002"].group == "artist-1" and clips["000002"].side == "train"
  assert clips["000010"].side == "test"
  assert set(by_track(open_source("fma", str(fma), subset="medium"))) == {
    "000002", "000003", "000010"}
  source = open_source("fma", str(fma))
  assert len(source.clips) == 3
  assert any("3 tracks have no genre_top: left out" in note for note in source.notes)


def test_fma_every_genre(fma):
  source = open_source("fma", str(fma), subset="large,genres_all")
  clips = by_track(source)
  assert set(clips) == {"000002", "000003", "000005", "000010"}
  assert clips["000005"].labels == ("Experimental Pop", "Folk", "Pop", "Singer-Songwriter")
  assert any("1 genre ids, as 999, are not in genres.csv" in note for note in source.notes)
  split = make_split(source.clips, name="official")
  assert split.sides == {"000002": "train", "000003": "train", "000005": "valid", "000010": "test"}
  # The set's own split: an artist on two sides is told of and left.
  assert any("1 groups, as artist-6, stand on several sides" in note for note in split.notes)
  check_groups_apart(split, source.clips)


def test_fma_clips_of_no_class_are_negatives_of_several_labels(fma):
  source = open_several("fma", fma, "Folk", subset="large,genres_all")
  # 000020 and 000026 are of no genre that is known: nobody has said that they are not Folk.
  assert {clip.track: clip.labels for clip in source.clips} == {
    "000002": (), "000003": (), "000005": ("Folk",), "000010": ()}
  assert any("3 of 4 clips carry none of these labels: kept" in note for note in source.notes)
  one = open_source("fma", str(fma), "Hip-Hop", subset="large")
  assert set(by_track(one)) == {"000002", "000003"}


@pytest.mark.parametrize("old, new, message", [
  ("\n3,AWOL", "\n2,AWOL", "line 6: 000002 was listed in line 4 already; keep one of the lines"),
  ("1,training,medium", "1,TRAINING,medium",
   "line 6: set split is 'TRAINING': give training, validation, test"),
  ("6,test,small", "6,test,tiny", "set subset is 'tiny': give small, medium, large"),
  ("track_id,,,", "1,,,", "must begin with track_id"),
  (",title,bio", ",bio", "two lines of headers of equal length"),
  ("set,set,", "sets,sets,", "the column set split is missing"),
  ('"[17, 10, 76, 103]"', "rock", "genres_all is 'rock', not a list"),
  ('"[17, 10, 76, 103]"', '"[""__import__""]"', "not a list"),
  ("10,Constant", "ten,Constant", "the first 'ten'")])
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

MTAT = '''"clip_id"\t"no voice"\t"singer"\t"solo"\t"mp3_path"
"2"\t"0"\t"1"\t"0"\t"f/american_bach_soloists-j_s_bach_solo_cantatas-01-bwv54-30-59.mp3"
"6"\t"1"\t"0"\t"1"\t"c/american_bach_soloists-j_s_bach_solo_cantatas-02-bwv1-146-175.mp3"
"10"\t"0"\t"0"\t"0"\t"0/lvx_nova-lvx_nova-01-contimune-30-59.mp3"
"11"\t"0"\t"0"\t"1"\t"0/lvx_nova-lvx_nova-01-contimune-59-88.mp3"
"12"\t"1"\t"0"\t"1"\t"b/lvx_nova-lvx_nova-01-contimune-88-117.mp3"
'''


@pytest.fixture
def mtat(tmp_path, tone):
  (tmp_path / "annotations_final.csv").write_text(MTAT)
  names = [line.split("\t")[-1].strip('"') for line in MTAT.splitlines()[1:]]
  write_audio(tmp_path / "mp3", names[:4], tone)
  (tmp_path / "mp3" / "b").mkdir()
  (tmp_path / "mp3" / names[4]).write_bytes(b"")  # three files of the real set are empty
  return tmp_path


def test_magnatagatune(mtat, tmp_path, monkeypatch):
  source = open_source("magnatagatune", str(mtat))
  assert source.classes == ("no voice", "singer", "solo") and len(source.clips) == 4
  assert any("1 clips have none of these labels: left out" in note for note in source.notes)
  clip = by_track(source)["c/american_bach_soloists-j_s_bach_solo_cantatas-02-bwv1-146-175.mp3"]
  assert (clip.labels, clip.side) == (("no voice", "solo"), "valid")
  assert clip.group == "artist-american_bach_soloists"
  prepared = prepare(source, Recipe(), tmp_path / "p", task="multi_label", workers=1)
  assert len(prepared.clips) == 3 and "empty (0 bytes)" in prepared.skipped[0][1]
  split = make_split(prepared.clips, name="official")
  assert Counter(split.sides.values()) == {"train": 1, "valid": 1, "test": 1}
  assert any("stand on several sides" in note for note in split.notes)
  monkeypatch.setattr("genre_jax.data.magnatagatune.TOP", 1)
  assert open_source("magnatagatune", str(mtat), subset="top1").classes == ("solo",)
  several = open_several("magnatagatune", mtat, subset="top1")
  assert [len(clip.labels) for clip in several.clips] == [0, 1, 1, 1, 0]  # 0/... to f/...
  assert any("2 of 5 clips carry none of these labels: kept" in note for note in several.notes)


@pytest.mark.parametrize("old, new, message", [
  ('"mp3_path"', '"path"', "the column mp3_path is missing"),
  ('"6"\t"1"', '"6"\t"2"', "line 3: no voice is '2', not 0 or 1"),
  ('"2"\t"0"', '"2"', "line 2: 4 cells under 5 columns"),
  ("contimune-59-88", "contimune-30-59", "line 5: 0/lvx.*30-59.mp3 was listed in line 4 already"),
  ("\t", ",", "line 1: cannot be read as a table: .* put tabs between the cells")])
def test_bad_magnatagatune(mtat, old, new, message):
  (mtat / "annotations_final.csv").write_text(MTAT.replace(old, new, -1 if old == "\t" else 1))
  with pytest.raises(UserError, match=message):
    open_source("magnatagatune", str(mtat))
  with pytest.raises(UserError, match="magnatagatune has top50"):
    open_source("magnatagatune", str(mtat), subset="top10")
