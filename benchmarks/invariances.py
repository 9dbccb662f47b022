"""Measure what changes a prediction: `python -m benchmarks.invariances [--out=FILE]`.

Changes real excerpts of the validation list in ways that leave the music as it is, writes them as
files, and counts the excerpts that keep their most probable label in `predict`. Then predicts one
excerpt in every format that the tests write. Prints both tables in Markdown, or writes them to a
page.
"""

import json
import pathlib
import tempfile
import textwrap

import numpy as np
import soundfile
import soxr
from absl import flags

from genre_jax import command_line
from genre_jax.data.sources.gtzan.tracks import published_lists
from genre_jax.evaluation.metrics import wilson_interval
from genre_jax.files import write_whole
from genre_jax.inference import load, predict
from genre_jax.studies.corpora import find_corpus
from tests.data.encoded import FORMATS, encode, write_dsf, write_rf64

MODELS = flags.DEFINE_list(
  "models", ["musicnn_yamnet", "axis_features_10"], "Models, each as --model of predict."
)
DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
OUT = flags.DEFINE_string("out", "", "Page to write; empty prints.")
RECORD = flags.DEFINE_string("record", "", "JSON file of results, from which a new call resumes.")
RATE = 22050


def wav(samples, subtype="FLOAT", rate=RATE):
  """Return a function that writes float[samples] or [samples, channels] to a path."""
  return lambda path: soundfile.write(path, samples, rate, format="WAV", subtype=subtype)


def coded(samples, container, codec, rate=RATE):
  """Return a function that encodes float[samples] to a path, as two equal channels."""
  sound = samples if rate == RATE else soxr.resample(samples, RATE, rate)
  return lambda path: encode(path, np.stack([sound, sound]), rate, container, codec)


def hiss(seconds, samples, level_db):
  """Return white noise at a level relative to the samples; -inf gives silence."""
  noise = np.random.default_rng(0).standard_normal(round(seconds * RATE))
  return (noise * samples.std() * 10 ** (level_db / 20)).astype(np.float32)


def joined(samples, level_db, before, inside, after):
  """Return samples with hiss of some seconds before, in the middle and after."""
  middle = len(samples) // 2
  return np.concatenate(
    [
      hiss(before, samples, level_db),
      samples[:middle],
      hiss(inside, samples, level_db),
      samples[middle:],
      hiss(after, samples, level_db),
    ]
  )


# {(change, required share of labels that stay): function from samples to a function that writes}.
CHANGES = {
  ("gain -40 dB, 24 bits", 100): lambda x: wav(0.01 * x, "PCM_24"),
  ("gain -20 dB, 24 bits", 100): lambda x: wav(0.1 * x, "PCM_24"),
  ("gain +6 dB, float", 100): lambda x: wav(2 * x),
  ("offset 0.3, float", 100): lambda x: wav(x + 0.3),
  ("offset -0.02, 16 bits", 100): lambda x: wav((0.9 * x - 0.02).clip(-1, 1), "PCM_16"),
  ("30 s of silence after", 100): lambda x: wav(joined(x, -np.inf, 0, 0, 30)),
  ("10 s of silence before", 100): lambda x: wav(joined(x, -np.inf, 10, 0, 0)),
  ("5 s of silence inside", 100): lambda x: wav(joined(x, -np.inf, 0, 5, 0)),
  ("30 s of hiss after, -70 dB", 95): lambda x: wav(joined(x, -70, 0, 0, 30)),
  ("10 s of hiss before, -70 dB", 95): lambda x: wav(joined(x, -70, 10, 0, 0)),
  ("5 s of hiss inside, -70 dB", 95): lambda x: wav(joined(x, -70, 0, 5, 0)),
  ("FLAC", 100): lambda x: lambda path: soundfile.write(path, x, RATE, format="FLAC"),
  ("AIFF", 100): lambda x: coded(x, "aiff", "pcm_s16be"),
  ("ALAC in M4A", 100): lambda x: coded(x, "ipod", "alac"),
  ("WavPack", 100): lambda x: coded(x, "wv", "wavpack"),
  ("24 bits", 95): lambda x: wav(x, "PCM_24"),
  ("float", 95): lambda x: wav(x),
  ("inverted", 95): lambda x: wav(-x),
  ("one channel of two empty", 95): lambda x: wav(np.stack([0 * x, x], 1)),
  ("two channels in opposite phase", 95): lambda x: wav(np.stack([x, -x], 1)),
  ("44.1 kHz", 95): lambda x: wav(soxr.resample(x, RATE, 44100), rate=44100),
  ("48 kHz", 95): lambda x: wav(soxr.resample(x, RATE, 48000), rate=48000),
  ("96 kHz", 95): lambda x: wav(soxr.resample(x, RATE, 96000), rate=96000),
  ("AAC in M4A, 128 kbit/s, 44.1 kHz", 95): lambda x: coded(x, "ipod", "aac", 44100),
  ("MP3, 128 kbit/s, 44.1 kHz", 95): lambda x: coded(x, "mp3", "libmp3lame", 44100),
  ("Opus, 128 kbit/s, 48 kHz", 95): lambda x: coded(x, "ogg", "libopus", 48000),
}


def predict_files(model, files, writers):
  """Write files and return their predictions."""
  with tempfile.TemporaryDirectory() as folder:
    paths = [pathlib.Path(folder) / name for name in files]
    for path, write in zip(paths, writers, strict=True):
      write(path)
    return list(predict(paths, model, workers=1))


def top_label(prediction) -> str:
  """Return the most probable label."""
  return max(prediction.probabilities, key=prediction.probabilities.get)


def shares_kept(model, excerpts, known, save):
  """Fill known, {change: [labels kept, excerpts]}, for each change of {name: samples}."""
  if known.keys() >= {change for change, _ in CHANGES}:
    return
  originals = predict_files(model, excerpts, [wav(x) for x in excerpts.values()])
  before = [top_label(prediction) for prediction in originals]
  for (change, _), function in CHANGES.items():
    if change in known:
      continue
    predictions = predict_files(model, excerpts, [function(x) for x in excerpts.values()])
    kept = sum(top_label(a) == label for a, label in zip(predictions, before, strict=True))
    known[change] = [kept, len(before)]
    save()
    print(f"{model.name}: {change}: {kept} of {len(before)}", flush=True)


def change_rows(shares):
  """Yield a row of the table for each change, of the results of `shares_kept` of each model."""
  for change, required in CHANGES:
    cells = []
    for kept, n in (shares_of[change] for shares_of in shares):
      low, high = wilson_interval(kept / n, n)
      mark = "" if kept >= required / 100 * n else ", **short**"
      cells.append(f"{100 * kept / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]{mark}")
    yield f"| {change} | {required} | {' | '.join(cells)} |"


def format_rows(models, samples):
  """Yield a row of the table for each format of one excerpt."""
  writers = {}
  for name, (container, codec, _) in FORMATS.items():
    rate = 48000 if codec == "libopus" else 44100
    writers[name] = coded(samples, container, codec, rate)
  writers["song.ogg"] = lambda path: soundfile.write(path, samples, RATE, format="OGG")
  writers["song.dsf"] = lambda path: write_dsf(path, samples, RATE)
  writers["song.rf64"] = lambda path: write_rf64(path, np.round(samples * 32767), RATE)
  predictions = [predict_files(model, writers, writers.values()) for model in models]
  for name, *row in zip(writers, *predictions, strict=True):
    codec = FORMATS.get(name, (None, "-"))[1]
    cells = (f"{a.genre or a.error} | {a.confidence or 0:.2f}" for a in row)
    yield f"| {name} | {codec} | {' | '.join(cells)} |"


def main(_):
  """Measure both tables."""
  models, data = [load(name) for name in MODELS.value], find_corpus("gtzan", DATA.value)
  files = {path.stem: path for path in sorted((data / "audio").glob("*/*.flac"))}
  names = [name for name, split in published_lists().items() if split == "validation"]
  excerpts = {
    name: soundfile.read(files[name], dtype="float32")[0] for name in names if name in files
  }
  record = pathlib.Path(RECORD.value) if RECORD.value else None
  shares = json.loads(record.read_text()) if record and record.exists() else {}
  for model in models:
    known = shares.setdefault(model.name, {})
    shares_kept(model, excerpts, known, lambda: record and record.write_text(json.dumps(shares)))
  columns = " | ".join(model.name for model in models)
  pairs = " | ".join(f"{model.name} | confidence" for model in models)
  lines = [
    "# What does not change a prediction",
    "",
    *textwrap.wrap(
      f"Written by `python -m benchmarks.invariances`. Each of the {len(excerpts)} validation"
      " excerpts is changed in a way that leaves the music as it is, and predicted again. The"
      " columns of the models have the share of excerpts that keep their most probable label, in %,"
      " with Wilson's interval at 95 %, and say **short** if it is below the required share. The"
      " excerpts have 22.05 kHz, so other sample rates are resampled twice.",
      100,
    ),
    "",
    f"| change | required % | {columns} |",
    "|---" * (2 + len(models)) + "|",
    *change_rows([shares[model.name] for model in models]),
    "",
    "## One song in many formats",
    "",
    f"The excerpt {next(iter(excerpts))} in every format that the tests write.",
    "",
    f"| file | codec | {pairs} |",
    "|---" * (2 + 2 * len(models)) + "|",
    *format_rows(models, next(iter(excerpts.values()))),
    "",
  ]
  if OUT.value:
    write_whole(pathlib.Path(OUT.value), "\n".join(lines))
  else:
    print("\n".join(lines))


if __name__ == "__main__":
  command_line.run(main)
