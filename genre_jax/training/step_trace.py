"""Trace some training steps for TensorBoard or Perfetto, to show where their time is spent.

`loop.py` uses it; `--config.profile=True` turns it on.
"""

import contextlib
import pathlib

import jax
from jax.profiler import StepTraceAnnotation, TraceAnnotation

# Steps before the trace, in which JAX compiles and caches fill, and steps in it.
WARM_UP, TRACED = 10, 20


class StepTracer(contextlib.AbstractContextManager):
  """Trace steps WARM_UP + 1 to WARM_UP + TRACED of a process.

  A training with fewer steps gives a shorter trace or none.

  Args:
    folder: Folder of the trace; None for no trace.
  """

  def __init__(self, folder: pathlib.Path | None):
    self._folder = folder
    self._steps = 0
    self._tracing = False

  @contextlib.contextmanager
  def step(self, number: int):
    """Return a context for one training step with this number."""
    with StepTraceAnnotation("train", step_num=number):
      yield
    self._steps += 1
    if self._folder and self._steps == WARM_UP:
      jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
      self._tracing = True
    elif self._steps == WARM_UP + TRACED:
      self._stop()

  def part(self, name: str):
    """Return a context for a named part of the loop."""
    return TraceAnnotation(name)

  def _stop(self) -> None:
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()
      print(f"profile   {self._steps - WARM_UP} steps in {self._folder}")

  def __exit__(self, *_) -> None:
    if self._folder and self._steps < WARM_UP:
      print(f"profile   none: it begins after {WARM_UP} steps, and only {self._steps} were made")
    self._stop()
