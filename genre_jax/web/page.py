"""A page for a browser: drop a file or use the microphone, and see what is heard.

Last step for those who have neither a terminal nor a program. Gradio serves it; what a visitor
uploads is deleted when it has been heard, and the page asks no other machine for anything.
"""

import logging
import os
import pathlib
import socket
import tempfile
import threading

import numpy as np
import soundfile

from genre_jax.errors import UserError
from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import predict_track
from genre_jax.inference.spectra import Spectrum, read_spectrum
from genre_jax.inference.streaming import Listener, resampler
from genre_jax.reports.grad_cam import GradCam

TOP = 5  # genres that are listed
SHOWN_WINDOWS = 4  # of Grad-CAM
SMOOTHING_SECONDS = 0.5  # of the microphone's answers
# No font from elsewhere: Gradio's own theme asks Google for its.
FONT = ["system-ui", "sans-serif"]
STYLE = """
.gradio-container {max-width: 1000px !important; margin: auto}
#message {min-height: 1.5em}
"""


class PredictionPage:
  """What the visitors of a page share: the model, and Grad-CAM once it was asked for."""

  def __init__(self, model: Model, max_minutes: float):
    self.model, self._max_minutes = model, max_minutes
    self._cam: GradCam | None = None
    self._lock = threading.Lock()

  def hear(self, path: str | None):
    """(message, {genre: confidence}, figure, what `explain` needs) of an uploaded file."""
    from genre_jax.web.plots import overview

    if not path:
      return "", None, None, None
    name = pathlib.Path(path).name
    with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
      spectrum = self._read(path, folder)
      pathlib.Path(path).unlink(missing_ok=True)  # nothing is kept
      if isinstance(spectrum, str):
        return f"**{_plain(name)}**: {_plain(spectrum)}", None, None, None
      spectrum = spectrum.opened()
      prediction = predict_track(path, spectrum, self.model, timeline=True)
      starts = spectrum.track_starts(self.model.eval_per_track)[:SHOWN_WINDOWS]
      windows, counts = spectrum.windows(starts)
      message = (
        f"**{_plain(name)}**, {spectrum.seconds:.0f} s: **{_plain(prediction.genre)}**,"
        f" confidence {prediction.confidence:.2f}"
      )
      best = max(prediction.probabilities, key=prediction.probabilities.get)
      return (
        message,
        dict(prediction.probabilities),
        overview(spectrum, prediction),
        (starts, windows, counts, best),
      )

  def _read(self, path: str, folder: str) -> Spectrum | str:
    try:
      if (minutes := soundfile.info(path).duration / 60) > self._max_minutes:
        return (
          f"is {minutes:.0f} minutes long, this page takes {self._max_minutes:g}; use"
          " python -m genre_jax.predict"
        )
    except (soundfile.LibsndfileError, RuntimeError):
      pass  # what is wrong with it is told below
    return read_spectrum(path, self.model.frontend, folder)

  def explain(self, heard):
    """(message, figure) of Grad-CAM for the file that was heard last."""
    from genre_jax.web.plots import evidence

    if heard is None:
      return "Give a file first.", None
    starts, windows, counts, genre = heard
    images = windows[..., None]
    with self._lock:
      if self._cam is None:
        self._cam = GradCam(self.model.network, self.model.variables, images[:2])
    if not self._cam.maps:
      return f"{self.model.name} has no layer that keeps time and frequency.", None
    mask = np.arange(windows.shape[1])[None] < counts[:, None]
    heat = self._cam(images, mask, np.full(len(images), self.model.classes.index(genre)))
    return "", evidence(self.model.frontend, windows, starts, heat, genre)

  def live(self, chunk, ear):
    """({genre: confidence}, message, ear) after a chunk (rate, int16 or float) of a microphone."""
    if chunk is None:
      return None, "", None
    rate, values = chunk
    if ear is None or ear.rate != rate:
      ear = Microphone(self.model, rate)
    return *ear.hear(np.asarray(values)), ear


class Microphone:
  """One visitor's microphone."""

  def __init__(self, model: Model, rate: int):
    self.rate = rate
    self._listener = Listener(model, smoothing_seconds=SMOOTHING_SECONDS)
    self._resample = resampler(rate, model.frontend.sample_rate)
    self._last = None

  def __deepcopy__(self, memo):
    return self  # Gradio copies what a session begins with; sound under way cannot be two

  def hear(self, values: np.ndarray):
    """({genre: confidence}, message) after more sound."""
    if values.dtype.kind == "i":
      values = values / np.float32(-np.iinfo(values.dtype).min)
    mono = values.astype(np.float32) if values.ndim == 1 else values.mean(1, dtype=np.float32)
    for part in self._resample(np.nan_to_num(mono)):
      for update in self._listener.push(part):
        self._last = update
    if self._last is None:
      return None, "listening ..."
    return (
      self._last.probabilities or None,
      f"after {self._last.seconds:.1f} s: **{_plain(self._last.genre)}**",
    )


def _plain(text: str) -> str:
  """Text that Markdown and HTML leave as it is."""
  return "".join(f"&#{ord(c)};" if c in "<>&*_`[]()#|\\!~" else c for c in text)


def build(model: Model, *, max_minutes: float):
  """The page, a gradio.Blocks."""
  gradio = import_gradio()
  room = PredictionPage(model, max_minutes)
  with gradio.Blocks(
    title=f"genre_jax: {model.name}", analytics_enabled=False, delete_cache=(600, 600)
  ) as page:
    gradio.Markdown(
      f"# What genre is it?\n{model.name} knows {', '.join(model.classes[:12])}"
      + (" and more." if len(model.classes) > 12 else ".")
      + " Sound stays on the machine that serves this page, and is not kept."
    )
    with gradio.Tab("A file"):
      heard = gradio.State(None)
      file = gradio.File(
        label=f"WAV, FLAC, Ogg, Opus or MP3, up to {max_minutes:g} minutes",
        type="filepath",
        elem_id="file",
        height=140,
      )
      message = gradio.Markdown(elem_id="message")
      genres = gradio.Label(label="genres", num_top_classes=TOP, elem_id="genres")
      figure = gradio.Plot(show_label=False, elem_id="overview", format="png")
      button = gradio.Button("Where does it hear that? (Grad-CAM)", elem_id="explain")
      explanation = gradio.Markdown()
      cam = gradio.Plot(show_label=False, elem_id="cam", format="png")
      file.change(room.hear, file, [message, genres, figure, heard], api_visibility="private")
      button.click(room.explain, heard, [explanation, cam], api_visibility="private")
    with gradio.Tab("Microphone"):
      ear = gradio.State(None)
      microphone = gradio.Audio(
        sources=["microphone"],
        streaming=True,
        type="numpy",
        label="microphone",
        elem_id="microphone",
      )
      now = gradio.Markdown(elem_id="now")
      live = gradio.Label(label="genres now", num_top_classes=TOP, elem_id="live")
      # Without a limit of time, and each visitor beside the others, or the second one waits.
      microphone.stream(
        room.live,
        [microphone, ear],
        [live, now, ear],
        stream_every=0.3,
        time_limit=None,
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
      )
      microphone.start_recording(lambda: None, None, ear, api_visibility="private")
  return page


def serve(
  model: Model,
  *,
  host: str = "127.0.0.1",
  port: int = 7860,
  max_megabytes: int = 200,
  max_minutes: float = 60.0,
  block: bool = True,
):
  """Serves the page.

  Args:
    model: what it asks.
    host: address to listen at; the default answers this machine alone.
    port: as it says.
    max_megabytes: of an upload.
    max_minutes: of a file's sound.
    block: until Ctrl-C.
  Returns:
    The page where it does not block; `close()` ends it.
  Raises:
    UserError: without Gradio, and where the port cannot be had.
  """
  try:  # Gradio says of every reason that the port is taken
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    socket.create_server(address[:2], family=family).close()
  except OSError as error:
    raise UserError(
      f"--host={host} --port={port}: cannot be listened at ({error.strerror}); give"
      " an address of this machine and a port that no program has"
    ) from error
  with tempfile.TemporaryDirectory(prefix="genre_jax-page-") as uploads:
    os.environ["GRADIO_TEMP_DIR"] = uploads
    gradio = import_gradio()
    page = build(model, max_minutes=max_minutes)
    page.launch(
      server_name=host,
      server_port=port,
      share=False,
      quiet=True,
      prevent_thread_lock=True,
      max_file_size=f"{max_megabytes}mb",
      footer_links=[],
      css=STYLE,
      ssr_mode=False,
      pwa=False,
      enable_monitoring=False,
      mcp_server=False,
      theme=gradio.themes.Default(font=FONT, font_mono=["monospace"]),
    )
    print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)
    if not block:
      return page
    try:
      page.block_thread()
    finally:
      page.close(verbose=False)


def import_gradio():
  """Gradio, told to send nothing anywhere."""
  os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
  os.environ["HF_HUB_OFFLINE"] = "1"
  os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
  logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells how Gradio asks itself
  try:
    import gradio
  except ImportError as error:
    raise UserError(
      "the page needs the package gradio: pip install '.[page]' in the checkout"
    ) from error
  return gradio
