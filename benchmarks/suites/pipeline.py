"""Rate of the input pipeline, from prepared set to a program on the device, against a step's."""

import contextlib
import dataclasses
import pathlib
import time

import numpy as np

from benchmarks.harness import Options, format_ratio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import Clip, Source

TITLE = "Input pipeline: prepared set to the device, axis_features on ten genres"
TARGET = "at least 20 x the rate of the training step; the step waits less than 1 % of the time"
NOTES = "input-pipeline-and-prepared-sets"
CLIPS = 443  # number of training clips of GTZAN's fault-filtered lists
BATCHES, STEPS = 100, 20  # per round


@dataclasses.dataclass(frozen=True)
class RandomReader:
  """Reader of random log-mel of 30 s; the content does not affect the pipeline's speed."""

  frames: int = 387

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return float32[frames, n_mels] in dB."""
    rng = np.random.default_rng(clip.index)
    return rng.uniform(-80, 0, (self.frames, frontend.n_mels)).astype(np.float32)


def random_source(count: int) -> Source:
  """Return a source of `count` random clips of ten genres."""
  genres = tuple(f"genre{number}" for number in range(10))
  clips = tuple(
    Clip(f"clip.{i:05d}", f"track:clip.{i:05d}", (genres[i % 10],), index=i) for i in range(count)
  )
  return Source("random", genres, clips, RandomReader(), f"{count}")


class Training:
  """A training of axis_features on random clips, ready for its first step.

  Args:
    folder: folder of the prepared set.
    count: number of clips.
  """

  def __init__(self, folder: pathlib.Path, count: int):
    import jax

    from genre_jax.data.pipeline import train_batches
    from genre_jax.data.prepared import prepare
    from genre_jax.data.split_assignment import SplitAssignment
    from genre_jax.experiments import axis_features_10
    from genre_jax.models.registry import build_model
    from genre_jax.training import steps
    from genre_jax.training.optimizer import make_optimizer

    config = axis_features_10.get_config()
    source, frontend = random_source(count), FrontendConfig.from_dict(config.frontend.to_dict())
    prepared = prepare(source, frontend, folder, workers=1)
    self.batch_size = config.train.batch_size
    self._batches, self.steps_per_epoch = train_batches(
      prepared,
      SplitAssignment("all", {clip.track: "train" for clip in source.clips}),
      batch_size=self.batch_size,
      per_track=config.segments.train_per_track,
      random=True,
      seed=0,
    )
    self._mesh, self._shard = steps.device_mesh(), steps.shard_batch
    # Reads one number of each array, so that all of them must have reached the device.
    self._receive = jax.jit(lambda batch: [array.ravel()[0] for array in batch.values()])
    model = build_model(config.model.to_dict(), len(source.classes))
    tx = make_optimizer(config.optimizer, 1000)
    first = self.next_batch()
    self._state = steps.create_state(model, tx, first["log_mel"][:1], 0, ema=True)
    self._step = steps.make_train_step(model, tx, config)
    self.step(first)

  def next_batch(self):
    """Return the next batch as training does: what the step takes."""
    return self._shard(next(self._batches), self._mesh)

  def receive(self, batch) -> None:
    """Wait until a program on the device has the batch."""
    for number in self._receive(batch):
      number.block_until_ready()

  def step(self, batch, meanwhile=lambda: None):
    """Complete a step; call `meanwhile` while the device computes, and return its result."""
    self._state, metrics = self._step(self._state, batch)
    result = meanwhile()
    float(metrics["loss"])
    return result

  def close(self) -> None:
    """End the pipeline."""
    self._batches.close()


def report(options: Options) -> str:
  """Time pipeline and step alternately, then both together; return a table in Markdown."""
  alone, stepping, together = [], [], []
  with contextlib.closing(Training(options.folder, CLIPS)) as training:
    for _ in range(2 * training.steps_per_epoch):  # fill the queue and warm up
      batch = training.next_batch()
    for _ in range(options.repeats):
      begun = time.perf_counter()
      for _ in range(BATCHES):
        training.receive(training.next_batch())
      alone.append((time.perf_counter() - begun) / BATCHES)
      begun = time.perf_counter()
      for _ in range(STEPS):
        training.step(batch)
      stepping.append((time.perf_counter() - begun) / STEPS)
      begun = time.perf_counter()
      for _ in range(STEPS):  # as training does
        batch = training.step(batch, training.next_batch)
      together.append((time.perf_counter() - begun) / STEPS)
  size = training.batch_size
  alone, stepping, together = map(np.array, (alone, stepping, together))
  longer = 1 - stepping / together
  return (
    "| pipeline, segments/s | training step, segments/s | ratio | share of training time added |\n"
    "|---|---|---|---|\n"
    f"| {size / np.median(alone):.0f} | {size / np.median(stepping):.0f} "
    f"| {format_ratio(np.percentile(stepping / alone, (25, 50, 75)))} "
    f"| {np.median(longer):.2%} [{np.percentile(longer, 25):.2%}, {np.percentile(longer, 75):.2%}]"
    " |\n\n"
    f"{CLIPS} random clips of 30 s, batches of {size} segments, until a program on the device has"
    " them. The last column compares a step plus the next batch, which training fetches while the"
    " device computes, with the step alone.\n"
  )
