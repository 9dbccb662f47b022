"""Normal forms and keys of names, descriptions of spellings, and search for files by name."""

import unicodedata

import pytest

from genre_jax.data.names import (
  FileFinder,
  describe_spellings,
  name_key,
  normal_name,
  normal_names,
  spelling_pairs,
)

NFD = unicodedata.normalize("NFD", "Électro")


@pytest.mark.parametrize(
  "name", ["rock", "Électro", "R&B", "می‌خواهم", "ロック", "hip hop", "Drum'n'Bass", ""]
)
def test_normal_names_are_not_changed(name):
  assert normal_name(name) == name


@pytest.mark.parametrize(
  "name", [NFD, " Électro ", "Élec\u200btro", "\ufeffÉlectro", "Électro\xa0", "É\u00adlectro"]
)
def test_spellings_of_one_name(name):
  assert normal_name(name) == "Électro"
  assert name_key(name) == name_key("électro") == name_key("ÉLECTRO")


def test_other_spellings():
  assert normal_name("hip\u3000\xa0 hop\n") == "hip hop" and normal_names("a , b\u200b") == "a,b"
  assert name_key("Straße") == name_key("STRASSE") and name_key("rock") != name_key("rocks")
  assert spelling_pairs(["rock", "Rock", "jazz", "ROCK"]) == [("ROCK", "Rock"), ("ROCK", "rock")]
  assert spelling_pairs(["rock", "pop"]) == []


def test_descriptions_show_invisible_differences():
  text = describe_spellings("Électro", NFD)
  assert r"'\xc9lectro', NFC" in text and r"'E\u0301lectro', NFD" in text
  assert "Unicode normal form" in text
  assert describe_spellings("Rock", "rock").endswith("'rock' differ in upper and lower case")
  text = describe_spellings("Rock", "Rock\u200b")
  assert r"'Rock\u200b'" in text and "invisible characters" in text
  assert "blanks" in describe_spellings("hip hop", "hip\xa0hop")


def test_files_are_found_in_any_spelling(tmp_path):
  (tmp_path / NFD).mkdir()
  file = tmp_path / NFD / "Song One.MP3"
  file.write_text("")
  finder = FileFinder()
  for name in (f"{NFD}/Song One.MP3", "Électro/Song One.MP3", "électro\\song  one.mp3", str(file)):
    assert finder.find(tmp_path, name) == str(file), name
  assert finder.find(tmp_path, str(file).replace(NFD, "Électro")) == str(file)
  assert finder.find(tmp_path, "Électro/other.mp3") == finder.find(tmp_path, "Électro") == ""


def test_files_that_differ_in_case_alone(tmp_path):
  for name in ("a.mp3", "A.mp3"):
    (tmp_path / name).write_text("")
  if len(list(tmp_path.iterdir())) < 2:
    pytest.skip("needs a file system that distinguishes case")
  finder = FileFinder()
  assert finder.find(tmp_path, "a.mp3") == str(tmp_path / "a.mp3")
  assert finder.find(tmp_path, "a.MP3") == ""
  (tmp_path / f"{NFD}.mp3").write_text("")
  (tmp_path / f"{NFD.lower()}.mp3").write_text("")
  assert FileFinder().find(tmp_path, "Électro.mp3") == str(tmp_path / f"{NFD}.mp3")
