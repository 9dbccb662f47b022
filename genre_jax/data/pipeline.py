"""From a prepared set to NumPy batches: tf.data plans shuffled batches, NumPy cuts their segments.

The order of the training examples and the start of each random segment depend on (seed, epoch,
clip) alone. A run that resumes at any step therefore gets the batches of an uninterrupted run.
"""

from collections.abc import Iterator

import numpy as np

from genre_jax.data.prepared import Prepared
from genre_jax.data.shards import TFDS_SPLIT
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
  names = ("log_mel", "labels", "label_mask")
  clips = clips.map(_as_written(lambda clip: {name: clip[name] for name in names}))
  return clips.enumerate().filter(_as_written(lambda index, _: tf.constant(used)[index]))


def _as_written(function):
  """Return a function that tf.data traces without rewriting its source.

  It has no condition or loop on tensors. TensorFlow 2.21 rewrites by calls that Python 3.13
  deprecates.
  """
  import tensorflow as tf

  return tf.autograph.experimental.do_not_convert(function)


class _Segments:
  """The clips that a plan uses, in memory; cuts segments from them.

  Args:
    prepared: Prepared set.
    plan: Of `plan_segments`.
    part: (index of this process, number of processes): which rows of a batch this one computes.
  """

  def __init__(self, prepared: Prepared, plan: np.ndarray, part: tuple[int, int]):
    self._length, self._part = prepared.frontend.num_frames, part
    used = (plan >= 0).any(axis=1)
    num_frames = np.array(prepared.num_frames, np.int32)
    stored = np.where(used, np.maximum(num_frames, self._length), 0)
    first = np.cumsum(stored) - stored
    frames = np.empty((stored.sum(), prepared.frontend.n_mels), np.float32)
    labels = np.zeros((2, len(used), len(prepared.classes)), np.float32)
    for index, clip in read_clips(prepared, used).as_numpy_iterator():
      place = frames[first[index] : first[index] + stored[index]]
      place[: num_frames[index]] = clip["log_mel"]
      # Padding has the clip's smallest level; models mask it by num_frames.
      place[num_frames[index] :] = clip["log_mel"].min()
      labels[:, index] = clip["labels"], clip["label_mask"]
    self._first, self._labels, self._label_mask = first, *labels
    self._counts = np.minimum(num_frames, self._length)
    # One copy of a batch takes a tenth of the time of tf.gather.
    self._windows = np.lib.stride_tricks.sliding_window_view(frames, self._length, axis=0)

  def cut(self, index, segment, start) -> Batch:
    """Return a batch of int32[B] clips, numbers of segments and first frames.

    Returns:
      The batch without 'mask'. 'log_mel' has the rows of this process alone, the others all.
    """
    process, processes = self._part
    count = len(index) // processes
    rows = slice(process * count, (process + 1) * count)
    # From [B, mels, frames], whose memory is in the order of the result.
    log_mel = self._windows[self._first[index[rows]] + start[rows]].swapaxes(1, 2)
    return {
      "log_mel": log_mel[..., None],
      "num_frames": self._counts[index],
      "labels": self._labels[index],
      "label_mask": self._label_mask[index],
      "track_index": index,
      "segment": segment,
    }


def _fixed_parallelism():
  """Return options without the thread that tunes parallelism, for which closing would wait."""
  import tensorflow as tf

  options = tf.data.Options()
  options.autotune.enabled = False
  return options


def train_batches(
  prepared: Prepared,
  assignment: SplitAssignment,
  *,
  batch_size: int,
  per_track: int,
  random: bool,
  seed: int,
  start_step: int = 0,
  part: tuple[int, int] = (0, 1),
) -> tuple[Iterator[Batch], int]:
  """Return endless shuffled batches of the train split.

  Args:
    prepared: Prepared set.
    assignment: Splits of its clips.
    batch_size: Segments per batch.
    per_track: Segments per clip and epoch.
    random: True to draw their starts in each epoch, False for evenly spaced starts.
    seed: Seed of order and starts.
    start_step: Number of batches before the first one returned, for a run that resumes.
    part: (index of this process, number of processes). The order is that of all processes;
      'log_mel' has the rows of this one, a consecutive part of the batch.

  Returns:
    (batches, number of batches of an epoch). An epoch contains each planned segment at least once;
    its last batch is filled with the first segments of the epoch.
  """
  import tensorflow as tf

  plan = plan_segments(prepared, assignment, "train", per_track, random=random)
  segments = _Segments(prepared, plan, part)
  index, segment = (tf.constant(values, tf.int32) for values in np.nonzero(plan >= 0))
  examples = len(index)
  steps = -(-examples // batch_size)
  last = np.array(prepared.num_frames, np.int32)[:, None] - prepared.frontend.num_frames
  num_starts = np.maximum(last, 0) + 1

  def epoch_of(epoch):
    # Operations on the whole epoch: one for each segment would take ten times as long.
    start_seed, order_seed = tf.unstack(
      tf.random.split(
        tf.random.experimental.stateless_fold_in(tf.constant([seed, 20_241], tf.int64), epoch)
      )
    )
    starts = tf.constant(plan)
    if random:
      drawn = tf.random.stateless_uniform(plan.shape, start_seed, None, None, tf.int32)
      starts = tf.math.floormod(drawn, num_starts)
    order = tf.argsort(tf.random.stateless_uniform([examples], order_seed, dtype=tf.float64))
    order = tf.gather(order, tf.reshape(tf.range(steps * batch_size) % examples, [steps, -1]))
    rows = tf.gather(index, order), tf.gather(segment, order)
    first = tf.where(tf.equal(epoch, start_step // steps), start_step % steps, 0)
    batches = tf.data.Dataset.from_tensor_slices(
      (*rows, tf.gather_nd(starts, tf.stack(rows, axis=-1)))
    )
    return batches.skip(tf.cast(first, tf.int64))

  epochs = tf.data.Dataset.range(start_step // steps, 2**31).flat_map(_as_written(epoch_of))
  epochs = epochs.prefetch(2).with_options(_fixed_parallelism())
  return (
    {**segments.cut(*rows), "mask": np.ones(batch_size, bool)}
    for rows in epochs.as_numpy_iterator()
  ), steps


class EvalBatches:
  """All segments of one split, in stored order; can be iterated several times.

  Batches have equal size; `mask` is False for the padding rows of the last one.

  Args:
    prepared: Prepared set.
    assignment: Splits of its clips.
    split: 'train', 'validation' or 'test'.
    batch_size: Segments per batch.
    per_track: Evenly spaced segments per clip; 0 for as many as fit without overlap.
    part: (index of this process, number of processes), as of `train_batches`.
  """

  def __init__(
    self,
    prepared: Prepared,
    assignment: SplitAssignment,
    split: str,
    *,
    batch_size: int,
    per_track: int,
    part: tuple[int, int] = (0, 1),
  ):
    plan = plan_segments(prepared, assignment, split, per_track)
    index, segment = (values.astype(np.int32) for values in np.nonzero(plan >= 0))
    self._masks = np.arange(-(-len(index) // batch_size) * batch_size) < len(index)
    self._masks = self._masks.reshape(-1, batch_size)
    if len(index):
      filled = np.minimum(np.arange(self._masks.size), len(index) - 1).reshape(-1, batch_size)
      self._rows = index[filled], segment[filled], plan[index, segment][filled]
      self._segments = _Segments(prepared, plan, part)

  def __iter__(self) -> Iterator[Batch]:
    if len(self._masks):
      for *rows, mask in zip(*self._rows, self._masks, strict=True):
        yield {**self._segments.cut(*rows), "mask": mask}
