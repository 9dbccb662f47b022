"""The genres of the default model: a list of two levels, with the names that others use.

`genres.csv` has a row for each label. `parent` is the broader label. The other columns have the
names that mean the label, or a part of it, separated by `|`: GTZAN (Tzanetakis and Cook, 2002), the
50 tags of musicnn_msd (Last.fm tags of the Million Song Dataset), AudioSet's ontology (Gemmeke et
al., 2017), the root genres of FMA (Defferrard et al., 2017), genres and styles of Discogs, and the
genres of ID3v1 with Winamp's extensions, with the spellings of Winamp and of mutagen.
"""

import csv
import pathlib
from typing import NamedTuple

FILE = pathlib.Path(__file__).parent / "genres.csv"


class Label(NamedTuple):
  """A genre.

  Attributes:
    name: The label.
    parent: The broader label, or ''.
    names: {vocabulary: names that mean it}; vocabularies are 'gtzan', 'msd', 'audioset', 'fma',
      'discogs' and 'id3'.
  """

  name: str
  parent: str
  names: dict[str, tuple[str, ...]]


def read_labels() -> list[Label]:
  """Return the labels in the order of the file."""
  with open(FILE, encoding="utf-8", newline="") as file:
    return [
      Label(
        row.pop("label"),
        row.pop("parent"),
        {name: tuple(filter(None, cell.split("|"))) for name, cell in row.items()},
      )
      for row in csv.DictReader(file)
    ]
