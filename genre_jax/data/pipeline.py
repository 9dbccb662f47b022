"""From a prepared set to NumPy batches with tf.data: cut, shuffle and batch segments.

The order of the training examples and the start of each random segment depend on (seed, epoch,
clip) alone. A run that resumes at any step therefore gets the batches of an uninterrupted run.
"""

from collections.abc import Iterator

import numpy as np

from genre_jax.data.prepared import Prepared
from genre_jax.data.prepared_writer import TFDS_SPLIT
from genre_jax.data.split_assignment import SplitAssignment

Batch = dict[str, np.ndarray]


def segment_starts(num_frames: int, length: int, count: int) -> np.ndarray:
  """Return the first frames of evenly spaced segments of a clip.

  Args:
    num_frames: Number of frames of the clip.
    length: Number of frames of a segment.
    count: Number of segments; 0 for as many as fit without overlap.

  Returns:
    int[at most count], increasing, without repetition; [0] for a clip of at most `length` frames.
  """
  last = num_frames - length
  if last <= 0:
    return np.zeros(1, int)
  count = min(count or max(1, num_frames // length), last + 1)
  if count == 1:
    return np.array([last // 2])
  return np.unique(np.arange(count) * last // (count - 1))


def plan_segments(
  prepared: Prepared,
  assignment: SplitAssignment,
  split: str,
  per_track: int,
  *,
  random: bool = False,
) -> np.ndarray:
  """Return the first frames of the segments of a split.

  Args:
    prepared: Prepared set.
    assignment: Splits of its clips; a leaky one assigns each segment.
    split: 'train', 'validation' or 'test'.
    per_track: Segments per clip; 0 for as many as fit without overlap.
    random: True if starts are drawn in each epoch; then each clip has `per_track` segments.

  Returns:
    int32[clips, segments]: first frames (0 if they are drawn later), -1 for no segment.
  """
  rows = []
  for clip, num_frames in zip(prepared.clips, prepared.num_frames, strict=True):
    starts = (
      np.zeros(per_track, int)
      if random
      else segment_starts(num_frames, prepared.frontend.num_frames, per_track)
    )
    if assignment.leaky:
      wanted = np.array([assignment.split_of(clip.track, k) == split for k in range(len(starts))])
    else:
      wanted = assignment.splits.get(clip.track) == split
    rows.append(np.where(wanted, starts, -1))
  plan = np.full((len(rows), max(map(len, rows))), -1, np.int32)
  for index, row in enumerate(rows):
    plan[index, : len(row)] = row
  return plan


def read_clips(prepared: Prepared, used: np.ndarray):
  """Return a tf.data.Dataset of some clips of a prepared set.

  Args:
    prepared: Prepared set.
    used: bool[clips].

  Returns:
    Dataset of (index, example), in stored order.
  """
  import tensorflow as tf  # here: predicting must not wait for TensorFlow
  import tensorflow_datasets as tfds

  tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
  # The default interleaves shards, which would change the order.
  in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
  clips = tfds.builder_from_directory(prepared.path).as_dataset(
    split=TFDS_SPLIT, read_config=in_order
  )
  clips = clips.map(lambda clip: {name: clip[name] for name in ("log_mel", "labels", "label_mask")})
  return clips.enumerate().filter(lambda index, _: tf.constant(used)[index])


def _planned_clips(prepared: Prepared, plan: np.ndarray):
  """Return the clips that the plan uses, cached in memory after the first pass."""
  return read_clips(prepared, (plan >= 0).any(axis=1)).cache()


def _fixed_parallelism():
  """Return options without the thread that tunes parallelism, for which closing would wait."""
  import tensorflow as tf

  options = tf.data.Options()
  options.autotune.enabled = False
  return options


def _cut(prepared: Prepared, plan, index, clip):
  """Return the planned segments of one clip: a dict of arrays with a leading segment axis."""
  import tensorflow as tf

  length, n_mels = prepared.frontend.num_frames, prepared.frontend.n_mels
  starts = tf.gather(plan, index)
  segments = tf.cast(tf.where(starts >= 0)[:, 0], tf.int32)
  starts = tf.gather(starts, segments)
  log_mel = clip["log_mel"]
  frames = tf.shape(log_mel)[0]
  count = tf.shape(starts)[0]
  if min(prepared.num_frames) < length:
    # Padding has the clip's smallest level; models mask it by num_frames.
    log_mel = tf.pad(
      log_mel, [[0, tf.maximum(length - frames, 0)], [0, 0]], constant_values=tf.reduce_min(log_mel)
    )
  pieces = tf.gather(log_mel, starts[:, None] + tf.range(length)[None])
  return {
    "log_mel": tf.ensure_shape(pieces[..., None], (None, length, n_mels, 1)),
    "num_frames": tf.fill([count], tf.minimum(frames, length)),
    "labels": tf.repeat(clip["labels"][None], count, axis=0),
    "label_mask": tf.repeat(clip["label_mask"][None], count, axis=0),
    "track_index": tf.fill([count], tf.cast(index, tf.int32)),
    "segment": segments,
  }


def train_batches(
  prepared: Prepared,
  assignment: SplitAssignment,
  *,
  batch_size: int,
  per_track: int,
  random: bool,
  seed: int,
  shuffle_buffer: int,
  start_step: int = 0,
) -> tuple[Iterator[Batch], int]:
  """Return endless shuffled batches of the train split.

  Args:
    prepared: Prepared set.
    assignment: Splits of its clips.
    batch_size: Segments per batch.
    per_track: Segments per clip and epoch.
    random: True to draw their starts in each epoch, False for evenly spaced starts.
    seed: Seed of order and starts.
    shuffle_buffer: Number of segments shuffled together, after the clips were shuffled.
    start_step: Number of batches before the first one returned, for a run that resumes.

  Returns:
    (batches, number of batches of an epoch). An epoch contains each planned segment at least once;
    its last batch is filled with the first segments of the epoch.
  """
  import tensorflow as tf

  plan = plan_segments(prepared, assignment, "train", per_track, random=random)
  num_clips, examples = int((plan >= 0).any(axis=1).sum()), int((plan >= 0).sum())
  steps = -(-examples // batch_size)
  clips = _planned_clips(prepared, plan)
  last = np.array(prepared.num_frames, np.int32)[:, None] - prepared.frontend.num_frames
  num_starts = np.maximum(last, 0) + 1

  def epoch_of(epoch):
    epoch_seed = tf.random.experimental.stateless_fold_in(
      tf.constant([seed, 20_241], tf.int64), epoch
    )
    starts = tf.constant(plan)
    if random:  # for all clips at once: one operation per clip costs more than the copy
      drawn = tf.random.stateless_uniform(plan.shape, epoch_seed, None, None, tf.int32)
      starts = tf.where(starts >= 0, tf.math.floormod(drawn, num_starts), -1)
    shuffled = clips.shuffle(num_clips, seed=epoch_seed[0], reshuffle_each_iteration=False)
    examples_of = (
      shuffled.map(lambda index, clip: _cut(prepared, starts, index, clip), num_parallel_calls=2)
      .unbatch()
      .shuffle(min(shuffle_buffer, examples), seed=epoch_seed[1], reshuffle_each_iteration=False)
    )
    batches = examples_of.repeat().batch(batch_size, drop_remainder=True).take(steps)
    first = tf.where(tf.equal(epoch, start_step // steps), start_step % steps, 0)
    return batches.skip(tf.cast(first, tf.int64))

  epochs = tf.data.Dataset.range(start_step // steps, 2**31).flat_map(epoch_of)
  epochs = epochs.prefetch(2).with_options(_fixed_parallelism())
  return (
    {**batch, "mask": np.ones(batch_size, bool)} for batch in epochs.as_numpy_iterator()
  ), steps


class EvalBatches:
  """All segments of one split, in stored order; can be iterated several times.

  Batches have equal size; `mask` is False for the padding rows of the last one. The clips stay in
  memory from the first time on.

  Args:
    prepared: Prepared set.
    assignment: Splits of its clips.
    split: 'train', 'validation' or 'test'.
    batch_size: Segments per batch.
    per_track: Evenly spaced segments per clip; 0 for as many as fit without overlap.
  """

  def __init__(
    self,
    prepared: Prepared,
    assignment: SplitAssignment,
    split: str,
    *,
    batch_size: int,
    per_track: int,
  ):
    self._batch_size = batch_size
    plan = plan_segments(prepared, assignment, split, per_track)
    self._batches = None
    if (plan >= 0).any():
      self._batches = (
        _planned_clips(prepared, plan)
        .map(lambda index, clip: _cut(prepared, plan, index, clip))
        .unbatch()
        .batch(batch_size)
        .prefetch(2)
        .with_options(_fixed_parallelism())
      )

  def __iter__(self) -> Iterator[Batch]:
    if self._batches is None:
      return
    for batch in self._batches.as_numpy_iterator():
      fill = self._batch_size - len(batch["segment"])
      batch = {
        name: np.concatenate([value, np.repeat(value[-1:], fill, axis=0)])
        for name, value in batch.items()
      }
      yield {**batch, "mask": np.arange(self._batch_size) < self._batch_size - fill}
