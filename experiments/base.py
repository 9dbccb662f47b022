"""Define the fields of every experiment and their defaults.

A config is a tree of plain values. Every field can be set on the command line, for example
`--config.optimizer.learning_rate=3e-4`. A field that does not exist is an error.
"""

from ml_collections import ConfigDict

from genre_jax.training import augment


def get_config() -> ConfigDict:
  """Return the default config, locked: fields can be changed, not added."""
  config = ConfigDict()

  # Seed of everything random in training: initial weights, order, crops, dropout, augmentation. It
  # does not change the split, which has its own seed.
  config.seed = 0
  # 'single_label': one label per track, softmax; 'multi_label': any number of labels, sigmoids.
  config.task = "single_label"
  # Dtype of the computation: 'float32', 'bfloat16' or 'float64' (needs JAX_ENABLE_X64=1).
  # Parameters have float32, or float64 with 'float64'.
  config.dtype = "float32"
  # Write a trace of some training steps to WORKDIR/profile, for TensorBoard or Perfetto.
  config.profile = False
  # Run folder, checkpoint, model directory or name of a model to start from, with a new head; ''
  # starts from random weights.
  config.init_from = ""

  # The audio and its labels.
  config.dataset = ConfigDict()
  # Name of a module in genre_jax/data/sources, as 'gtzan' or 'spoken_digits'; 'auto' chooses by the
  # path.
  config.dataset.source = "auto"
  # Folder, table or archive of the dataset.
  config.dataset.path = ""
  # Labels to use: 'all', or a comma-separated list as 'classical,disco,metal,rock'; '' uses the
  # default of the source.
  config.dataset.genres = ""
  # CSV file with the columns file,group for an audio folder. A group stays in one split.
  config.dataset.groups = ""
  # Subset of the dataset, as 'small', 'medium' or 'large' of FMA.
  config.dataset.subset = ""
  # Length of the clips of a log-mel archive in seconds; the frame rate follows from it.
  config.dataset.clip_seconds = 30.0
  # Folder for prepared spectrograms.
  config.dataset.prepared_dir = "prepared"
  # Processes that prepare spectrograms; 0: one per core.
  config.dataset.workers = 0

  # Waveform to log-mel; see genre_jax/data/frontend.py. The defaults are those of the log-mel
  # archive of GTZAN: the log-mel of librosa, of which one frame in 3.34 is kept, 12.9 frames a
  # second.
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
  config.frontend.num_frames = 96

  # Assignment of tracks to train, validation and test; see genre_jax/data/splits.py.
  config.split = ConfigDict()
  # Scheme of the split, as 'fault_filtered' (published lists of GTZAN), 'official' (that of the
  # source), 'artist_kfold' or 'grouped_kfold'.
  config.split.name = "fault_filtered"
  # Number of folds of the k-fold schemes.
  config.split.num_folds = 5
  # Fold that is the test split, from 0.
  config.split.fold = 0
  # Seed of the schemes that draw at random.
  config.split.seed = 0
  # Share of the training tracks of each label that is used, for learning curves.
  config.split.train_share = 1.0

  # Segments that are cut from each track.
  config.segments = ConfigDict()
  # Segments for training: 'random' draws new positions every epoch; 'fixed' spaces them evenly.
  config.segments.train = "random"
  # Segments per track and epoch in training.
  config.segments.train_per_track = 2
  # Evenly spaced segments per track in evaluation, whose probabilities are averaged; 0: as many as
  # fit without overlap.
  config.segments.eval_per_track = 4

  # The network. An experiment can add fields for its sizes; others have the defaults of the module.
  config.model = ConfigDict()
  # Name of a network in genre_jax/models/registry.py.
  config.model.name = "axis_features"

  config.optimizer = ConfigDict()
  # 'adamw', 'adam' or 'sgd'.
  config.optimizer.name = "adamw"
  # Maximum learning rate.
  config.optimizer.learning_rate = 2e-3
  # 'cosine' (to zero) or 'constant'.
  config.optimizer.schedule = "cosine"
  # Share of all steps in which the learning rate rises from zero.
  config.optimizer.warmup_fraction = 0.1
  # Decoupled weight decay for 'adamw'; L2 penalty added to the gradient for 'adam' and 'sgd'.
  config.optimizer.weight_decay = 1e-3
  # Regular expression that selects parameters for weight decay by path, as 'dense/kernel'.
  config.optimizer.weight_decay_on = "kernel$"
  # Momentum of 'sgd'.
  config.optimizer.momentum = 0.0
  # Largest global norm of gradients; 0: no clipping.
  config.optimizer.clip_norm = 5.0

  # Binary cross-entropy of 'multi_label'; 0 switches a field off. See genre_jax/training/losses.py.
  config.loss = ConfigDict()
  # Positive labels are weighted by (negatives / positives) ** power; 1 balances each class.
  config.loss.positive_power = 0.0
  # Asymmetric loss: positive labels are weighted by (1 - p) ** focus_positive.
  config.loss.focus_positive = 0.0
  # Asymmetric loss: negative labels are weighted by p ** focus_negative.
  config.loss.focus_negative = 0.0
  # Asymmetric loss: probability that is subtracted from p of negative labels.
  config.loss.negative_margin = 0.0

  # Augmentation in the training step; 0 switches one off. See genre_jax/training/augment.py.
  config.augment = ConfigDict(augment.DEFAULTS)

  config.train = ConfigDict()
  # Segments per update.
  config.train.batch_size = 32
  # Passes over the training tracks.
  config.train.epochs = 36
  # Share of a label that is spread over all labels; for 'multi_label' labels move towards 1/2.
  config.train.label_smoothing = 0.1
  # Decay of the moving average of the parameters, which is used for evaluation; 0: off.
  config.train.ema_decay = 0.99
  # Epochs between evaluations on the validation split; each also writes a checkpoint.
  config.train.eval_every_epochs = 3
  # Metric of validation tracks that selects the best checkpoint: 'accuracy' (ties: lower nll),
  # 'pr_auc' (macro, multi_label), 'nll', or 'last' for the last checkpoint. The default is 'last':
  # selection on few validation artists adds noise (docs/results/notebook.md).
  config.train.best_metric = "last"
  # Evaluations without improvement after which training stops; 0: never.
  config.train.patience = 0
  # Write eval/report.html after the evaluation.
  config.train.report = True

  return config.lock()
