"""Source: clips of two genres, mixed or joined from excerpts of two GTZAN tracks.

It is for multi_label: the labels are correct by construction. PATH is GTZAN audio. Each track of
the fault-filtered lists is paired with PARTNERS tracks of other genres from the same split of the
lists. No track is thus in two splits (`--config.split.name=official`). Half of the pairs are mixed,
half are joined end to end. The groups of a pair are both artists.

The pairs are drawn when the source is opened, from a seed that differs from the training seed: runs
of all seeds share the mixtures. Partners are drawn with replacement, so a pair of tracks may occur
again with other excerpts and levels. With 233 train and 98 validation tracks, this is so for 80 of
1,864 train and 87 of 784 validation mixtures. The audio is generated during preparation; no audio
file is written.
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

VERSION = 1  # changes whenever the generated audio does
PARTNERS = 8
# Length of an excerpt: that of the shortest files used, so that length does not depend on genre.
EXCERPT_SECONDS = 2.0
MAX_LEVEL_DB = 6.0  # largest level difference of the two excerpts
KINDS = ("mixed", "joined")


@dataclasses.dataclass(frozen=True)
class Mixture(Clip):
  """A pair of tracks: `path` is the file of the first, `index` the seed of the mixture.

  Attributes:
    second: File of the second track.
  """

  second: str = ""


def open_mixtures(request: Request) -> Source:
  """Open a folder of GTZAN audio as a source of mixtures."""
  genres = request.genres or "all"
  gtzan = open_gtzan(dataclasses.replace(request, genres=genres))
  if not all(clip.path for clip in gtzan.clips) or len(gtzan.classes) < 2:
    raise UserError(f"{request.flag}: mixtures need audio files of at least two genres.")
  lists = published_lists()
  mixtures = []
  for split in SPLITS:
    in_split = [clip for clip in gtzan.clips if lists.get(clip.track) == split]
    mixtures += _pairs(in_split, split, len(mixtures), request.seed)
  if not mixtures:
    raise UserError(
      f"{request.flag}: no split of the published lists has tracks of two genres here."
    )
  identity = f"version {VERSION}, {gtzan.identity}"
  note = (
    f"{len(gtzan.clips)} tracks; level differences up to {MAX_LEVEL_DB:g} dB, excerpts of"
    f" {EXCERPT_SECONDS:g} s"
  )
  return Source(
    "mixtures",
    gtzan.classes,
    tuple(sorted(mixtures, key=lambda clip: clip.track)),
    MixtureReader(request.seed),
    identity,
    (*gtzan.notes, note),
  )


def _pairs(tracks: list[Clip], split: str, start: int, seed: int) -> list[Mixture]:
  """Pair each track with PARTNERS others of the same split; their genres are drawn uniformly.

  The pairs of a split depend on its own tracks alone.
  """
  rng = np.random.default_rng([seed, VERSION, SPLITS.index(split)])
  by_genre: dict[str, list[Clip]] = {}
  for clip in tracks:
    by_genre.setdefault(clip.labels[0], []).append(clip)
  mixtures = []
  for clip in tracks:
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
  """Reader that generates the audio of a pair."""

  seed: int

  def log_mel(self, clip: Mixture, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of one mixture."""
    return log_mel(self.audio(clip, frontend.sample_rate), frontend)

  def audio(self, clip: Mixture, sample_rate: int) -> np.ndarray:
    """Return float32[samples] of one mixture, with a peak of 0.9."""
    rng = np.random.default_rng([self.seed, VERSION, 9, clip.index])
    gain = rng.uniform(-MAX_LEVEL_DB, MAX_LEVEL_DB) / 2
    first = excerpt(clip.path, sample_rate, rng) * 10 ** (gain / 20)
    second = excerpt(clip.second, sample_rate, rng) * 10 ** (-gain / 20)
    if f"-{KINDS[0]}-" in clip.track:
      length = min(len(first), len(second))
      audio = first[:length] + second[:length]
    else:
      audio = np.concatenate([first, second] if rng.random() < 0.5 else [second, first])
    return (audio * (0.9 / np.max(np.abs(audio)))).astype(np.float32)


def excerpt(path: str, sample_rate: int, rng) -> np.ndarray:
  """Return EXCERPT_SECONDS at a random start of a file, float32[samples], with a power of 1."""
  audio = read_audio(path, sample_rate)
  last = max(len(audio) - int(EXCERPT_SECONDS * sample_rate), 0)
  start = int(rng.integers(last + 1))
  audio = audio[start : start + int(EXCERPT_SECONDS * sample_rate)]
  power = float(np.mean(audio.astype(np.float64) ** 2))
  if not power > 1e-10:
    raise UnreadableAudio("an excerpt of one of its tracks is silent")
  return audio / np.float32(np.sqrt(power))
