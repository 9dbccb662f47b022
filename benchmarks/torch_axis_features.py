"""`axis_features` and `split_cnn` in PyTorch; see `torch_networks.py`.

Every frame counts as valid, so differences and waves are computed where they have a partner, and
nothing is padded.
"""

import torch
import torch.nn.functional as F
from torch import nn

from genre_jax.models import axis_kernels as kernels

HIDDEN, DB_SCALE, FLOOR_DB = 128, 20.0, 60.0
KERNEL_SCALE = 0.1
MIN_POWER, MIN_DEVIATION, MIN_CUBE = 1e-4, 0.05, 0.01


def mean_and_deviation(x):
  """Return float[B, 2 * D]: mean and standard deviation over time of float[B, T, D]."""
  return torch.cat([x.mean(1), (x.var(1, unbiased=False) + 1e-5).sqrt()], 1)


def grouping(bands):
  """Return float[bands, GROUPS], which averages neighboring bands."""
  group = torch.arange(bands) * kernels.GROUPS // bands
  matrix = F.one_hot(group, kernels.GROUPS).float()
  return matrix / matrix.sum(0)


class AxisFeatures(nn.Module):
  """Two heads on statistics along both axes.

  Args:
    frames, bands: Size of a segment.
    classes: Number of logits.
    learned: Whether kernels are their start plus a learned change, as in `split_cnn`.
  """

  def __init__(self, frames, bands, classes, learned):
    super().__init__()
    size = min(kernels.MODULATION_FRAMES, frames)
    starts = {
      "cosines_kernel": kernels.cosine_kernel(bands),
      "waves_kernel": kernels.wave_kernel(kernels.RATES, size, False),
      "cepstral_waves_kernel": kernels.wave_kernel(kernels.CEPSTRAL_RATES, size, False),
    }
    for name, start in starts.items():
      self.register_buffer(f"start_{name}", torch.from_numpy(start))
      if learned:
        self.register_parameter(name, nn.Parameter(torch.zeros(start.shape)))
    for lag in kernels.LAGS:
      self.register_buffer(f"group_{lag}", grouping(bands - lag))
    self.register_buffer("group_all", grouping(bands))
    self.register_buffer(
      "pairs", torch.triu_indices(kernels.CORRELATED, kernels.CORRELATED, 1), persistent=False
    )
    with torch.no_grad():
      count = self.statistics(torch.zeros(1, frames, bands)).shape[1]
    self.statistics_norm = nn.BatchNorm1d(count)
    self.logits_linear = nn.Linear(count, classes)
    self.hidden = nn.Linear(count, HIDDEN, bias=False)
    self.hidden_norm = nn.BatchNorm1d(HIDDEN)
    self.logits_hidden = nn.Linear(HIDDEN, classes)

  def kernel(self, name):
    """Return a fixed kernel, or its start plus the change, whose sum over time stays 0."""
    start, change = getattr(self, f"start_{name}"), getattr(self, name, None)
    if change is None:
      return start
    if name != "cosines_kernel":
      change = change - change.mean(0, keepdim=True)
    return start + KERNEL_SCALE * change

  def forward(self, x):
    """Return the mean of both heads; in training the linear one, as ours with `linear_share=1`."""
    x = self.statistics_norm(self.statistics(x[:, 0]))
    linear = self.logits_linear(x)
    other = self.logits_hidden(self.hidden_norm(self.hidden(x)).relu())
    if not self.training:
      return (linear + other) / 2
    draw = torch.rand(len(x), 1, device=x.device)
    return torch.where(draw < 1.0, linear, other)

  def statistics(self, log_mel):
    """Return float[B, statistics] of float[B, T, M] in dB."""
    level = log_mel / DB_SCALE
    shape = (log_mel - log_mel.amax(2, keepdim=True)).clamp(min=-FLOOR_DB)
    shape = (shape - shape.mean(2, keepdim=True)) / DB_SCALE
    cepstra = shape @ self.kernel("cosines_kernel")
    groups = level.unflatten(2, (kernels.GROUPS, -1)).mean(3)
    steps = [
      (cepstra[:, lag:, : kernels.CEPSTRA] - cepstra[:, :-lag, : kernels.CEPSTRA]).abs().mean(1)
      for lag in kernels.LAGS
    ]
    return torch.cat(
      [
        *self.cepstral(cepstra),
        *self.along_frequency(shape),
        *self.along_time(level),
        self.wave_power(groups, self.kernel("waves_kernel")),
        *steps,
        self.wave_power(cepstra[..., : kernels.CORRELATED], self.kernel("cepstral_waves_kernel")),
      ],
      1,
    )

  def cepstral(self, cepstra):
    """Return mean, deviation, skewness and correlations of cepstra over time."""
    fine, first = cepstra[..., kernels.CEPSTRA :], cepstra[..., : kernels.CORRELATED]
    length = fine.shape[2] // 4 * 4
    fine = [x.mean(1)[:, :length].unflatten(1, (-1, 4)).mean(2) for x in (fine, fine.abs())]
    centered = first - first.mean(1, keepdim=True)
    deviation = (centered.square().mean(1) + 1e-9).sqrt() + MIN_DEVIATION
    skewness = (centered**3).mean(1) / deviation**3
    unit = centered / deviation[:, None]
    correlation = unit.transpose(1, 2) @ unit / unit.shape[1]
    return [
      mean_and_deviation(cepstra[..., : kernels.CEPSTRA]),
      *fine,
      skewness,
      correlation[:, self.pairs[0], self.pairs[1]],
    ]

  def along_frequency(self, shape):
    """Return statistics of the differences between bands, for each lag."""
    parts = []
    for lag in kernels.LAGS:
      difference, group = shape[..., lag:] - shape[..., :-lag], getattr(self, f"group_{lag}")
      size = difference.abs() @ group
      step = (size[:, 1:] - size[:, :-1]).abs().mean(1)
      parts += [mean_and_deviation(size), step, difference.mean(1).abs() @ group]
    return parts

  def along_time(self, level):
    """Return statistics of the differences between frames, for each lag."""
    parts = []
    for lag in kernels.LAGS:
      difference = level[:, lag:] - level[:, :-lag]
      second, third = difference.square().mean(1), (difference**3).mean(1)
      skewness = third / (second * (second + 1e-9).sqrt() + MIN_CUBE)
      parts += [mean_and_deviation(difference.abs() @ self.group_all), skewness @ self.group_all]
    return parts

  def wave_power(self, x, kernel):
    """Return float[B, D * rates]: log power of each column of float[B, T, D] at each rate."""
    columns = x.transpose(1, 2).reshape(-1, 1, x.shape[1])
    waves = F.conv1d(columns, kernel.T[:, None])
    power = waves.square().unflatten(1, (-1, 2)).sum(2).mean(2)
    return (power + MIN_POWER).log().reshape(len(x), -1)
