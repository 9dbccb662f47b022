"""Encodings of text: Unicode, Windows-1252, and errors that name what a text looks like."""

import pytest

from genre_jax.data.text_encodings import looks_western, text_encoding
from genre_jax.errors import UserError

WESTERN = (
  "Électro",
  "Café del Mar;déjà vu",
  "L’été à l’œuvre – 5 €",
  "Björk; Sigur Rós; Ágætis byrjun",
  "MÖTLEY CRÜE",
  "¿Qué?;señor … “mañana”",
  "Ö",
)


@pytest.mark.parametrize("text", WESTERN)
def test_western_text(tmp_path, text):
  path = tmp_path / "a.csv"
  path.write_bytes(f"file,genre\na.mp3,{text}\n".encode("cp1252"))
  encoding, note = text_encoding(path)
  assert encoding == "cp1252" and "Windows-1252" in note and "save it as UTF-8" in note
  path.write_text(text)
  assert text_encoding(path) == ("utf-8", "")


@pytest.mark.parametrize(
  ("encoding", "text"),
  [
    ("cp1251", "Рок"),
    ("koi8_r", "Русский рок"),
    ("cp932", "ロック"),
    ("gb18030", "摇滚"),
    ("cp1253", "Ροκ"),
    ("mac_roman", "Électro"),
    ("mac_roman", "Café"),
    ("cp850", "Électro"),
    ("cp850", "Käfer"),
    ("cp1250", "Łódź"),
  ],
)
def test_other_encodings_are_named(tmp_path, encoding, text):
  path = tmp_path / "a.csv"
  path.write_bytes(f"file,genre\na.mp3,{text}\n".encode(encoding))
  with pytest.raises(UserError) as raised:
    text_encoding(path)
  message = str(raised.value)
  assert f"{path}, line 2: " in message and "save it as UTF-8" in message and "iconv" in message
  assert f"looks like {encoding} (" in message or f" or {encoding} (" in message
  assert repr(text) in message


def test_bytes_that_windows_1252_does_not_define():
  assert not looks_western(b"\x81") and looks_western(b"plain")
