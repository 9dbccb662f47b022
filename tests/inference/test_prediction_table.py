"""Test the table for the terminal: aligned columns, long tags, narrow terminals."""

import types

import pytest

from genre_jax.inference.predict_files import Prediction, Span
from genre_jax.inference.prediction_table import PredictionTable

TAGS = ("pop", "female vocalists", "alternative rock", "Hip-Hop", "jazz")
P = dict(zip(TAGS, (0.1, 0.27, 0.21, 0.3, 0.05), strict=True))


def table(task="multi_label", classes=TAGS):
  return PredictionTable(types.SimpleNamespace(classes=classes, task=task))


def prediction(genre, timeline=(), probabilities=P):
  return Prediction(
    "songs/a.wav", "songs/a.wav", "ok", "m", genre, 0.3, probabilities, timeline=timeline
  )


@pytest.fixture(autouse=True)
def wide(monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")


def test_several_tags_get_a_line_each():
  lines = table().lines(prediction("Hip-Hop;female vocalists;alternative rock")).splitlines()
  assert [table().header(), *lines] == [
    "genre            confidence  next                  file",
    "Hip-Hop                0.30  pop 0.10              songs/a.wav",
    "female vocalists       0.27  jazz 0.05",
    "alternative rock       0.21",
  ]


def test_no_tag_or_one_tag():
  assert table().lines(prediction("unknown")).splitlines() == [
    "unknown                0.30  Hip-Hop 0.30          songs/a.wav",
    "                             female vocalists 0.27",
  ]
  one = table().lines(prediction("Hip-Hop", probabilities={"Hip-Hop": 0.3}))
  assert one == "Hip-Hop                0.30                        songs/a.wav"


def test_one_line_per_genre(monkeypatch):
  """Long class names widen their columns."""
  monkeypatch.setenv("COLUMNS", "120")
  for classes in (("blues", "disco", "rock"), ("Experimental Pop", "Singer-Songwriter", "Folk")):
    p = dict(zip(classes, (0.2, 0.3, 0.5), strict=True))
    one = table("single_label", classes)
    lines = [
      one.header(),
      one.lines(prediction(classes[2], probabilities=p)),
      one.lines(prediction(classes[1], probabilities=p)),
      one.lines(Prediction("songs/b.wav", "songs/b.wav", "failed", "m", error="is empty")),
    ]
    column = lines[0].index("file")
    assert [line[column:] for line in lines[1:]] == [
      "songs/a.wav",
      "songs/a.wav",
      "songs/b.wav: is empty",
    ]
    assert lines[1].split()[0] == classes[2] and f"{classes[1]} 0.30, {classes[0]} 0.20" in lines[1]


def test_a_narrow_terminal(monkeypatch):
  """The file name gets its own line, and the tags of the timeline are wrapped."""
  monkeypatch.setenv("COLUMNS", "60")
  spans = (
    Span(0, 3, "Hip-Hop;female vocalists;alternative rock", 0.3, P),
    Span(3, 4, "pop", 0.4, P),
    Span(4, 5, "pop", 0.2, P),
  )
  text = table().lines(prediction("Hip-Hop", spans))
  assert text.splitlines() == [
    "songs/a.wav",
    "Hip-Hop                0.30  female vocalists 0.27",
    "                             alternative rock 0.21",
    "   0:00 -  0:03  0.30  Hip-Hop, female vocalists,",
    "                       alternative rock",
    "   0:03 -  0:05  0.30  pop",
  ]
  assert table().header().splitlines()[0] == "file"
