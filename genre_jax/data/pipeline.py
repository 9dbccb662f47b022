"""From a prepared set to NumPy batches, with tf.data: windows cut, shuffled, batched.

Stands after `prepared` and `splits`, before training. The order of training examples and the
place of every random window are functions of (seed, epoch, clip) alone, so that a run resumed at
any step sees what an uninterrupted one sees.
"""

from collections.abc import Iterator

import numpy as np

from genre_jax.data.prepared import SPLIT, Prepared
from genre_jax.data.splits import SplitAssignment

Batch = dict[str, np.ndarray]


def segment_starts(num_frames: int, window: int, count: int) -> np.ndarray:
  """First frames of evenly spaced windows over a clip.

  Args:
    num_frames: frames of the clip.
    window: frames of a window.
    count: how many windows; 0 for as many as fit side by side.
  Returns:
    int[at most count], increasing, without repetition; [0] for a clip no longer than a window.
  """
  room = num_frames - window
  if room <= 0:
    return np.zeros(1, int)
  count = min(count or max(1, num_frames // window), room + 1)
  if count == 1:
    return np.array([room // 2])
  return np.unique(np.arange(count) * room // (count - 1))


def plan_segments(
  prepared: Prepared,
  assignment: SplitAssignment,
  split: str,
  per_track: int,
  *,
  random: bool = False,
) -> np.ndarray:
  """Which windows of which clips stand on a side of the split.

  Args:
    prepared: the clips.
    split: who is where; a leaky split asks for each window apart.
    side: 'train', 'valid' or 'test'.
    per_track: windows of a clip; 0 for as many as fit side by side.
    random: windows are drawn anew at each epoch; then every clip has `per_track` of them.
  Returns:
    int32[clips, windows]: first frames (0 where they will be drawn), -1 where there is none.
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
  """A tf.data.Dataset of some clips of a prepared set, as (index, example), in stored order.

  Args:
    prepared: the clips.
    used: bool[clips].
  """
  import tensorflow as tf  # here: predicting must not wait for TensorFlow
  import tensorflow_datasets as tfds

  tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
  # One shard after another: by default they are interleaved, and the order would not be the stored.
  in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
  clips = tfds.builder_from_directory(prepared.path).as_dataset(split=SPLIT, read_config=in_order)
  clips = clips.map(lambda clip: {name: clip[name] for name in ("log_mel", "labels", "label_mask")})
  return clips.enumerate().filter(lambda index, _: tf.constant(used)[index])


def _planned_clips(prepared: Prepared, plan: np.ndarray):
  """The clips that the plan uses, kept in memory after the first pass."""
  return read_clips(prepared, (plan >= 0).any(axis=1)).cache()


def _cut(prepared: Prepared, plan, index, clip):
  """All planned windows of one clip, as a dict of arrays with a leading axis of windows."""
  import tensorflow as tf

  window, n_mels = prepared.frontend.num_frames, prepared.frontend.n_mels
  starts = tf.gather(plan, index)
  segments = tf.cast(tf.where(starts >= 0)[:, 0], tf.int32)
  starts = tf.gather(starts, segments)
  log_mel = clip["log_mel"]
  frames = tf.shape(log_mel)[0]
  count = tf.shape(starts)[0]
  if min(prepared.num_frames) < window:
    # Padding is silence as far as the clip knows; models see by num_frames that it is padding.
    log_mel = tf.pad(
      log_mel, [[0, tf.maximum(window - frames, 0)], [0, 0]], constant_values=tf.reduce_min(log_mel)
    )
  pieces = tf.gather(log_mel, starts[:, None] + tf.range(window)[None])
  return {
    "log_mel": tf.ensure_shape(pieces[..., None], (None, window, n_mels, 1)),
    "num_frames": tf.fill([count], tf.minimum(frames, window)),
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
  """Endless shuffled batches of the train side.

  Args:
    prepared: the clips.
    split: who is on which side.
    batch_size: windows of a batch.
    per_track: windows of a clip in an epoch.
    random: draw their places anew in each epoch (else evenly spaced).
    seed: of order and places.
    shuffle_buffer: windows shuffled together, after the clips themselves were shuffled.
    start_step: batches that a resumed run has had already.
  Returns:
    The batches, and the number of batches of an epoch. An epoch sees every planned window at
    least once; its last batch is filled up with the epoch's first windows.
  """
  import tensorflow as tf

  plan = plan_segments(prepared, assignment, "train", per_track, random=random)
  num_clips, examples = int((plan >= 0).any(axis=1).sum()), int((plan >= 0).sum())
  steps = -(-examples // batch_size)
  clips = _planned_clips(prepared, plan)
  room = np.array(prepared.num_frames, np.int32)[:, None] - prepared.frontend.num_frames
  places = np.maximum(room, 0) + 1

  def epoch_of(epoch):
    epoch_seed = tf.random.experimental.stateless_fold_in(
      tf.constant([seed, 20_241], tf.int64), epoch
    )
    starts = tf.constant(plan)
    if random:  # of all clips at once: an operation for each costs more than the copying
      drawn = tf.random.stateless_uniform(plan.shape, epoch_seed, None, None, tf.int32)
      starts = tf.where(starts >= 0, tf.math.floormod(drawn, places), -1)
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
  epochs = epochs.prefetch(2)
  return (
    {**batch, "mask": np.ones(batch_size, bool)} for batch in epochs.as_numpy_iterator()
  ), steps


def eval_batches(
  prepared: Prepared, assignment: SplitAssignment, split: str, *, batch_size: int, per_track: int
) -> Iterator[Batch]:
  """All windows of one side, once, in stored order; the last batch is padded and masked.

  Args:
    prepared: the clips.
    split: who is on which side.
    side: 'train', 'valid' or 'test'.
    batch_size: windows of a batch.
    per_track: evenly spaced windows of a clip; 0 for as many as fit side by side.
  Yields:
    Batches of equal size; `mask` is False for rows that only fill up.
  """
  plan = plan_segments(prepared, assignment, split, per_track)
  if not (plan >= 0).any():
    return
  windows = (
    _planned_clips(prepared, plan)
    .map(lambda index, clip: _cut(prepared, plan, index, clip))
    .unbatch()
    .batch(batch_size)
    .prefetch(2)
  )
  for batch in windows.as_numpy_iterator():
    fill = batch_size - len(batch["segment"])
    batch = {
      name: np.concatenate([value, np.repeat(value[-1:], fill, axis=0)])
      for name, value in batch.items()
    }
    yield {**batch, "mask": np.arange(batch_size) < batch_size - fill}
