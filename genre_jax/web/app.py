"""Build the application: the page, what a dropped file or a microphone needs, and the library."""

import asyncio
import base64
import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

import genre_jax
from genre_jax.data.names import printable_path
from genre_jax.errors import UserError
from genre_jax.library.browse import UnknownSong
from genre_jax.web.headers import BodyLimit, SecurityHeaders
from genre_jax.web.predictor import Microphone, Predictor, Timeline
from genre_jax.web.same_origin import SameOrigin

# The files of the page, in memory: {name: content}.
STATIC = {
  path.name: path.read_bytes() for path in (pathlib.Path(__file__).parent / "static").iterdir()
}
MEDIA_TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
}
CLIENT_LEFT = 499  # nginx's status for a visitor who closed the connection
RATES = 4000, 384_000  # Hz, of a microphone
LIVE_LABELS = 5
STALL_SECONDS = 30.0  # without a byte of a file or of live sound, until a request ends
MAX_VISITORS = 20  # who record at a time, and whose largest files are stored at a time


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the page is told at its start.

  Attributes:
    library: Whether there is a library.
    write: Whether corrections are written into music files.
    model: Name of the model.
    max_megabytes: Largest file that a visitor may drop.
    max_minutes: Longest file that a visitor may drop.
  """

  library: bool
  write: bool
  model: str
  max_megabytes: int
  max_minutes: float


@dataclasses.dataclass(frozen=True)
class DroppedFile:
  """Prediction for a file that a visitor dropped.

  Attributes:
    name: Name of the file.
    timeline: Its genres.
    plot: Log-mel and genres over time as PNG, in base64.
    explains: Whether the model can show its evidence.
  """

  name: str
  timeline: Timeline
  plot: str
  explains: bool


SENT_FILE = {  # OpenAPI's description of a file as the body of a request
  "requestBody": {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
  }
}


def build_app(
  settings: Settings,
  predictor: Predictor,
  uploads: str,
  host: str,
  host_names: Sequence[str] = (),
) -> FastAPI:
  """Build the application without a library.

  Args:
    settings: What the page is told.
    predictor: Predicts files and live sound.
    uploads: Folder for the files of visitors; each is deleted after its prediction.
    host: Address on which the page is served.
    host_names: Further names by which browsers reach it.
  """
  app = FastAPI(
    title="genre_jax",
    version=genre_jax.__version__,
    docs_url=None,  # these pages load scripts from another machine
    redoc_url=None,
    middleware=[
      Middleware(SecurityHeaders),
      Middleware(SameOrigin, host=host, names=host_names),
      Middleware(BodyLimit, streamed=("/predict", "/evidence")),
    ],
  )
  app.add_exception_handler(UnknownSong, _unknown)
  app.add_exception_handler(UserError, _mistake)
  app.add_exception_handler(RequestValidationError, _invalid)
  app.add_exception_handler(ClientDisconnect, _left)
  received = _Receiver(uploads, settings.max_megabytes << 20)
  microphones = asyncio.Semaphore(MAX_VISITORS)

  @app.get("/", include_in_schema=False)
  async def page() -> Response:
    return _static("index.html")

  @app.get("/static/{name}", include_in_schema=False)
  async def static(name: str) -> Response:
    if name not in STATIC:
      raise HTTPException(404)
    return _static(name)

  @app.get("/settings")
  async def get_settings() -> Settings:
    """Describe what this page can do."""
    return settings

  @app.post("/predict", openapi_extra=SENT_FILE)
  async def predict(
    request: Request, name: Annotated[str, Query(max_length=300)] = ""
  ) -> DroppedFile:
    """Predict a file over time; the body is the file."""
    async with received(request) as path:
      timeline, plot = await asyncio.wrap_future(
        predictor.submit(predictor.timeline_and_plot, path)
      )
    encoded = base64.b64encode(plot).decode()
    return DroppedFile(_valid(name), timeline, encoded, predictor.explains)

  @app.post("/evidence", openapi_extra=SENT_FILE, response_class=Response)
  async def evidence(request: Request, label: Annotated[str, Query(max_length=200)]) -> Response:
    """Draw where a network finds evidence for a label in a file, as PNG; the body is the file."""
    async with received(request) as path:
      plot = await asyncio.wrap_future(predictor.submit(predictor.evidence, path, label))
    return Response(plot, media_type="image/png")

  @app.websocket("/live")
  async def live(socket: WebSocket, rate: int) -> None:
    await socket.accept()
    if microphones.locked():
      await socket.send_json({"detail": f"{MAX_VISITORS} visitors are recording: try again later"})
      await socket.close()
      return
    async with microphones:
      await _classify_live(socket, predictor, rate)

  return app


def _static(name: str) -> Response:
  kind = MEDIA_TYPES[pathlib.Path(name).suffix]
  return Response(STATIC[name], media_type=kind, headers={"cache-control": "no-cache"})


class _Receiver:
  """Receives the bodies of requests as files.

  Args:
    folder: Where the files are.
    most: Largest file in bytes.
  """

  def __init__(self, folder: str, most: int):
    self._folder, self._most = folder, most
    self._stored = 0  # bytes, of all files that are here now

  @contextlib.asynccontextmanager
  async def __call__(self, request: Request) -> AsyncIterator[str]:
    """Receive a file, which is deleted at the end."""
    too_large = HTTPException(413, f"the file is larger than {self._most >> 20} MB")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > self._most:
      raise too_large
    descriptor, path = tempfile.mkstemp(dir=self._folder)
    size = 0
    try:
      with open(descriptor, "wb") as file:
        parts = aiter(request.stream())
        while part := await self._next(parts):
          size += len(part)
          self._stored += len(part)
          if size > self._most:
            raise too_large
          if self._stored > MAX_VISITORS * self._most:
            raise HTTPException(503, "other visitors are sending large files: try again later")
          file.write(part)
      yield path
    finally:
      self._stored -= size
      os.unlink(path)

  async def _next(self, parts: AsyncIterator[bytes]) -> bytes:
    """Return the next bytes; b'' at the end, which the stream sends too."""
    try:
      async with asyncio.timeout(STALL_SECONDS):
        return await anext(parts, b"")
    except TimeoutError as error:
      raise HTTPException(408, f"nothing arrived for {STALL_SECONDS:g} s") from error


async def _classify_live(socket: WebSocket, predictor: Predictor, rate: int) -> None:
  """Answer float32 samples of a microphone, mono and little-endian, with predictions."""
  try:
    if not RATES[0] <= rate <= RATES[1]:
      raise UserError(f"rate={rate}: give a sample rate from {RATES[0]} to {RATES[1]} Hz")
    microphone = await asyncio.to_thread(lambda: Microphone(predictor.model, rate))
    while True:
      async with asyncio.timeout(STALL_SECONDS):
        sound = await socket.receive_bytes()
      values = np.frombuffer(sound[: len(sound) // 4 * 4], "<f4")
      update = await asyncio.to_thread(microphone.push, values)
      if update:
        ranked = sorted(update.probabilities.items(), key=lambda item: -item[1])
        await socket.send_json(
          {
            "seconds": round(update.seconds, 2),
            "genre": update.genre,
            "probabilities": dict(ranked[:LIVE_LABELS]),
          }
        )
  except UserError as error:
    await socket.send_json({"detail": _valid(str(error))})
    await socket.close()
  except TimeoutError:
    await socket.close()
  except (WebSocketDisconnect, KeyError):  # a KeyError for text
    pass


def _valid(text: str) -> str:
  return printable_path(text.encode("utf-8", "replace").decode())


async def _mistake(request: Request, error: Exception) -> JSONResponse:
  return JSONResponse({"detail": _valid(str(error))}, 400)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
  """Answer as FastAPI does, without the input, which can be no text at all."""
  kept = [{name: each[name] for name in ("type", "loc", "msg")} for each in error.errors()]
  return JSONResponse({"detail": kept}, 422)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
  return JSONResponse({"detail": str(error)}, 404)


async def _left(request: Request, error: Exception) -> Response:
  return Response(status_code=CLIENT_LEFT)
