"""Evaluate transfer from musicnn, trained on more music, to GTZAN: `python -m benchmarks.transfer`.

Compares linear probes on musicnn's features, fine-tuning of its upper layers, and distillation of a
probe into `split_cnn` with `split_cnn` from random weights. All train on short real excerpts of the
fault-filtered train list and are evaluated on its validation list. Features, penalties, rates and
lengths were chosen by cross-validation on the train list with disjoint artists. The validation list
was also evaluated twelve times during these choices (docs/results/notebook.md). Classes are
balanced in every row: ten train clips and 23 validation clips are country. The results are stored
in results/transfer.json.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.musicnn_features import (
  Clips,
  cached_activations,
  clip_mean,
  features_of,
  in_batches,
  overlapping_segments,
)
from genre_jax import command_line
from genre_jax.data.audio import read_audio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.pipeline import segment_starts
from genre_jax.evaluation import significance
from genre_jax.evaluation.metrics import accuracy_interval, softmax
from genre_jax.experiments import tf_split_10
from genre_jax.inference import load
from genre_jax.inference.track_log_mel import stack_segments
from genre_jax.models.registry import build_model
from genre_jax.studies.benchmark_sections import transfer_section
from genre_jax.studies.corpora import find_corpus
from genre_jax.studies.markdown import percent
from genre_jax.studies.stored_results import write_results
from genre_jax.training.optimizer import make_optimizer
from genre_jax.training.steps import create_state, make_eval_step, make_train_step

DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
RESULTS = flags.DEFINE_string("results", "results", "Folder of the stored results.")
WORKDIR = flags.DEFINE_string("workdir", "runs/transfer", "Folder of cached features.")
SEEDS = flags.DEFINE_integer(
  "seeds", 3, "Seeds of the networks trained by gradient.", lower_bound=1
)

BEST = "linear probe: penultimate layer, last convolution and tags, with gains and speeds"
PENALTY = 1e-3  # C of the logistic regressions
LONG_SECONDS = 10.0


def probe(features, clip, clips, rows):
  """Fit a logistic regression on the segments of some clips; clips and labels have equal weight.

  Args:
    features: float[segments, features].
    clip: int[segments], the clip of each segment.
    clips: the excerpts.
    rows: indices of the clips to fit on.

  Returns:
    Log-probabilities of every clip, float[clips, genres], the mean over its segments; the fitted
    regression; mean and deviation of the features.
  """
  mean, deviation = features[np.isin(clip, rows)].mean(0), features[np.isin(clip, rows)].std(0)
  x = (features - mean) / (deviation + 1e-6)
  weight = np.zeros(len(clips.names))
  weight[rows] = clips.balance(rows)
  weight = (weight / np.bincount(clip, minlength=len(weight)))[clip]
  weighted = weight > 0
  weight *= len(rows) / weight.sum()
  fitted = LogisticRegression(C=PENALTY, max_iter=1000).fit(
    x[weighted], clips.labels[clip[weighted]], sample_weight=weight[weighted]
  )
  out = np.full((len(clip), len(clips.genres)), -20.0)
  out[:, fitted.classes_] = fitted.predict_log_proba(x)
  return clip_mean(out, clip, len(clips.names)), fitted, mean, deviation + 1e-6


def fine_tune(model, activations, clips, start, seed, *, steps=210, rate=3e-4):
  """Fine-tune the upper layers, with the probe as head at a third of the rate.

  Args:
    model: musicnn, a loaded model; its first layers stay fixed.
    activations: result of `cached_activations`.
    clips: the excerpts.
    start: result of `probe`.
    seed: seed of batches, mixup and dropout.
    steps: number of updates.
    rate: peak learning rate of the upper layers.

  Returns:
    float[clips, genres], log-probabilities of every clip.
  """
  front, counts, clip, _ = activations
  _, fitted, mean, deviation = start
  features, genres = features_of(model), len(clips.genres)
  head = np.zeros((len(mean), genres), np.float32)
  head[:, fitted.classes_] = fitted.coef_.T
  bias = np.full(genres, -9.0, np.float32)
  bias[fitted.classes_] = fitted.intercept_
  body = {
    name: value
    for name, value in model.variables["params"].items()
    if name.startswith(("mid", "pooled", "hidden"))
  }
  params = {"body": body, "head": {"kernel": jnp.asarray(head), "bias": jnp.asarray(bias)}}

  def logits_of(params, x, counts, rng=None):
    x = (features(params["body"], x, counts, rng) - mean) / deviation
    if rng is not None:
      x *= 2 * jax.random.bernoulli(jax.random.fold_in(rng, 1), 0.5, x.shape)
    return x @ params["head"]["kernel"] + params["head"]["bias"]

  def schedule(rate):
    return optax.adamw(
      optax.warmup_cosine_decay_schedule(0, rate, steps // 10, steps), weight_decay=0.01
    )

  tx = optax.multi_transform(
    {"body": schedule(rate), "head": schedule(rate / 3)}, {"body": "body", "head": "head"}
  )

  @jax.jit
  def step(params, state, x, counts, labels, rng):
    def loss(params):
      order, share, dropout = jax.random.split(rng, 3)
      valid = (jnp.arange(x.shape[1]) < counts[:, None])[..., None]
      masked = jnp.where(valid, x.astype(jnp.float32), 0)  # padding is not zero
      other = jax.random.permutation(order, len(x))
      part = jax.random.beta(share, 0.3, 0.3)  # mixup of the first layers' activations
      targets = optax.smooth_labels(jax.nn.one_hot(labels, genres), 0.1)
      mixed = part * masked + (1 - part) * masked[other]
      logits = logits_of(params, mixed, jnp.maximum(counts, counts[other]), dropout)
      return optax.softmax_cross_entropy(
        logits, part * targets + (1 - part) * targets[other]
      ).mean()

    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  state, rng = tx.init(params), np.random.default_rng(seed)
  chance = clips.balance(clips.train) / len(clips.train)
  segments_of = {row: np.flatnonzero(clip == row) for row in clips.train}
  for number in range(steps):
    some = rng.choice(clips.train, 32, p=chance / chance.sum())
    rows = np.array([rng.choice(segments_of[row]) for row in some])
    params, state = step(
      params,
      state,
      front[rows],
      counts[rows],
      clips.labels[some],
      jax.random.key(1000 * seed + number),
    )
  predictions = in_batches(
    jax.jit(lambda x, c: jax.nn.log_softmax(logits_of(params, x, c))), front, counts
  )
  return clip_mean(predictions, clip, len(clips.names))


def train_split_cnn(clips, targets, seed):
  """Train `split_cnn` from random weights on segments of 2 s, with the recipe of `tf_split_10`.

  Args:
    clips: the excerpts.
    targets: float[clips, genres], rows with sum 1.
    seed: seed of weights and batches.

  Returns:
    float[clips, genres], log-probabilities of every clip.
  """
  config = tf_split_10.get_config().copy_and_resolve_references()
  with config.unlocked():
    config.seed, config.frontend.num_frames, config.model.name = seed, 26, "split_cnn"
  frontend = FrontendConfig.from_dict(config.frontend.to_dict())
  length, batch = frontend.num_frames, config.train.batch_size
  frames = [log_mel(read_audio(path, frontend.sample_rate), frontend) for path in clips.paths]
  network = build_model(config.model.to_dict(), len(clips.genres))
  per_epoch = 2 * len(clips.train) // batch
  # As many updates as the config's epochs have with 443 clips.
  steps = config.train.epochs * 2 * 443 // batch
  tx = make_optimizer(config.optimizer, steps)
  sample = jnp.zeros((1, length, frontend.n_mels, 1), jnp.float32)
  state = create_state(network, tx, sample, seed, ema=True)
  step, rng = make_train_step(network, tx, config), np.random.default_rng(seed)
  print(f"split_cnn seed {seed}: {steps} steps of {batch}, {per_epoch} an epoch", flush=True)
  weight = clips.balance(clips.train)
  for _ in range(steps):
    some = rng.choice(clips.train, batch, p=weight / weight.sum())
    starts = [rng.integers(max(1, len(frames[row]) - length + 1)) for row in some]
    x, counts = stack_segments(
      [frames[row][start : start + length] for row, start in zip(some, starts, strict=True)], length
    )
    state, _ = step(
      state,
      {
        "log_mel": x[..., None],
        "num_frames": counts,
        "mask": np.ones(batch, bool),
        "labels": targets[some].astype(np.float32),
        "label_mask": np.ones((batch, len(clips.genres)), bool),
      },
    )
  evaluate, out = make_eval_step(network), []
  for own in frames:
    starts = segment_starts(len(own), length, 4)
    starts = np.resize(starts, 4)  # a short clip has fewer; one shape for all
    x, counts = stack_segments([own[start : start + length] for start in starts], length)
    logits = np.asarray(
      evaluate(state.variables(), {"log_mel": x[..., None], "num_frames": counts})
    )
    out.append(np.log(softmax(logits).mean(0)))
  return np.array(out)


class Table:
  """Table of accuracies on the validation clips.

  Attributes:
    rows: rows so far, as `benchmark_sections.transfer_section` reads them.
    long: bool[validation clips], those of LONG_SECONDS or more.
  """

  def __init__(self, clips):
    self._clips, self._correct, self.rows = clips, {}, []
    self.long = clips.seconds[clips.validation] >= LONG_SECONDS

  def add(self, name, predictions):
    """Add a row for one or several seeds' log-probabilities, float[clips, genres] each."""
    rows, metrics = self._clips.validation, {}
    self._correct[name] = np.array([(a.argmax(1) == self._clips.labels)[rows] for a in predictions])
    correct, every = self._correct[name].mean(0), np.ones(len(rows), bool)
    subsets = {"accuracy": every, "accuracy_long": self.long, "accuracy_short": ~self.long}
    for key, subset in subsets.items():
      ends = accuracy_interval(correct[subset], tuple(self._clips.groups[rows][subset]))
      metrics[key] = {"value": float(correct[subset].mean()), "ci95": [float(x) for x in ends]}
    print(name, *(f"{key} {percent(metric)}" for key, metric in metrics.items()), flush=True)
    self.rows.append({"entry": name, "seeds": len(predictions), "metrics": metrics})

  def differences(self, best):
    """Return the difference of one row to each other, on the same clips."""
    rows, differences = self._clips.validation, []
    for name, correct in self._correct.items():
      if name != best:
        value, *ends = significance.paired_difference(
          self._correct[best], correct, self._clips.groups[rows], self._clips.labels[rows]
        )
        metrics = {"accuracy": {"value": value, "ci95": ends}}
        differences.append({"reference": best, "entry": name, "metrics": metrics})
    return differences


def main(_):
  """Train and evaluate each method, and store the results."""
  clips, model = Clips(find_corpus("gtzan", DATA.value, "audio")), load("musicnn_msd")
  hot, table, seeds = np.eye(len(clips.genres))[clips.labels], Table(clips), range(SEEDS.value)
  table.add("split_cnn, random initialization", [train_split_cnn(clips, hot, s) for s in seeds])
  activations = cached_activations(model, clips, WORKDIR.value)
  front, counts, clip, change = activations
  of = jax.jit(features_of(model))
  features = in_batches(lambda x, c: of(model.variables["params"], x, c), front, counts)
  plain, count = change == 0, len(clips.names)
  hidden = features[:, :200]
  samples = read_audio(clips.paths[0], model.frontend.sample_rate)
  np.testing.assert_allclose(  # these are the network's own layers; the cache is float16
    hidden[plain & (clip == 0)], model.infer(*overlapping_segments(model, samples))[1], atol=0.02
  )
  table.add(
    "linear probe: penultimate layer",
    [probe(clip_mean(hidden[plain], clip[plain], count), np.arange(count), clips, clips.train)[0]],
  )
  best = probe(features, clip, clips, clips.train)
  table.add(BEST, [best[0]])
  tuned = [fine_tune(model, activations, clips, best, s) for s in seeds]
  table.add("upper layers fine-tuned from that probe (rate 3e-4, head 1e-4, first layers 0)", tuned)
  table.add("mean of that probe and the fine-tuned network", [best[0] + t for t in tuned])
  # Predictions of the probe for train clips in folds with disjoint artists.
  teacher = np.log(hot + 1e-9)
  folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
  for kept, others in folds.split(
    clips.train, clips.labels[clips.train], clips.groups[clips.train]
  ):
    prediction = probe(features, clip, clips, clips.train[kept])[0]
    teacher[clips.train[others]] = prediction[clips.train[others]]
  targets = 0.5 * hot + 0.5 * softmax(teacher)
  table.add(
    "split_cnn, distilled from that probe", [train_split_cnn(clips, targets, s) for s in seeds]
  )
  results = {
    "clips": {
      "train": len(clips.train),
      "validation": len(clips.validation),
      "long": int(table.long.sum()),
      "short": int((~table.long).sum()),
    },
    "rows": table.rows,
    "differences": table.differences(BEST),
  }
  print(transfer_section(results))
  write_results(pathlib.Path(RESULTS.value), "transfer", results)
  print(
    f"written   {RESULTS.value}/transfer.json; python -m genre_jax.protocol --entries=none"
    " writes the page"
  )


if __name__ == "__main__":
  command_line.run(main)
