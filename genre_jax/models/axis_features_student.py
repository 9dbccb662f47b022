"""Define `axis_features_student`: `axis_features` with a layer that was trained on more music.

The layer takes the statistics of `axis_features`. It was trained to predict from them what two
published networks, musicnn and YAMNet, compute from the audio of free recordings
(`tools/distill.py`). Its units join the statistics. So the network gets some of what its teachers
know and stays small: neither teacher runs.

Prior work: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network",
arXiv:1503.02531, 2015.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.axis_features import AxisFeatures


class AxisFeaturesStudent(AxisFeatures):
  """`axis_features` with the units of a layer among its statistics.

  Attributes:
    student: Units of the layer. Its weights come from `config.init_from` and are not trained.
  """

  student: int = 256

  def _statistics(self, log_mel, mask):
    x = super()._statistics(log_mel, mask)
    units = nn.relu(nn.Dense(self.student, dtype=x.dtype, name="student")(x))
    return jnp.concatenate([x, jax.lax.stop_gradient(units)], -1)
