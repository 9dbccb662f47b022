"""Test MTG-Jamendo in its exact format: labels, groups, splits, mistakes."""

from collections import Counter

import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.registry import open_source
from genre_jax.data.split_assignment import check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from tests.data.sources.audio_collections import by_track, open_several, write_audio

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
