"""Is musicnn itself again: `python -m benchmarks.musicnn`.

Compares the fetched weights in Flax with the original TensorFlow 1 graph on real clips, from
waveform to tags, and names what is heard in five of them; writes both into RESULTS.md. Needs the
published wheel, which `python -m genre_jax.pretrained fetch` brings.
"""

import pathlib
import tempfile
import zipfile

import jax
import librosa
import numpy as np
from absl import app, flags

from genre_jax.data.audio import read_audio
from genre_jax.data.log_mel import log_mel
from genre_jax.files import write_block
from genre_jax.inference import load, musicnn_import, predict

DATA = flags.DEFINE_string("data", "../shared/gtzan/audio", "GTZAN's folder of genres.")
INTO = flags.DEFINE_string("into", "RESULTS.md", "Page with the lines <!-- musicnn -->.")

EVERY = 4  # clips in order of name, of which one is compared
SONGS = ("blues", "classical", "hiphop", "jazz", "metal")  # the first clip of each that is longer
TAGS = 3

ABOUT = """## musicnn, parity and tags

By `python -m benchmarks.musicnn`. Largest difference of 50 tags between the Flax network and the
original TensorFlow 1 graph on {count} real clips, 3 s of each. The original rounds mel power to
float16 before the logarithm, which is not followed: that is the last column.

| weights | same input | waveform, neither rounds | waveform, the original rounds |
|---|---|---|---|
"""


def original_graph(wheel: pathlib.Path, folder: str):
  """The original graph from placeholder to sigmoid, with the checkpoint's variables fed.

  The gradient nodes of the stored graph cannot be imported any more, and `_output_shapes` is not
  known to current operations.

  Args:
    wheel: the published one.
    folder: of the checkpoint in it, as `musicnn_import.PUBLISHED` has it.
  Returns:
    A function of float32[n, 187, 96] that gives float32[n, 50].
  """
  import tensorflow as tf

  with zipfile.ZipFile(wheel) as archive:
    parts = {part: archive.read(f"musicnn/{folder}/{part}")
             for part in (".meta", ".index", ".data-00000-of-00001")}
  stored = tf.compat.v1.MetaGraphDef.FromString(parts.pop(".meta")).graph_def
  graph_def = tf.compat.v1.graph_util.extract_sub_graph(stored, ["model/Sigmoid"])
  for node in graph_def.node:
    node.attr.pop("_output_shapes", None)
  graph = tf.Graph()
  with graph.as_default():
    tf.import_graph_def(graph_def, name="")
  values = musicnn_import.read_checkpoint(*parts.values())
  session = tf.compat.v1.Session(graph=graph)

  def run(patches):
    return session.run("model/Sigmoid:0", {
      "model/Placeholder:0": patches, "model/Placeholder_2:0": False,
      **{f"{name}:0": value for name, value in values.items()}})

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
    power = librosa.feature.melspectrogram(y=audio, sr=16000, n_fft=512, hop_length=256,
                                           n_mels=96, pad_mode="reflect").T[:187]
    ours.append(log_mel(audio, musicnn_import.RECIPE)[:187])
    theirs.append(np.log10(10000 * power + 1))
    # The original keeps the power as float16; its product with 10000 is float32 in NumPy 1 (in
    # NumPy 2 it would be float16, and infinite in loud passages).
    rounded.append(np.log10(10000 * power.astype(np.float16).astype(np.float32) + 1))
  return np.stack(ours), np.stack(theirs), np.stack(rounded)


def differences(wheel, name, waveforms, cache):
  """Largest differences: same input, from the waveform unrounded, from the waveform rounded."""
  musicnn_import.fetch(name, cache=cache, wheel=wheel)
  model = load(str(pathlib.Path(cache) / "models" / name))
  original = original_graph(wheel, musicnn_import.PUBLISHED[name].folder)
  ours, theirs, rounded = inputs(waveforms)
  tags = jax.jit(lambda x: jax.nn.sigmoid(model.network.apply(model.variables, x[..., None])))
  return [float(np.abs(np.asarray(tags(mine)) - original(other)).max())
          for mine, other in ((rounded, rounded), (ours, theirs), (ours, rounded))]


def main(_):
  """Compares, listens, writes."""
  data = pathlib.Path(DATA.value)
  paths = sorted(data.glob("*/*.flac"))
  waveforms = [audio for path in paths[::EVERY]
               if len(audio := read_audio(path, 16000)) >= 187 * 256]
  text = ABOUT.format(count=len(waveforms))
  with tempfile.TemporaryDirectory() as cache:
    wheel = musicnn_import.default_cache() / "downloads" / musicnn_import.WHEEL_NAME
    if not wheel.exists():
      wheel = musicnn_import.obtain_wheel(pathlib.Path(cache))
    for name in musicnn_import.PUBLISHED:
      found = differences(wheel, name, waveforms, cache)
      text += f"| {name} | " + " | ".join(f"{value:.1e}" for value in found) + " |\n"
  text += ("\nWhat `predict --model=musicnn_msd` hears first in the first longer clip of five"
           " genres:\n\n| clip | tags |\n|---|---|\n")
  songs = [next(path for path in sorted((data / genre).glob("*.flac"))
                if len(read_audio(path, 16000)) > 10 * 16000) for genre in SONGS]
  for answer in predict(songs, "musicnn_msd", workers=1):
    order = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:TAGS]
    text += (f"| {pathlib.Path(answer.path).stem} | "
             + ", ".join(f"{name} {value:.2f}" for name, value in order) + " |\n")
  print(text)
  write_block(pathlib.Path(INTO.value), "musicnn", text)


if __name__ == "__main__":
  app.run(main)
