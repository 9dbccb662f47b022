"""Two genres at once, made from GTZAN: real pieces of two songs, mixed or joined end to end.

A source for multi_label, with labels that are true by construction. PATH is GTZAN audio. Each song
of the published fault-filtered lists meets PARTNERS songs of other genres from its own side of the
lists, so that no song and no artist is heard on two sides (`--config.split.name=official`). Half of
the pairs sound together, half one after the other. A pair's groups are both artists. All is drawn
when the source is opened, from a seed that is not the run's: runs of every seed share the mixtures.
Partners are drawn with replacement, so two songs may meet again, with other pieces and levels: of
the 233 and 98 songs at hand, 80 of 1,864 train and 87 of 784 valid mixtures repeat an earlier pair.
Sound is made when it is prepared, and nothing is written.
"""

import dataclasses

import numpy as np

from genre_jax.data.audio import UnreadableAudio, read_audio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.source import SPLITS, Clip, Request, Source
from genre_jax.data.sources.gtzan.folder import open_gtzan
from genre_jax.data.sources.gtzan.tracks import published_lists
from genre_jax.errors import UserError

VERSION = 1  # changes whenever the sound does
PARTNERS = 8
# Of each song: as much as the shortest excerpts at hand have. Length then says nothing of genre.
PIECE_SECONDS = 2.0
LARGEST_GAIN_DB = 6.0  # the level of one piece re the other, either way
KINDS = ("mixed", "joined")


@dataclasses.dataclass(frozen=True)
class Mixture(Clip):
  """A pair: `path` is the first song's file, `index` the number that its randomness hangs on.

  Attributes:
    second: file of the other song.
  """

  second: str = ""


def open_mixtures(request: Request) -> Source:
  """The mixtures of a folder of GTZAN audio."""
  genres = request.genres or "all"
  songs = open_gtzan(dataclasses.replace(request, genres=genres))
  if not all(clip.path for clip in songs.clips) or len(songs.classes) < 2:
    raise UserError(f"{request.flag}: mixtures are made of audio files of at least two genres.")
  lists = published_lists()
  mixtures = []
  for split in SPLITS:
    here = [clip for clip in songs.clips if lists.get(clip.track) == split]
    mixtures += _pairs(here, split, len(mixtures), request.seed)
  if not mixtures:
    raise UserError(
      f"{request.flag}: no songs of two genres are on one side of the published lists."
    )
  identity = f"version {VERSION}, {songs.identity}"
  note = f"{len(songs.clips)} songs; gains to {LARGEST_GAIN_DB:g} dB, pieces of {PIECE_SECONDS:g} s"
  return Source(
    "mixtures",
    songs.classes,
    tuple(sorted(mixtures, key=lambda clip: clip.track)),
    MixtureReader(request.seed),
    identity,
    (*songs.notes, note),
  )


def _pairs(songs: list[Clip], split: str, start: int, seed: int) -> list[Mixture]:
  """Each song with PARTNERS others of the same side; partners' genres are drawn evenly.

  A side's pairs hang on its own songs alone: songs that come to another side change nothing here.
  """
  rng = np.random.default_rng([seed, VERSION, SPLITS.index(split)])
  by_genre: dict[str, list[Clip]] = {}
  for clip in songs:
    by_genre.setdefault(clip.labels[0], []).append(clip)
  mixtures = []
  for clip in songs:
    others = sorted(set(by_genre) - set(clip.labels))
    for number in range(PARTNERS if others else 0):
      genre = others[rng.integers(len(others))]
      partner = by_genre[genre][rng.integers(len(by_genre[genre]))]
      kind = KINDS[number % 2]
      index = start + len(mixtures)
      groups = dict.fromkeys((clip.group, partner.group))
      mixtures.append(
        Mixture(
          f"{split}-{index:05d}-{kind}-{clip.track}-{partner.track}",
          ";".join(groups),
          (*clip.labels, *partner.labels),
          clip.path,
          index,
          clip.has_group and partner.has_group,
          split,
          second=partner.path,
        )
      )
  return mixtures


@dataclasses.dataclass(frozen=True)
class MixtureReader:
  """Makes the sound of a pair."""

  seed: int

  def log_mel(self, clip: Mixture, frontend: FrontendConfig) -> np.ndarray:
    """Log-mel of one mixture."""
    return log_mel(self.sound(clip, frontend.sample_rate), frontend)

  def sound(self, clip: Mixture, sample_rate: int) -> np.ndarray:
    """float32[samples] of one mixture, at most 0.9 in size."""
    rng = np.random.default_rng([self.seed, VERSION, 9, clip.index])
    gain = rng.uniform(-LARGEST_GAIN_DB, LARGEST_GAIN_DB) / 2
    first = _piece(clip.path, sample_rate, rng) * 10 ** (gain / 20)
    second = _piece(clip.second, sample_rate, rng) * 10 ** (-gain / 20)
    if f"-{KINDS[0]}-" in clip.track:
      length = min(len(first), len(second))
      audio = first[:length] + second[:length]
    else:
      audio = np.concatenate([first, second] if rng.random() < 0.5 else [second, first])
    return (audio * (0.9 / np.max(np.abs(audio)))).astype(np.float32)


def _piece(path: str, sample_rate: int, rng) -> np.ndarray:
  """PIECE_SECONDS from somewhere in a file, float32[samples] with a root mean square of 1."""
  audio = read_audio(path, sample_rate)
  room = max(len(audio) - int(PIECE_SECONDS * sample_rate), 0)
  start = int(rng.integers(room + 1))
  audio = audio[start : start + int(PIECE_SECONDS * sample_rate)]
  power = float(np.mean(audio.astype(np.float64) ** 2))
  if not power > 1e-10:
    raise UnreadableAudio("a piece of one of its songs is silent")
  return audio / np.float32(np.sqrt(power))
