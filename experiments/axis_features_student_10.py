"""Classify the ten GTZAN genres with `axis_features` beside a layer trained on free music.

Question: How much do 51 hours of free music without labels add to `axis_features`?

    python tools/distill.py --recordings=FOLDER --out=student
    genre-jax main --config=experiments/axis_features_student_10.py --config.init_from=student \
        --config.dataset.path=GTZAN

The layer stays as it is; see genre_jax/models/axis_features_student.py. The heads are trained on
the train list.

Cost: 0.7 minutes of training on 1 CPU core, after half an hour for the layer.

Result, mean of 5 seeds: 72.4 % of n = 197 tracks of the validation list, the development set, as
many as without the layer. Of its 98 audio excerpts 66.1 %, which is 2.4 points [-0.7, +5.6] more.
The brackets are the 95 % interval over artists. docs/results/notebook.md, rows 96 to 109.
"""

from genre_jax.experiments import axis_features_10


def get_config():
  """Return the config of `axis_features_10` with the units of the layer among the statistics."""
  config = axis_features_10.get_config()
  config.model.name = "axis_features_student"
  config.optimizer.weight_decay_on = "^(?!student/).*kernel$"
  # Resamplers and codecs lower the highest bands (docs/results/notebook.md, row 94).
  config.augment.low_pass_db = 20.0
  return config
