"""Networks of `genre_jax/models` in PyTorch, as peers of the training step.

Layers have the same names as there, so that both are initialized alike. All frames count as valid:
ours apply masks, these do not. Only the environment of the peers can import this module.
"""

import functools
import re

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_axis_features import AxisFeatures

EPSILON = 1e-5  # as in genre_jax/models/layers.py


def standardize_segment(x):
  """Return float[B, 1, T, M], each segment scaled to mean 0 and deviation 1."""
  x = x - x.mean((1, 2, 3), keepdim=True)
  return x / (x.square().mean((1, 2, 3), keepdim=True) + EPSILON).sqrt()


def flatten(x):
  """Return float[B, T * F * C] from float[B, C, T, F], in the order of channels last."""
  return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


class PublishedBaseline(nn.Module):
  """Three 5x5 convolutions with max-pooling, then a dense layer of 50."""

  def __init__(self, frames, mels, classes):
    super().__init__()
    self.conv_0 = nn.Conv2d(1, 4, 5, padding="same")
    self.conv_1 = nn.Conv2d(4, 8, 5, padding="same")
    self.conv_2 = nn.Conv2d(8, 16, 5, padding="same")
    self.hidden = nn.Linear(16 * (frames // 8) * (mels // 8), 50)
    self.logits = nn.Linear(50, classes)

  def forward(self, x):
    x = standardize_segment(x)
    for conv in (self.conv_0, self.conv_1, self.conv_2):
      x = F.max_pool2d(conv(x).relu(), 2)
    return self.logits(self.hidden(flatten(x)).relu())


class PublishedTfSplit(nn.Module):
  """A time and a frequency branch, concatenated, then two 5x5 convolutions of 256; no dropout."""

  def __init__(self, frames, mels, classes):
    super().__init__()
    self.time_0 = nn.Conv2d(1, 64, (5, 1), padding="same")
    self.time_1 = nn.Conv2d(64, 128, (5, 1), padding="same")
    self.frequency_0 = nn.Conv2d(1, 64, (1, 5), padding="same")
    self.frequency_1 = nn.Conv2d(64, 128, (1, 5), padding="same")
    self.merged_0 = nn.Conv2d(256, 256, 5, padding="same")
    self.merged_1 = nn.Conv2d(256, 256, 5, padding="same")
    self.hidden = nn.Linear(256 * (frames // 4) * (mels // 4), 50)
    self.logits = nn.Linear(50, classes)

  def forward(self, x):
    x = standardize_segment(x)
    time = F.max_pool2d(self.time_1(self.time_0(x).relu()).relu(), 2)
    frequency = F.max_pool2d(self.frequency_1(self.frequency_0(x).relu()).relu(), 2)
    x = torch.cat([time, frequency], 1)
    x = F.max_pool2d(self.merged_1(self.merged_0(x).relu()).relu(), 2)
    return self.logits(self.hidden(flatten(x)).relu())


class Baseline(nn.Module):
  """Four stages of 3x3 convolution, max-pooling and batch normalization, then global pooling."""

  channels = (16, 32, 64, 128)

  def __init__(self, frames, mels, classes):
    super().__init__()
    for i, (inputs, outputs) in enumerate(zip((1, *self.channels), self.channels, strict=False)):
      self.add_module(f"conv_{i}", nn.Conv2d(inputs, outputs, 3, padding="same", bias=False))
      self.add_module(f"norm_{i}", nn.BatchNorm2d(outputs))
    self.logits = nn.Linear(2 * self.channels[-1], classes)

  def forward(self, x):
    x = standardize_segment(x)
    for i in range(len(self.channels)):
      conv, norm = self.get_submodule(f"conv_{i}"), self.get_submodule(f"norm_{i}")
      x = norm(F.max_pool2d(conv(x), 2)).relu()
    return self.logits(torch.cat([x.mean((2, 3)), x.mean(3).amax(2)], 1))


NETWORKS = {
  "axis_features": functools.partial(AxisFeatures, learned=False),
  "split_cnn": functools.partial(AxisFeatures, learned=True),
  "baseline": Baseline,
  "published_baseline": PublishedBaseline,
  "published_tf_split": PublishedTfSplit,
}


def path_of(name, value):
  """Return the path and a view of a parameter as in Flax, 'conv_0/kernel' for 'conv_0.weight'."""
  if "." not in name:
    return name, value
  layer, kind = name.split(".")
  if kind == "bias":
    return f"{layer}/bias", value
  if value.ndim == 1:
    return f"{layer}/scale", value
  return f"{layer}/kernel", value.permute(2, 3, 1, 0) if value.ndim == 4 else value.T


class Training:
  """A network with its optimizer and one batch.

  Args:
    name: key of NETWORKS.
    log_mel: float32[B, T, M].
    labels: int64[B].
    settings: `optimizer` (adamw, adam, sgd), `learning_rate`, `weight_decay`, `decay_on`,
      `clip_norm`.
    draw: function of (path, shape) that returns the initial values of a parameter.
    compiled: whether torch.compile compiles forward and backward pass.
    channels_last: whether arrays are stored with channels last, or first as is PyTorch's default.
    device: 'cpu' or 'cuda'.
  """

  def __init__(self, name, log_mel, labels, settings, draw, compiled, channels_last, device):
    self.network = NETWORKS[name](*log_mel.shape[1:], classes=int(labels.max()) + 1)
    with torch.no_grad():
      for key, value in self.network.named_parameters():
        path, view = path_of(key, value)
        view.copy_(torch.from_numpy(draw(path, tuple(view.shape))))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    self.network.to(device, memory_format=layout)
    self.x = torch.from_numpy(log_mel)[:, None].contiguous(memory_format=layout).to(device)
    self.labels, self.settings = torch.from_numpy(labels).to(device), settings
    self.optimizer = optimizer_of(self.network, settings)
    self.loss = torch.compile(self.loss_of) if compiled else self.loss_of

  def loss_of(self, x, labels):
    """Return the mean cross-entropy."""
    return F.cross_entropy(self.network(x), labels)

  def update(self):
    """Make one step and return the loss before it."""
    self.optimizer.zero_grad(set_to_none=True)
    loss = self.loss(self.x, self.labels)
    loss.backward()
    if self.settings["clip_norm"]:
      nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["clip_norm"])
    self.optimizer.step()
    return loss.item()


def optimizer_of(network, settings):
  """Return torch's fused optimizer."""
  groups = {True: [], False: []}
  for key, value in network.named_parameters():
    groups[re.search(settings["decay_on"], path_of(key, value)[0]) is not None].append(value)
  groups = [
    {"params": groups[True], "weight_decay": settings["weight_decay"]},
    {"params": groups[False], "weight_decay": 0.0},
  ]
  kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
  return kinds[settings["optimizer"]](groups, lr=settings["learning_rate"], fused=True)
