"""Opening of sources: 'auto', folders, tables of groups, archives, and mistakes."""

import unicodedata

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.registry import open_source
from genre_jax.errors import UserError
from tests.data.sources.audio_collections import write_audio


def test_auto_goes_by_the_path(audio_folder, gtzan):
  assert open_source().name == "synthetic"
  assert open_source("auto", str(audio_folder)).name == "audio_folder"
  assert open_source("auto", str(gtzan / "audio")).name == "gtzan"
  assert open_source("auto", str(gtzan / "log_mel.npz")).name == "mel_archive"


def test_audio_folder(audio_folder):
  (audio_folder / "notes.txt").write_text("x")
  (audio_folder / "empty").mkdir()
  source = open_source("auto", str(audio_folder))
  assert source.classes == ("samba", "tango")
  assert [clip.track for clip in source.clips][:2] == ["samba/0.wav", "samba/1.wav"]
  assert not source.clips[0].has_group
  assert source.log_mel(source.clips[0], FrontendConfig()).shape == (
    FrontendConfig().frames_of(8000),
    128,
  )
  assert any("1 files that are not audio" in note for note in source.notes)
  assert any("no table of groups" in note for note in source.notes)


def test_genres(audio_folder):
  folder = str(audio_folder)
  assert open_source("auto", folder, "tango, samba").classes == ("tango", "samba")
  assert open_source("auto", folder, "all").classes == ("samba", "tango")
  assert {clip.labels for clip in open_source("auto", folder, "tango").clips} == {("tango",)}
  with pytest.raises(UserError, match="no genre 'polka'. There are: samba, tango"):
    open_source("auto", folder, "samba,polka")
  with pytest.raises(UserError, match="named twice"):
    open_source("auto", folder, "samba,samba")
  with pytest.raises(UserError, match="no genre is named"):
    open_source("auto", folder, ",")


def test_table_of_groups(audio_folder, tmp_path):
  table = tmp_path / "groups.csv"
  # With the byte order mark of spreadsheets, by path and by file name.
  table.write_text(
    "\ufefffile,group\nsamba/0.wav,anna\nsamba/1.wav,anna\ntango/2.wav,bert\ngone.wav,carl\n",
    encoding="utf-8",
  )
  source = open_source("auto", str(audio_folder), groups=str(table))
  groups = {clip.track: clip.group for clip in source.clips}
  assert groups["samba/0.wav"] == groups["samba/1.wav"] == "anna"
  assert groups["tango/2.wav"] == "bert" and groups["tango/0.wav"] == "track:tango/0.wav"
  assert sum(clip.has_group for clip in source.clips) == 3
  assert any(note.startswith("1 lines") for note in source.notes)
  assert any(note.startswith("5 clips are not in") for note in source.notes)
  plain = open_source("auto", str(audio_folder))
  assert plain.fingerprint() != source.fingerprint()


@pytest.mark.parametrize(
  "text, message",
  [
    ("name,artist\na,b\n", "columns file and group"),
    ("", "columns file and group"),
    ("file,group\nsamba/0.wav,\n", "line 2"),
    ("file,group\nsamba/0.wav,a\nsamba/0.wav,b\n", "two groups"),
    ("file,group\nx.wav,a\n", "none of its 1 files"),
    ("file,group\nsamba/0.wav,a\none, two.wav,b\n", "line 3: 3 cells under 2 columns.*in quotes"),
    ("file;group\nsamba/0.wav\n", "line 2: file or group is empty"),
    ('file,group\n\n"samba/0.wav,a\nsamba/1.wav,b\n', "line 3: cannot be read as a table"),
    ('file,group\n"samba/0.wav,a\nsamba/1.wav",b\n', "line 2: there is a line break in the file"),
    (b"file,group\n\xff\xfe\n", "cannot be read"),
  ],
)
def test_bad_tables_of_groups(audio_folder, tmp_path, text, message):
  table = tmp_path / "groups.csv"
  table.write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(UserError, match=message):
    open_source("auto", str(audio_folder), groups=str(table))
  with pytest.raises(UserError, match="cannot be read"):
    open_source("auto", str(audio_folder), groups=str(tmp_path / "none.csv"))


def test_mistakes(tmp_path, audio_folder):
  (tmp_path / "empty").mkdir()
  (tmp_path / "a.txt").write_text("x")
  for arguments, message in (
    (("auto", str(tmp_path / "none")), "dataset.path=.*no such file or folder"),
    (("gtzan", str(tmp_path / "none")), "dataset.path=.*no such file or folder"),
    (("audio_folder", str(tmp_path / "none")), "dataset.path=.*no such file or folder"),
    (("mel_archive", str(tmp_path / "none.npz")), "dataset.path=.*no such file or folder"),
    (("auto", str(tmp_path / "empty")), "no audio was found"),
    (("auto", str(audio_folder / "samba")), "4 audio files in no genre folder"),
    (("auto", str(tmp_path / "a.txt")), "give a folder of audio"),
    (("gtzan", str(tmp_path / "a.txt")), "genres.tar.gz"),
    (("mel_archiv", ""), "did you mean mel_archive"),
    (("gtzan", ""), "needs --config.dataset.path"),
    (("synthetic", "x"), "takes no path"),
    (("auto", "", "jazz"), "no genre 'jazz'"),
  ):
    with pytest.raises(UserError, match=message):
      open_source(*arguments)


def test_a_genre_name_with_a_separator_of_tables(audio_folder):
  (audio_folder / "tango").rename(audio_folder / "tango; milonga")
  with pytest.raises(UserError, match="rename it"):
    open_source("auto", str(audio_folder))


@pytest.mark.parametrize(
  ("spelling", "shown"),
  [
    ("Samba", "'Samba' and 'samba' differ in upper and lower case"),
    ("samba\u200b", r"'samba\\u200b' differ in invisible characters"),
    ("samba\xa0", r"'samba\\xa0' differ in blanks"),
  ],
)
def test_a_genre_in_two_spellings(audio_folder, tone, spelling, shown):
  write_audio(audio_folder, [f"{spelling}/a.wav"], tone)
  with pytest.raises(UserError, match=f"songs: the genre folders .*{shown}.*put their files into"):
    open_source("auto", str(audio_folder))
  # The other genres can still be used.
  assert open_source("auto", str(audio_folder), "tango").classes == ("tango",)


def test_a_genre_with_composed_and_decomposed_accents(audio_folder, tone):
  names = [unicodedata.normalize(form, "Électro") for form in ("NFC", "NFD")]
  write_audio(audio_folder, [f"{names[1]}/a.wav"], tone)
  source = open_source("auto", str(audio_folder), names[1])
  assert source.classes == (names[0],) and source.clips[0].labels == (names[0],)
  write_audio(audio_folder, [f"{names[0]}/a.wav"], tone)
  with pytest.raises(
    UserError, match=r"E\\u0301lectro', NFD.*xc9lectro', NFC.*Unicode normal form"
  ):
    open_source("auto", str(audio_folder))


def test_music_in_deep_folders_is_a_track(audio_folder, tone):
  write_audio(audio_folder, ["samba/B/Band/Album/CD 1/x/y.wav"], tone)
  clips = {clip.track: clip for clip in open_source("auto", str(audio_folder)).clips}
  assert clips["samba/B/Band/Album/CD 1/x/y.wav"].labels == ("samba",)


def test_table_of_groups_with_other_spellings(audio_folder, tmp_path, tone):
  accent = unicodedata.normalize("NFD", "é.wav")
  write_audio(audio_folder, [f"samba/{accent}", "samba/one, two.wav"], tone)
  table = tmp_path / "groups.csv"
  table.write_text(
    "Group;File\r\nBeyoncé;samba/é.wav\r\nBEYONCE\u0301 ;samba\\0.wav\r\n"
    'x;"samba/one, two.wav"\r\nx;TANGO/1.WAV\r\n',
    encoding="utf-16",
  )
  source = open_source("auto", str(audio_folder), groups=str(table))
  groups = {clip.track: clip.group for clip in source.clips if clip.has_group}
  same = groups["samba/0.wav"]
  assert groups == {
    f"samba/{accent}": same,
    "samba/0.wav": same,
    "samba/one, two.wav": "x",
    "tango/1.wav": "x",
  }
  assert any("1 groups are other spellings of a group, such as" in note for note in source.notes)


def test_a_name_that_the_table_gives_exactly_is_not_used_for_another(audio_folder, tmp_path, tone):
  write_audio(audio_folder, ["samba/A.wav", "samba/a.wav"], tone)
  table = tmp_path / "groups.csv"
  table.write_text("file,group\nsamba/A.wav,x\n")
  source = open_source("auto", str(audio_folder), groups=str(table))
  assert [clip.track for clip in source.clips if clip.has_group] == ["samba/A.wav"]


# Archives of spectrograms.


def archive(path, levels=None, names=None, **more):
  if levels is None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 128, 387), dtype=np.uint8)
  if names is None:
    names = np.array([f"{genre}.{k}" for genre in ("a", "b") for k in range(3)])
  np.savez(path, **{"log_mel": levels, "names": names, **more})
  return str(path)


def test_archive(tmp_path):
  levels = np.random.default_rng(0).integers(0, 256, (6, 128, 387), dtype=np.uint8)
  levels[5] = 7
  source = open_source("auto", archive(tmp_path / "a.npz", levels), frontend=FrontendConfig())
  assert source.name == "mel_archive" and source.classes == ("a", "b")
  values = source.log_mel(source.clips[1], FrontendConfig())
  np.testing.assert_allclose(values, levels[1].T / 255 * 80 - 80, atol=1e-4)
  assert values.dtype == np.float32
  with pytest.raises(Exception, match="silent"):
    source.log_mel(source.clips[5], FrontendConfig())


def test_other_names_in_an_archive_of_gtzan_are_left_out(tmp_path):
  names = [
    "rock.00003",
    "extra.demo",
    "metal.00001",
    "disco.00002",
    "blues.00001",
    "classical.00000",
  ]
  source = open_source(
    "auto", archive(tmp_path / "a.npz", names=np.array(names)), frontend=FrontendConfig()
  )
  assert [clip.track for clip in source.clips] == sorted(set(names) - {"extra.demo", "blues.00001"})
  assert source.clips[1].group.startswith("artist-") and source.clips[-1].index == 0
  assert any(
    "1 names are not GTZAN tracks" in note and "extra.demo" in note for note in source.notes
  )


def test_archive_of_gtzan(gtzan):
  source = open_source("auto", str(gtzan / "log_mel.npz"), "all", frontend=FrontendConfig())
  assert len(source.clips) == 639 and len(source.classes) == 10
  assert source.clips[0].group.startswith("artist-")
  assert source.log_mel(source.clips[-1], FrontendConfig()).shape == (387, 128)


@pytest.mark.parametrize(
  "frontend, flag",
  [
    (FrontendConfig(frame_stride=1.0), f"--config.frontend.frame_stride={1292 / 387}"),
    (FrontendConfig(n_mels=80), "--config.frontend.n_mels=128"),
    (FrontendConfig(hop_length=1024), "--config.frontend.frame_stride=1.66924"),
    (
      FrontendConfig(hop_length=4096),
      "--config.frontend.hop_length=1709 --config.frontend.frame_stride=1.0",
    ),
    (
      FrontendConfig(db_ref="full_scale", top_db=0.0),
      "--config.frontend.db_ref=max --config.frontend.top_db=80",
    ),
    (FrontendConfig(compression="log10_10000"), "--config.frontend.compression=db"),
  ],
)
def test_frontend_that_disagrees_with_the_archive(tmp_path, frontend, flag):
  with pytest.raises(UserError, match=flag):
    open_source("auto", archive(tmp_path / "a.npz"), frontend=frontend)


def test_the_flags_of_the_message_fix_it(tmp_path):
  path = archive(tmp_path / "a.npz")
  open_source("auto", path, frontend=FrontendConfig(frame_stride=3.3385))
  open_source("auto", path, frontend=FrontendConfig(hop_length=1709, frame_stride=1.0))
  with pytest.raises(UserError, match="12.9000"):
    open_source("auto", path, frontend=FrontendConfig(frame_stride=1.0))
  with pytest.raises(UserError, match="38.7000"):
    open_source("auto", path, frontend=FrontendConfig(), clip_seconds=10.0)


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(levels=np.zeros((6, 128), np.uint8)), "must be uint8"),
    (dict(levels=np.zeros((6, 128, 387), np.float32)), "must be uint8"),
    (dict(levels=np.zeros((0, 128, 387), np.uint8), names=np.zeros(0, "U3")), "must be uint8"),
    (dict(levels=np.zeros((5, 128, 387), np.uint8)), "names must be 5 strings"),
    (dict(names=np.arange(6)), "names must be 6 strings"),
    (dict(names=np.array(["a.1"] * 6)), "occurs twice"),
    (dict(names=np.array(list("abcdef"))), "contains no genre"),
    (dict(names=np.array([f"a.{k}" for k in range(6)], object)), "Python objects"),
    (dict(levels=np.array([None] * 6)), "Python objects"),
  ],
)
def test_bad_archives(tmp_path, change, message):
  with pytest.raises(UserError, match=message):
    open_source("auto", archive(tmp_path / "a.npz", **change), frontend=FrontendConfig())


def test_damaged_archives(tmp_path):
  path = tmp_path / "a.npz"
  path.write_bytes(b"not a zip")
  with pytest.raises(UserError, match="not an .npz archive"):
    open_source("auto", str(path))
  np.savez(path, spectra=np.zeros(3))
  with pytest.raises(UserError, match="no array 'log_mel'. It contains: spectra"):
    open_source("auto", str(path))
  archive(path)
  path.write_bytes(path.read_bytes()[:20000])
  with pytest.raises(UserError, match="damaged"):
    open_source("auto", str(path))
  archive(path)
  whole = bytearray(path.read_bytes())
  whole[100_000] ^= 255
  path.write_bytes(whole)
  with pytest.raises(UserError, match="its member log_mel.npy is damaged"):
    open_source("auto", str(path))
  names = np.array([f"a.{k}" for k in range(6)])
  np.savez_compressed(path, log_mel=np.zeros((6, 128, 387), np.uint8), names=names)
  whole = bytearray(path.read_bytes())
  whole[60:80] = bytes(20)
  path.write_bytes(whole)
  with pytest.raises(UserError, match="damaged"):
    open_source("auto", str(path))
  archive(path)
  data = path.read_bytes()
  path.write_bytes(data.replace(b"(6, 128, 387)", b"(6666,128,38)", 1))
  with pytest.raises(UserError):
    open_source("auto", str(path))
