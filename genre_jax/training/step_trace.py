"""A trace of some training steps: where their time goes, for TensorBoard or Perfetto.

Used by `loop.py`; `--config.profile=True` turns it on.
"""

import contextlib
import pathlib

import jax
from jax.profiler import StepTraceAnnotation, TraceAnnotation

# Steps of this process before the trace, which compile and fill caches, and in it.
WARM_UP, TRACED = 10, 20


class StepProfile(contextlib.AbstractContextManager):
  """Traces steps WARM_UP + 1 to WARM_UP + TRACED of a process, or those that there are of them.

  Args:
    folder: where the trace is to be; None for no trace.
  """

  def __init__(self, folder: pathlib.Path | None):
    self._folder = folder
    self._seen = 0
    self._tracing = False

  @contextlib.contextmanager
  def step(self, number: int):
    """A training step, under its number."""
    with StepTraceAnnotation("train", step_num=number):
      yield
    self._seen += 1
    if self._folder and self._seen == WARM_UP:
      jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
      self._tracing = True
    elif self._seen == WARM_UP + TRACED:
      self._stop()

  def part(self, name: str):
    """A part of the loop under a name of its own."""
    return TraceAnnotation(name)

  def _stop(self) -> None:
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()
      print(f"profile   {self._seen - WARM_UP} steps in {self._folder}")

  def __exit__(self, *_) -> None:
    if self._folder and self._seen < WARM_UP:
      print(f"profile   none: it begins after {WARM_UP} steps, there were {self._seen}")
    self._stop()
