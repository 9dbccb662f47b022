"""Start the page with or without a library, and end it.

Worker processes start before this module imports JAX, so that the first one is a fork.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.serve_flags import ServeOptions
from genre_jax.web import server

if TYPE_CHECKING:
  from genre_jax.inference.model import Model
  from genre_jax.library.tagging import Options

WORKER_MODULES = ("genre_jax.inference.track_log_mel", "genre_jax.web.sound")


def serve_page(options: ServeOptions, load: Callable[[], "Model"]) -> None:
  """Serve the page without a library until Ctrl-C.

  Args:
    options: Where, and with which limits.
    load: Returns the model.

  Raises:
    UserError: If the model, the address or the port cannot be used.
  """
  with IsolatedCalls(WORKER_MODULES) as calls:
    calls.start()
    with server.listen(options.host, options.port) as listener:
      model = load()
      _serve(options, listener, calls, lambda: model, model.name)


def serve_library(
  options: ServeOptions,
  path: pathlib.Path,
  known: dict[str, Any],
  load: Callable[[], "Model"],
  tagging: "Options | None",
) -> None:
  """Serve the page with a library until Ctrl-C.

  Args:
    options: Where, and with which limits.
    path: File of the library.
    known: The model, as of `database.find_model`.
    load: Returns the loaded model; the page is there before it returns.
    tagging: How corrections are written into tags; None to change no music file.

  Raises:
    UserError: If the address or the port cannot be used.
  """
  with IsolatedCalls(WORKER_MODULES) as calls:
    calls.start()
    with server.listen(options.host, options.port) as listener:
      _serve(options, listener, calls, load, known["name"], (path, known, tagging))


def _serve(options, listener, calls, load, name, library=None):
  with contextlib.ExitStack() as stack:
    uploads = stack.enter_context(tempfile.TemporaryDirectory(prefix="genre_jax-page-"))
    from genre_jax.web.app import Settings, build_app
    from genre_jax.web.predictor import Predictor

    predictor = Predictor(load, calls, options.max_minutes)
    stack.callback(predictor.close)
    settings = Settings(
      library is not None,
      bool(library and library[2]),
      name,
      options.max_megabytes,
      options.max_minutes,
    )
    app = build_app(settings, predictor, uploads, options.host, options.host_names)
    if library:
      _add_library(app, stack, calls, predictor, *library)
    server.serve(app, listener, options.host)


def _add_library(app, stack, calls, predictor, path, known, tagging):
  from genre_jax.library.correction_writer import CorrectionWriter
  from genre_jax.web.library_routes import add_library_routes
  from genre_jax.web.library_service import LibraryService
  from genre_jax.web.sound import DecodedFiles

  writer = CorrectionWriter(path, known, tagging) if tagging else None
  if writer:
    stack.callback(writer.close)
  decoded = DecodedFiles(calls)
  stack.callback(decoded.close)
  add_library_routes(app, LibraryService(path, known, writer), predictor, decoded)
