"""Tables of users: encodings, separators, line ends, quotes, and errors with line and remedy."""

import os

import pytest

from genre_jax.data import tables
from genre_jax.data.tables import check_cells, columns_of, read_rows, split_names
from genre_jax.errors import UserError

NAMES = ("file", "genre")
TEXT = 'file,genre\n"one, two.mp3",Électro\n\nb.mp3,rock\n'
ROWS = [(1, ["file", "genre"]), (2, ["one, two.mp3", "Électro"]), (4, ["b.mp3", "rock"])]


def _read(tmp_path, content, names=NAMES):
  path = tmp_path / "table.csv"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  notes = []
  return list(read_rows(path, names, notes)), notes


@pytest.mark.parametrize(
  "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_unicode_tables(tmp_path, encoding, end, separator):
  text = TEXT.replace(",", separator).replace("\n", end).replace(f"one{separator}", "one,")
  assert _read(tmp_path, text.encode(encoding)) == (ROWS, [])


def test_byte_order_marks_of_utf_16(tmp_path):
  for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
    assert _read(tmp_path, mark + TEXT.encode(encoding)) == (ROWS, [])
  with pytest.raises(UserError, match="table.csv: cannot be read as a table: .*save it as UTF-8"):
    _read(tmp_path, b"\xff\xfe" + TEXT.encode("utf-16-le")[:-1])


def test_windows_1252_is_read_with_a_note(tmp_path):
  rows, notes = _read(tmp_path, TEXT.encode("cp1252"))
  assert rows == ROWS
  assert len(notes) == 1 and "read as Windows-1252" in notes[0] and "'Électro'" in notes[0]


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_line_that_names_the_separator(tmp_path, separator):
  text = f"sep={separator}\r\n" + TEXT.replace(",", separator).replace(f"one{separator}", "one,")
  rows, _ = _read(tmp_path, text)
  assert rows == [(line + 1, row) for line, row in ROWS]


def test_the_known_columns_decide_on_the_separator(tmp_path):
  rows, _ = _read(tmp_path, "file;genre;a,b,c,d\nx.mp3;rock, pop;\n")
  assert rows[1][1] == ["x.mp3", "rock, pop", ""]
  rows, _ = _read(tmp_path, "FILE ,\xa0Genre\nx;y.mp3,rock;pop\n")
  assert columns_of(rows[0][1], NAMES, "t.csv") == [0, 1] and rows[1][1] == ["x;y.mp3", "rock;pop"]
  rows, _ = _read(tmp_path, "\n\n; file; genre\n; 'a'.mp3; \"rock;pop\"\n")
  assert rows == [(3, ["", "file", "genre"]), (4, ["", "'a'.mp3", "rock;pop"])]


def test_line_numbers_after_cells_of_several_lines(tmp_path):
  rows, _ = _read(tmp_path, 'file,genre\n"a\nb",rock\nc,pop\n')
  assert [line for line, _ in rows] == [1, 2, 4]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ('file,genre\na,b\nc,"d\ne,f\n', "line 3: .*; one that begins with a quote must end with one"),
    ('file;genre\na;"b"c\n', "line 2: .*put semicolons between the cells"),
    ("file,genre\n" + 'a,"' + "x" * 200_000, "line 2: .*field larger than field limit"),
    (b"PK\x03\x04\x14\x00\x06\x00" + bytes(50), "a spreadsheet or a zip archive; save it as UTF-8"),
    (b"file,genre\n\x00\x00\x00\x00\xff\xff", "it is not text; save it as UTF-8"),
    (TEXT.encode() + b"c.mp3,\xc9lectro\n", "line 5: .*0xc9 is not UTF-8, but line 2 is"),
  ],
)
def test_mistakes(tmp_path, content, message):
  with pytest.raises(UserError, match=f"table.csv.*cannot be read as a table.*{message}|{message}"):
    _read(tmp_path, content)


def test_files_that_are_no_tables(tmp_path, monkeypatch):
  with pytest.raises(UserError, match="absent.csv: cannot be read as a table: there is no such"):
    list(read_rows(tmp_path / "absent.csv", NAMES))
  with pytest.raises(UserError, match="is not a regular file"):
    list(read_rows(tmp_path, NAMES))
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(UserError, match="is not a regular file"):
    list(read_rows(tmp_path / "pipe", NAMES))
  monkeypatch.setattr(tables, "MAX_BYTES", 10)
  with pytest.raises(UserError, match="more than the 0 MB of a table; split"):
    _read(tmp_path, TEXT)
  monkeypatch.undo()
  assert _read(tmp_path, "") == ([], []) and _read(tmp_path, "\n \n")[0] == []


def test_columns():
  with pytest.raises(
    UserError, match=r"t.csv: the column genre is missing.*'file,genres'.*mean genr"
  ):
    columns_of(["file", "genres"], NAMES, "t.csv")
  with pytest.raises(UserError, match="t.csv, line 1: there are two columns file"):
    columns_of(["file", "genre", "File "], NAMES, "t.csv")


def test_number_of_cells():
  header = ["file", "genre", "split"]
  check_cells(["a", "b", "c", "", ""], header, "t.csv", 2)
  check_cells(["a", "b"], header, "t.csv", 2, needed=2)
  for row, needed, message in (
    (["a", "b", "c", "d"], 0, "t.csv, line 7: 4 cells under 3 columns, beginning 'a'; .*in quotes"),
    (["a", "b"], 0, "line 7: 2 cells under 3 columns.*write every cell"),
    (["a"], 2, "line 7: 1 cell under 3 columns"),
  ):
    with pytest.raises(UserError, match=message):
      check_cells(row, header, "t.csv", 7, needed)


def test_names_in_a_cell():
  assert split_names(" rock ;; E\u0301lectro\u200b;\xa0hip  hop") == ["rock", "Électro", "hip hop"]
