"""Find the encoding of a text file: Unicode, or Windows-1252 if the text looks like that."""

import codecs
import itertools
import os
import re
import unicodedata

from genre_jax.errors import UserError

BOMS = (
  (codecs.BOM_UTF8, "utf-8-sig"),
  (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
  (codecs.BOM_UTF32_BE, "utf-32"),
  (codecs.BOM_UTF16_LE, "utf-16"),
  (codecs.BOM_UTF16_BE, "utf-16"),
)
BINARY = {
  b"PK\x03\x04": "a spreadsheet or a zip archive",
  b"\xd0\xcf\x11\xe0": "a spreadsheet",
  b"\x1f\x8b": "compressed by gzip",
  b"%PDF": "a PDF document",
}
SAVE = "save it as UTF-8 (in a spreadsheet as 'CSV UTF-8')"
# Encodings that a text may have if not Windows-1252, with the scripts of their letters.
OTHERS = (
  ("cp1251", "Cyrillic", {"CYRILLIC"}),
  ("koi8_r", "Cyrillic", {"CYRILLIC"}),
  ("cp1253", "Greek", {"GREEK"}),
  ("cp932", "Japanese", {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
  ("cp949", "Korean", {"HANGUL"}),
  ("gb18030", "Chinese", {"CJK"}),
  ("big5", "Chinese", {"CJK"}),
  ("mac_roman", "old Macintosh", {"LATIN"}),
  ("cp850", "MS-DOS", {"LATIN"}),
  ("cp1250", "Central European", {"LATIN"}),
)
MOST_GUESSES = 3
SAMPLE_LINES = 50
CHUNK = 1 << 20  # bytes
# Letters of Western languages in Windows-1252 that are not ASCII.
LETTER = re.compile("[ŠŒŽšœžŸªºÀ-ÖØ-öø-ÿ]")
INSIDE_WORDS = "’‘·\u00ad"


def text_encoding(path: str | os.PathLike) -> tuple[str, str]:
  """Find the encoding of a text file.

  Args:
    path: The file.

  Returns:
    (encoding, note): the note is a line for the user, '' if the file is Unicode.

  Raises:
    UserError: If the file is not text, or is in an encoding that cannot be determined.
    OSError: If the file cannot be read.
  """
  with open(path, "rb") as file:
    head = file.read(4096)
    for mark, encoding in BOMS:
      if head.startswith(mark):
        return encoding, ""
    for mark, kind in BINARY.items():
      if head.startswith(mark):
        raise UserError(f"{path}: cannot be read as a table: it is {kind}; {SAVE}.")
    if b"\0" in head:
      nulls = [head[first::2].count(0) for first in (0, 1)]
      if all(nulls):
        raise UserError(f"{path}: cannot be read as a table: it is not text; {SAVE}.")
      return ("utf-16-le" if nulls[1] else "utf-16-be"), ""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
      while chunk := file.read(CHUNK):
        decoder.decode(chunk)
      decoder.decode(b"", final=True)
      return "utf-8", ""
    except UnicodeDecodeError:
      file.seek(0)
      return "cp1252", _western_note(path, file)


def _western_note(path, file) -> str:
  """Return the note for a file in Windows-1252; raise UserError if it does not look like that."""
  lines, unicode_line, sample = [], 0, ""
  for number, line in enumerate(file, 1):
    if line.isascii():
      continue
    try:
      line.decode("utf-8")
      unicode_line = number
    except UnicodeDecodeError as error:
      if len(lines) < SAMPLE_LINES:
        lines.append((number, line, line[error.start]))
      if not looks_western(line):
        raise _unknown_encoding(path, [lines[-1], *lines]) from error
      sample = sample or _word(line.decode("cp1252"))
  if unicode_line:
    number, _, byte = lines[0]
    raise UserError(
      f"{path}, line {number}: cannot be read as a table: the byte 0x{byte:02x} is not UTF-8, but"
      f" line {unicode_line} is; {SAVE}."
    )
  return (
    f"{path} is not UTF-8: read as Windows-1252, with names such as {sample!r}; if they are wrong,"
    f" {SAVE}"
  )


def _word(text: str) -> str:
  """Return the first word with a letter that is not ASCII."""
  return next((word for word in re.split(r"[,;\t\r\n/]", text) if not word.isascii()), "")


def looks_western(line: bytes) -> bool:
  """Return whether bytes look like words of Western languages in Windows-1252."""
  try:
    text = line.decode("cp1252")
  except UnicodeDecodeError:  # five bytes are not defined
    return False
  for index, sign in enumerate(text):
    if sign.isascii():
      continue
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    letters = [bool(other) and other.isalpha() for other in (before, after)]
    if LETTER.match(sign):
      if sign.isupper() and before.islower():
        return False
    elif sign in "ƒˆ˜" and any(letters) or sign in "‚„" and letters[0]:
      return False  # accented letters of MS-DOS and old Macintosh
    elif all(letters) and sign not in INSIDE_WORDS:
      return False
  # Several letters in a row, and words without ASCII letters, are of other scripts.
  return not re.search("[^\x00-\x7f]{4}", text) and not re.search(
    r"(?<!\w)[^\x00-\x7f\W]{2,}(?!\w)", text
  )


def _unknown_encoding(path, lines) -> UserError:
  """Return the error for a file that is neither UTF-8 nor Windows-1252.

  Args:
    path: The file.
    lines: (number, line, first byte that is not UTF-8), the first is the one to name.
  """
  number, _, byte = lines[0]
  raw = b"".join(line for _, line, _ in lines)
  guesses = []
  for encoding, kind, scripts in OTHERS:
    try:
      text = raw.decode(encoding)
    except UnicodeDecodeError:
      continue
    letters = [sign for sign in text if not sign.isascii()]
    found = {unicodedata.name(sign, "?").split()[0] for sign in letters}
    mixed = re.search(
      "[A-Za-z][^\x00-\x7f]|[^\x00-\x7f][A-Za-z]" if scripts != {"LATIN"} else "(?!)", text
    )
    odd_case = any(a.islower() and b.isupper() for a, b in itertools.pairwise(text))
    kana = encoding != "cp932" or found - {"CJK"}
    if found <= scripts and kana and not mixed and not odd_case:
      guesses.append(f"{encoding} ({kind}: {_word(text)!r})")
  looks = f"; it looks like {' or '.join(guesses[:MOST_GUESSES])}" if guesses else ""
  return UserError(
    f"{path}, line {number}: cannot be read as a table: the byte 0x{byte:02x} is not"
    f" UTF-8{looks}; {SAVE}, or convert it: iconv -f ENCODING -t UTF-8 {path} > NEW.csv"
  )
