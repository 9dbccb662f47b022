"""Test the list of labels."""

import pytest

from genre_jax.data.labels import read_labels
from genre_jax.inference.model import load

# The 16 root genres of FMA (Defferrard et al., 2017) but for Instrumental and Spoken.
FMA = (
  "Blues|Classical|Country|Easy Listening|Electronic|Experimental|Folk|Hip-Hop|International|Jazz|"
  "Old-Time / Historic|Pop|Rock|Soul-RnB"
)
# The genres of Discogs but for Non-Music and Brass & Military, which no label means.
DISCOGS = (
  "Blues|Children's|Classical|Electronic|Folk, World, & Country|Funk / Soul|Hip Hop|Jazz|Latin|Pop|"
  "Reggae|Rock|Stage & Screen"
)
# Spellings of Winamp that mutagen has corrected.
WINAMP = {"AlternRock", "Bebob", "Fast Fusion", "Gangsta", "Jpop", "Psychadelic"}


def _names(vocabulary):
  return [name for label in read_labels() for name in label.names[vocabulary]]


def test_labels_form_two_levels():
  labels = read_labels()
  names = [label.name for label in labels]
  assert 30 <= len(names) <= 40 and len(set(names)) == len(names)
  tops = {label.name for label in labels if not label.parent}
  assert all(label.parent in tops for label in labels if label.parent)
  assert not any(character in name for name in names for character in ";|,")


def test_each_genre_of_gtzan_is_one_label():
  assert sorted(_names("gtzan")) == sorted(load("axis_features_10").classes)


def test_each_label_can_be_recognized():
  assert all(label.names["msd"] or label.names["audioset"] for label in read_labels())


@pytest.mark.parametrize("vocabulary", ["msd", "audioset", "fma", "discogs", "id3"])
def test_each_name_means_one_label(vocabulary):
  names = _names(vocabulary)
  assert len(set(names)) == len(names)


def test_names_are_those_of_their_vocabularies():
  assert sorted(_names("fma")) == FMA.split("|")
  assert set(DISCOGS.split("|")) <= set(_names("discogs"))
  constants = pytest.importorskip("mutagen._constants")
  assert set(_names("id3")) - WINAMP <= set(constants.GENRES)
