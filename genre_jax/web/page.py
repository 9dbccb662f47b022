"""Serve a web page that classifies uploaded files and live audio from a microphone.

The page is a Gradio app. It contacts no other machine. Uploads are deleted after ten minutes, not
right after the prediction, because visitors who upload the same file share its copy.
"""

import logging
import os
import pathlib
import socket
import tempfile
import threading

import numpy as np

from genre_jax.errors import UserError, missing_extra
from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import predict_track
from genre_jax.inference.streaming import StreamingClassifier, converter
from genre_jax.inference.track_log_mel import TrackLogMel, read_track_log_mel
from genre_jax.reports.grad_cam import GradCam
from genre_jax.web.disconnect import IgnoreDisconnect
from genre_jax.web.same_origin import SameOrigin

TOP_CLASSES = 5  # classes in the list of probabilities
SHOWN_SEGMENTS = 4  # segments in the Grad-CAM plot
UPLOAD_SECONDS = 600  # until an upload is deleted
SMOOTHING_SECONDS = 0.5  # of predictions from the microphone
# Gradio's default theme loads fonts from Google; system fonts avoid that.
FONT = ["system-ui", "sans-serif"]
STYLE = """
.gradio-container {max-width: 1000px !important; margin: auto}
#message {min-height: 1.5em}
"""


class PredictionPage:
  """Predict files and explain predictions, for all visitors of a page.

  Args:
    model: The loaded model.
    max_minutes: Longest accepted file in minutes.
  """

  def __init__(self, model: Model, max_minutes: float):
    self.model, self._max_minutes = model, max_minutes
    self._grad_cam: GradCam | None = None
    self._lock = threading.Lock()

  def predict(self, path: str | None):
    """Predict an uploaded file.

    Args:
      path: The upload; None or '' if the visitor removed the file.

    Returns:
      message: Markdown.
      probabilities: {class: probability}, or None.
      plot: Log-mel and timeline, or None.
      explained: What `explain` takes: first frames, segments, frames that are not padding, and the
        most probable class; or None.
    """
    from genre_jax.web.plots import plot_overview

    if not path:
      return "", None, None, None
    name = pathlib.Path(path).name
    with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
      track = self._read(path, folder)
      if isinstance(track, str):
        return f"**{escape_markdown(name)}**: {escape_markdown(track)}", None, None, None
      track = track.opened()
      prediction = predict_track(path, track, self.model, timeline=True)
      ranges = track.track_ranges(self.model.eval_per_track)[:SHOWN_SEGMENTS]
      segments, counts = track.segments(ranges)
      starts = track.sounding[ranges[:, 0]]
      message = (
        f"**{escape_markdown(name)}**, {track.seconds:.0f} s:"
        f" **{escape_markdown(prediction.genre)}**, confidence {prediction.confidence:.2f}"
        + (f"  \n{escape_markdown(track.note)}" if track.note else "")
      )
      best = max(prediction.probabilities, key=prediction.probabilities.get)
      return (
        message,
        dict(prediction.probabilities),
        plot_overview(track, prediction),
        (starts, segments, counts, best),
      )

  def _read(self, path: str, folder: str) -> TrackLogMel | str:
    return read_track_log_mel(path, self.model.frontend, folder, 60 * self._max_minutes)

  def explain(self, explained):
    """Compute Grad-CAM for the last file.

    Args:
      explained: The last value that `predict` returned, or None.

    Returns:
      message: Markdown.
      plot: Grad-CAM of the segments, or None.
    """
    from genre_jax.web.plots import plot_evidence

    if explained is None:
      return "Choose a file first.", None
    starts, segments, counts, label = explained
    images = segments[..., None]
    with self._lock:
      if self._grad_cam is None:
        self._grad_cam = GradCam(self.model.network, self.model.variables, images[:2])
    if not self._grad_cam.maps:
      return f"{self.model.name} has no layer that keeps time and frequency.", None
    mask = np.arange(segments.shape[1])[None] < counts[:, None]
    heat = self._grad_cam(images, mask, np.full(len(images), self.model.classes.index(label)))
    return "", plot_evidence(self.model.frontend, segments, starts, heat, label)

  def classify_live(self, chunk, microphone):
    """Process a chunk of audio from a visitor's microphone.

    Args:
      chunk: (sample rate in Hz, int or float array of [samples] or [samples, channels]), or None.
      microphone: The visitor's Microphone; None at the start of a recording.

    Returns:
      probabilities: {class: probability}, or None.
      message: Markdown.
      microphone: The visitor's Microphone.
    """
    if chunk is None:
      return None, "", None
    rate, values = chunk
    if microphone is None or microphone.rate != rate:
      microphone = Microphone(self.model, rate)
    return *microphone.push(np.asarray(values)), microphone


class Microphone:
  """Classify the audio of one visitor's microphone.

  Args:
    model: The loaded model.
    rate: Sample rate of the microphone in Hz.
  """

  def __init__(self, model: Model, rate: int):
    self.rate = rate
    self._classifier = StreamingClassifier(model, smoothing_seconds=SMOOTHING_SECONDS)
    self._convert = converter(rate, model.frontend.sample_rate)
    self._last = None

  def __deepcopy__(self, memo):
    return self  # Gradio copies the state of a visit, and a resampler cannot be copied

  def push(self, values: np.ndarray):
    """Process audio and return the last prediction.

    Args:
      values: int or float array of [samples] or [samples, channels].

    Returns:
      {class: probability} or None, and a message in Markdown.
    """
    if values.dtype.kind == "i":
      values = values / np.float32(-np.iinfo(values.dtype).min)
    for part in self._convert(np.nan_to_num(values.astype(np.float32))):
      for update in self._classifier.push(part):
        self._last = update
    if self._last is None:
      return None, "listening ..."
    return (
      self._last.probabilities or None,
      f"after {self._last.seconds:.1f} s: **{escape_markdown(self._last.genre)}**",
    )


def escape_markdown(text: str) -> str:
  """Return text with the special characters of Markdown and HTML as character references."""
  return "".join(f"&#{ord(c)};" if c in "<>&*_`[]()#|\\!~" else c for c in text)


def build(model: Model, *, max_minutes: float):
  """Build the page.

  Args:
    model: The loaded model.
    max_minutes: Longest accepted file in minutes.

  Returns:
    A gradio.Blocks.
  """
  gradio = import_gradio()
  handlers = PredictionPage(model, max_minutes)
  with gradio.Blocks(
    title=f"genre_jax: {model.name}", analytics_enabled=False, delete_cache=(60, UPLOAD_SECONDS)
  ) as page:
    gradio.Markdown(
      f"# Music genre classification\n{model.name} classifies {', '.join(model.classes[:12])}"
      + (" and more." if len(model.classes) > 12 else ".")
      + " Audio stays on the machine that serves this page and is deleted within eleven minutes."
    )
    with gradio.Tab("File"):
      explained = gradio.State(None)
      file = gradio.File(
        label=f"Music of any format, up to {max_minutes:g} minutes",
        type="filepath",
        elem_id="file",
        height=140,
      )
      message = gradio.Markdown(elem_id="message")
      probabilities = gradio.Label(label="genres", num_top_classes=TOP_CLASSES, elem_id="genres")
      overview = gradio.Plot(show_label=False, elem_id="overview", format="png")
      button = gradio.Button("Show the evidence (Grad-CAM)", elem_id="explain")
      explanation = gradio.Markdown()
      evidence = gradio.Plot(show_label=False, elem_id="cam", format="png")
      file.change(
        handlers.predict,
        file,
        [message, probabilities, overview, explained],
        api_visibility="private",
      )
      button.click(handlers.explain, explained, [explanation, evidence], api_visibility="private")
    with gradio.Tab("Microphone"):
      microphone = gradio.State(None)
      audio = gradio.Audio(
        sources=["microphone"],
        streaming=True,
        type="numpy",
        label="microphone",
        elem_id="microphone",
      )
      now = gradio.Markdown(elem_id="now")
      live = gradio.Label(label="genres now", num_top_classes=TOP_CLASSES, elem_id="live")
      # No time limit and no limit of concurrent visitors: otherwise a second visitor waits.
      audio.stream(
        handlers.classify_live,
        [audio, microphone],
        [live, now, microphone],
        stream_every=0.3,
        time_limit=None,
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
      )
      audio.start_recording(lambda: None, None, microphone, api_visibility="private")
  return page


def serve(
  model: Model,
  *,
  host: str = "127.0.0.1",
  port: int = 7860,
  max_megabytes: int = 200,
  max_minutes: float = 60.0,
) -> None:
  """Serve the page until Ctrl-C.

  Args:
    model: The loaded model.
    host: Address to listen on; the default accepts connections from this machine only.
    port: Port to listen on.
    max_megabytes: Largest upload in MB.
    max_minutes: Longest file in minutes.

  Raises:
    UserError: If Gradio is not installed, or the address or port cannot be used.
  """
  try:  # Gradio reports every failure as a port in use
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    socket.create_server(address[:2], family=family).close()
  except OSError as error:
    raise UserError(
      f"--host={host} --port={port}: cannot listen there ({error.strerror}); give an address of"
      " this machine and a port that no other program uses"
    ) from error
  with tempfile.TemporaryDirectory(prefix="genre_jax-page-") as uploads:
    os.environ["GRADIO_TEMP_DIR"] = uploads
    gradio = import_gradio()
    from starlette.middleware import Middleware  # gradio needs it

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
      app_kwargs={"middleware": [Middleware(IgnoreDisconnect), Middleware(SameOrigin, host=host)]},
    )
    print(f"http://{host}:{port}  (Ctrl-C stops it)", flush=True)
    try:
      page.block_thread()
    finally:
      page.close(verbose=False)


def import_gradio():
  """Import Gradio with analytics and telemetry switched off.

  Raises:
    UserError: If it is not installed.
  """
  os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
  os.environ["HF_HUB_OFFLINE"] = "1"
  os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
  logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's requests to itself are logged
  try:
    import gradio
  except ImportError as error:
    raise missing_extra("the page", "gradio", "web") from error
  return gradio
