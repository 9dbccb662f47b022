"""Test the list of labels."""

from genre_jax.data.labels import read_labels
from genre_jax.inference.model import load


def test_labels_form_two_levels():
  labels = read_labels()
  names = [label.name for label in labels]
  assert 30 <= len(names) <= 40 and len(set(names)) == len(names)
  tops = {label.name for label in labels if not label.parent}
  assert all(label.parent in tops for label in labels if label.parent)
  assert not any(character in name for name in names for character in ";|,")


def test_each_genre_of_gtzan_is_one_label():
  names = [name for label in read_labels() for name in label.names["gtzan"]]
  assert sorted(names) == sorted(load("axis_features_10").classes)


def test_each_label_can_be_recognized():
  assert all(label.names["msd"] or label.names["audioset"] for label in read_labels())
