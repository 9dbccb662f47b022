"""The fields that every experiment has, with their defaults; experiments change few of them.

A config is a tree of plain values. Every field can be set on the command line, for example
`--config.optimizer.learning_rate=3e-4`; a field that does not exist is an error.
"""

from ml_collections import ConfigDict

from genre_jax.training import augment


def get_config() -> ConfigDict:
  """Returns the default config, locked: fields can be changed, not added."""
  config = ConfigDict()

  # Seed of everything random in training: weights, order, crops, dropout, augmentation. The split
  # has a seed of its own, so that seeds can be compared on one split.
  config.seed = 0
  # 'single_label': one genre a clip, softmax; 'multi_label': any number, sigmoids.
  config.task = "single_label"
  # What the network computes in: 'float32', 'bfloat16' or 'float64' (needs JAX_ENABLE_X64=1).
  # Parameters stay in float32 (float64 with 'float64').
  config.dtype = "float32"
  # Write a trace of some steps to WORKDIR/profile, for TensorBoard or Perfetto.
  config.profile = False
  # A run's folder or a checkpoint to start from, with a new head; '' starts from random weights.
  config.init_from = ""

  # What is heard.
  config.dataset = ConfigDict()
  # 'auto', which goes by the path, or a file of genre_jax/data: 'gtzan', 'spoken_digits', ...
  config.dataset.source = "auto"
  config.dataset.path = ""
  # '': the source's default; 'all'; or a comma list such as 'classical,disco,metal,rock'.
  config.dataset.genres = ""
  # CSV with the columns file,group for an audio folder: what must stay on one side of a split.
  config.dataset.groups = ""
  # A part of a collection that has parts: 'small', 'medium' or 'large' of FMA.
  config.dataset.subset = ""
  # Length of the clips in a mel archive, from which its frame rate follows.
  config.dataset.clip_seconds = 30.0
  # Where prepared spectrograms are kept, and how many processes prepare them (0: one a core).
  config.dataset.prepared_dir = "prepared"
  config.dataset.workers = 0

  # How sound becomes the network's input; see genre_jax/data/frontend.py. The defaults are those of
  # the log-mel archive of GTZAN: librosa's log-mel, one frame in 3.34 kept, 12.9 frames a second.
  config.frontend = ConfigDict()
  config.frontend.sample_rate = 22050
  config.frontend.n_fft = 2048
  config.frontend.win_length = 2048
  config.frontend.hop_length = 512
  config.frontend.window = "hann"
  config.frontend.center = True
  config.frontend.pad_mode = "constant"
  config.frontend.n_mels = 128
  config.frontend.fmin = 0.0
  config.frontend.fmax = 11025.0
  config.frontend.mel_scale = "slaney"
  config.frontend.mel_norm = "slaney"
  config.frontend.power = 2.0
  config.frontend.compression = "db"
  config.frontend.db_ref = "max"
  config.frontend.top_db = 80.0
  config.frontend.amin = 1e-10
  config.frontend.frame_stride = 1292 / 387
  # The window that the network sees.
  config.frontend.num_frames = 96

  # Who trains and who is asked; see genre_jax/data/splits.py.
  config.split = ConfigDict()
  config.split.name = "fault_filtered"
  config.split.num_folds = 5
  config.split.fold = 0
  config.split.seed = 0
  # Share of each genre's training clips that is used, for learning curves; 1: all.
  config.split.train_share = 1.0

  # Windows cut from each clip. 'random': anew at every epoch; 'fixed': evenly spaced.
  config.segments = ConfigDict()
  config.segments.train = "random"
  config.segments.train_per_track = 2
  # Evenly spaced windows whose probabilities are averaged; 0: as many as fit side by side.
  config.segments.eval_per_track = 4

  # The network: its name, and the sizes of the experiment's own (none: the module's defaults).
  config.model = ConfigDict()
  config.model.name = "axis_features"

  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"  # adamw, adam or sgd
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = "cosine"  # cosine (to zero) or constant
  config.optimizer.warmup_fraction = 0.1  # of all steps, rising from zero
  # Decoupled for adamw; added to the gradient, as an L2 penalty is, for adam and sgd.
  config.optimizer.weight_decay = 1e-3
  # Regular expression: the parameters, as 'dense/kernel', that decay.
  config.optimizer.weight_decay_on = "kernel$"
  config.optimizer.momentum = 0.0  # sgd
  config.optimizer.clip_norm = 5.0  # 0: gradients are not clipped

  # Binary cross-entropy of multi_label; all off at 0. See genre_jax/training/losses.py.
  config.loss = ConfigDict()
  # Labels that are held count (negatives / positives) ** power more; 1 balances each class.
  config.loss.positive_power = 0.0
  # Asymmetric loss: (1 - p) ** focus on held labels, p ** focus on others, p less the margin there.
  config.loss.focus_positive = 0.0
  config.loss.focus_negative = 0.0
  config.loss.negative_margin = 0.0

  # Inside the training step; each is off at 0; see genre_jax/training/augment.py.
  config.augment = ConfigDict(augment.DEFAULTS)

  config.train = ConfigDict()
  config.train.batch_size = 32
  config.train.epochs = 36
  config.train.label_smoothing = 0.1
  # Moving average of the parameters, used for evaluation; 0: off.
  config.train.ema_decay = 0.99
  # Evaluation on the validation side, and a checkpoint, every so many epochs.
  config.train.eval_every_epochs = 3
  # Which checkpoint is the best: by the 'accuracy' (of multi_label 'pr_auc', macro; ties: the lower
  # nll) or the 'nll' of the valid tracks, or simply the 'last': cross-validation chose the length
  # of the training, and choosing again on few valid artists adds noise (docs/results/notebook.md).
  config.train.best_metric = "last"
  # Stop after so many evaluations without a better one; 0: never.
  config.train.patience = 0
  # Draw eval/report.html after an evaluation.
  config.train.report = True
  # Segments shuffled together in the input pipeline.
  config.train.shuffle_buffer = 8192

  return config.lock()
