"""Test MagnaTagATune in its exact format: labels, groups, splits, mistakes."""

from collections import Counter

import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared import prepare
from genre_jax.data.sources.registry import open_source
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from tests.data.sources.audio_collections import by_track, open_several, write_audio

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
