"""Train on synthetic music to check an installation.

Question: Does everything from preparing data to the report work, without any dataset?

    genre-jax main --config=experiments/synthetic.py[:NETWORK]

The built-in corpus has four classes: two rhythms x two timbres. A network therefore needs both time
and frequency. The accuracy does not apply to real music.

Cost: about 1 minute on 2 CPU cores, including preparation.

Result: a test requires more than 95 % of the validation and test tracks, together, with the network
`axis_features`. No interval is reported.
"""

from genre_jax.experiments import base


def get_config(model: str = "axis_features"):
  """Return the config of a short training.

  Args:
    model: Name of a network in the registry.
  """
  config = base.get_config()
  config.dataset.source = "synthetic"
  config.split.name = "grouped_kfold"
  config.model.name = model
  config.frontend.num_frames = 64
  config.segments.train_per_track = 4
  config.segments.eval_per_track = 2
  config.augment.mixup_alpha = 0.3
  config.train.ema_decay = 0.0  # an average over so few steps still contains the random start
  config.train.batch_size = 64
  config.train.epochs = 12
  config.train.best_metric = "nll"
  return config
