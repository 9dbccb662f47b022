"""List the published models that `pretrained fetch` can convert."""

from typing import NamedTuple


class PublishedWeights(NamedTuple):
  """One set of weights in the wheel of the package musicnn.

  Attributes:
    folder: Folder of the checkpoint in the package.
    tags: Name of the list of tags in the package's configuration.
    trained_on: Training data, as text.
  """

  folder: str
  tags: str
  trained_on: str


PUBLISHED = {
  "musicnn_msd": PublishedWeights(
    "MSD_musicnn", "MSD_LABELS", "Million Song Dataset, 50 Last.fm tags"
  ),
  "musicnn_mtt": PublishedWeights("MTT_musicnn", "MTT_LABELS", "MagnaTagATune, 50 tags"),
}
