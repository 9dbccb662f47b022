"""Answer requests about a library: songs, genres, sound, similar songs, paths, corrections."""

import asyncio
import dataclasses
from typing import Annotated, Literal

from fastapi import Body, FastAPI, Query
from fastapi.responses import FileResponse

from genre_jax.library.browse import Filter, Track
from genre_jax.library.corrections import MAX_LENGTH
from genre_jax.library.similar import Limits
from genre_jax.web.library_service import LibraryService
from genre_jax.web.predictor import Predictor, Timeline
from genre_jax.web.sound import DecodedFiles, media_type

MAX_ROWS = 500  # of an answer
MAX_OFFSET = 10_000_000
MAX_QUERY = 200  # characters

File = Annotated[int, Query(alias="id", ge=0, le=2**62, description="Id of the song.")]
Count = Annotated[int, Query(ge=1, le=MAX_ROWS)]
Limit = Annotated[int, Query(ge=0, description="0: no limit.")]
Share = Annotated[float, Query(ge=0, le=1)]
Order = Literal["confidence", "genre", "artist", "title", "path"]


@dataclasses.dataclass(frozen=True)
class Tracks:
  """Some songs of a list.

  Attributes:
    total: Number of songs in the whole list.
    tracks: Some of them.
  """

  total: int
  tracks: list[Track]


@dataclasses.dataclass(frozen=True)
class TrackDetails:
  """A song and what the model says of it.

  Attributes:
    track: The song.
    probabilities: {label: probability}, the most probable first.
  """

  track: Track
  probabilities: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Match:
  """A song in an answer about similarity, as OpenSubsonic's sonicMatch.

  Attributes:
    entry: The song.
    similarity: From 1.0 for the same to 0.0 for the most different.
  """

  entry: Track
  similarity: float


@dataclasses.dataclass(frozen=True)
class Matches:
  """Songs with similarities.

  Attributes:
    sonicMatch: The songs, in order.
  """

  sonicMatch: list[Match]  # noqa: N815, OpenSubsonic's name


@dataclasses.dataclass(frozen=True)
class Corrected:
  """A song after a human gave it a genre.

  Attributes:
    track: The song.
    written: Whether its tags have the genre now.
    reason: Why its tags were not written, or ''.
  """

  track: Track
  written: bool
  reason: str


def add_library_routes(
  app: FastAPI, service: LibraryService, predictor: Predictor, decoded: DecodedFiles
) -> None:
  """Add the routes of a library to an application.

  Args:
    app: The application.
    service: The library.
    predictor: Predicts files over time.
    decoded: Makes sound for browsers.
  """

  @app.get("/tracks")
  def tracks(
    words: Annotated[str, Query(max_length=MAX_QUERY)] = "",
    genre: Annotated[str, Query(max_length=MAX_LENGTH)] = "",
    min_confidence: Share = 0.0,
    max_confidence: Share = 1.0,
    unreviewed: bool = False,
    order: Order = "path",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    limit: Count = 50,
  ) -> Tracks:
    """List songs: search, filter, sort, some at a time."""
    chosen = Filter(words, genre, min_confidence, max_confidence, unreviewed)
    return Tracks(
      *service.tracks(chosen, order=order, descending=descending, offset=offset, limit=limit)
    )

  @app.get("/genres")
  def genres() -> dict[str, int]:
    """Count the songs of each label of the model."""
    return service.genres()

  @app.get("/track")
  def track(file: File) -> TrackDetails:
    """Describe a song."""
    return TrackDetails(service.track(file), service.probabilities(file))

  @app.get("/similar")
  def similar(
    file: File, count: Count = 20, per_artist: Limit = 2, per_album: Limit = 1
  ) -> Matches:
    """List the songs nearest to a song, the nearest first."""
    limits = Limits(count, per_artist, per_album)
    return _matches(service.similar(file, limits))

  @app.get("/path")
  def path(
    start: Annotated[int, Query(ge=0, le=2**62, description="Id of the first song.")],
    end: Annotated[int, Query(ge=0, le=2**62, description="Id of the last song.")],
    count: Annotated[int, Query(ge=2, le=MAX_ROWS)] = 12,
  ) -> Matches:
    """List songs that lead from one song to another.

    The similarity of a song is that to the point of the way for which it was chosen.
    """
    return _matches(service.path(start, end, Limits(count)))

  @app.get("/timeline")
  async def timeline(file: File) -> Timeline:
    """Predict a song over time."""
    name = await asyncio.to_thread(service.file_of, file)
    return await asyncio.wrap_future(predictor.submit(predictor.timeline, name))

  @app.get("/sound", response_class=FileResponse)
  async def sound(file: File, as_wav: bool = False) -> FileResponse:
    """Send the sound of a song; as WAV if browsers do not play its format."""
    name = await asyncio.to_thread(service.file_of, file)
    kind = await asyncio.to_thread(media_type, name)
    if as_wav or not kind:
      # Other visitors may wait for the same file when this one leaves.
      name = await asyncio.shield(asyncio.wrap_future(decoded.wav_of(name)))
      kind = "audio/wav"
    return FileResponse(name, media_type=kind)

  @app.put("/genre")
  def correct(
    file: File, genre: Annotated[str, Body(embed=True, max_length=MAX_LENGTH)]
  ) -> Corrected:
    """Give a song a genre, as the word of a human."""
    found, reason = service.correct(file, genre)
    return Corrected(found, service.writer is not None and not reason, reason)

  @app.delete("/genre")
  def withdraw(file: File) -> Track:
    """Take back the genre that a human gave to a song; its tags remain."""
    return service.withdraw(file)


def _matches(found: list[tuple[Track, float]]) -> Matches:
  return Matches([Match(entry, similarity) for entry, similarity in found])
