"""Check musicnn in Flax against the original: `python -m benchmarks.musicnn`.

Compares the fetched weights in Flax with the original TensorFlow 1 graph on real clips, from
waveform to tags, and lists the most probable tags of five of them. Stores both in
results/musicnn.json. Needs the published wheel, which `python -m genre_jax.pretrained fetch`
downloads.
"""

import pathlib
import tempfile

from absl import flags

from benchmarks.musicnn_original import differences
from genre_jax import command_line
from genre_jax.data.audio import read_audio
from genre_jax.files import cache_dir
from genre_jax.inference import predict, published_weights
from genre_jax.inference.published import MUSICNN
from genre_jax.studies.benchmark_sections import PARITY_KEYS, musicnn_section
from genre_jax.studies.corpora import find_corpus
from genre_jax.studies.stored_results import write_results

DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
RESULTS = flags.DEFINE_string("results", "results", "Folder of the stored results.")

SONGS = (
  "blues",
  "classical",
  "hiphop",
  "jazz",
  "metal",
)  # the first clip above 10 s of each
TAGS = 3


def main(_):
  """Compare with the original, predict tags, and store both."""
  data = find_corpus("gtzan", DATA.value, "audio")
  paths = sorted(data.glob("*/*.flac"))
  waveforms = [audio for path in paths if len(audio := read_audio(path, 16000)) >= 187 * 256]
  parity = []
  with tempfile.TemporaryDirectory() as cache:
    wheel = cache_dir() / "downloads" / MUSICNN.file
    if not wheel.exists():
      wheel = published_weights.obtain_wheel(pathlib.Path(cache), MUSICNN)
    for name in ("musicnn_msd", "musicnn_mtt"):
      largest = map(float, differences(wheel, name, waveforms, cache))
      parity.append({"weights": name, **dict(zip(PARITY_KEYS, largest, strict=True))})
  songs = [
    next(
      path
      for path in sorted((data / genre).glob("*.flac"))
      if len(read_audio(path, 16000)) > 10 * 16000
    )
    for genre in SONGS
  ]
  tags = {}
  for prediction in predict(songs, "musicnn_msd", workers=1):
    highest = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:TAGS]
    tags[pathlib.Path(prediction.path).stem] = {name: float(value) for name, value in highest}
  results = {"clips": len(waveforms), "parity": parity, "tags": tags}
  print(musicnn_section(results))
  write_results(pathlib.Path(RESULTS.value), "musicnn", results)
  print(
    f"written   {RESULTS.value}/musicnn.json; python -m genre_jax.protocol --entries=none"
    " writes the page"
  )


if __name__ == "__main__":
  command_line.run(main)
