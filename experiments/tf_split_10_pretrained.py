"""Classify the ten GTZAN genres with `split_cnn` beside musicnn, which was trained on more music.

Question: How much does knowledge from the Million Song Dataset add to `split_cnn`?

    genre-jax pretrained fetch musicnn_msd
    genre-jax main --config=experiments/tf_split_10_pretrained.py --config.dataset.path=GTZAN

musicnn's weights stay as they are. Kernels and heads of `split_cnn` are trained on the train list.

Cost: about 18 minutes on 1 CPU core that other programs used at the same time.

Result: 74.1 % [62.3, 83.2] of n = 197 tracks of the validation list, the development set, seed 0,
where `split_cnn` has 71.6. The brackets are the 95 % interval over artists.
"""

from genre_jax.experiments import tf_split_10


def get_config():
  """Return the config of `tf_split_10` with musicnn's embedding and tags among the statistics."""
  config = tf_split_10.get_config()
  config.model.name = "split_cnn_musicnn"
  config.init_from = "musicnn_msd"
  config.optimizer.weight_decay_on = "^(?!musicnn/).*kernel$"
  config.train.epochs = 10  # musicnn takes most of the time
  config.train.eval_every_epochs = 10
  return config
