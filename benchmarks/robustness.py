"""Measure a model's accuracy on degraded audio: `python -m benchmarks.robustness`.

Changes real excerpts of the validation list, writes them as files and evaluates them with
`predict`. Lengths are cut from the log-mel archive, whose clips have 30 s. Prints a table in
Markdown for the model card; intervals are over artists, as in evaluation. With --run it prints a
different table: accuracy against coverage of the run that a model was packed from, where
predictions of low confidence are left out.
"""

import tempfile

import numpy as np
import scipy.signal
import soundfile
from absl import flags

from benchmarks.degraded_audio import RATE, mp3, noisy
from genre_jax import command_line
from genre_jax.data import audio
from genre_jax.data.pipeline import segment_starts
from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.evaluation import calibration
from genre_jax.evaluation.metrics import accuracy_interval
from genre_jax.evaluation.run_predictions import read_run
from genre_jax.inference import load, predict
from genre_jax.inference.track_log_mel import stack_segments
from genre_jax.studies.corpora import find_corpus

MODEL = flags.DEFINE_string("model", "axis_features_10", "Model, as --model of predict.")
DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
RUN = flags.DEFINE_string("run", "", "Run whose validation tracks give accuracy against coverage.")


def quieter(samples, rng):
  """Apply a gain of -20 dB and round to 16 bits."""
  return (np.rint(samples * 0.1 * 32767) / 32767).astype(np.float32)


def narrow(samples, rng):
  """Remove everything above 8 kHz."""
  band = scipy.signal.butter(8, 8000, fs=RATE, output="sos")
  return scipy.signal.sosfilt(band, samples).astype(np.float32)


CHANGES = {
  "unchanged": lambda samples, rng: samples,
  "MP3, 64 kbit/s": lambda samples, rng: mp3(samples, 64),
  "-20 dB": quieter,
  "nothing above 8 kHz": narrow,
  "white noise, 20 dB below": noisy,
  "the first 1 s": lambda samples, rng: samples[:RATE],
}
SECONDS = (3, 10, 30)


def print_row(condition, names, predicted):
  """Print a row of the table.

  Args:
    condition: text of the first cell.
    names: names of the tracks, LABEL.NUMBER.
    predicted: predicted label of each track.
  """
  correct = np.array(
    [name.split(".")[0] == label for name, label in zip(names, predicted, strict=True)]
  )
  groups = tuple(artists().get(name, name) for name in names)
  low, high = accuracy_interval(correct, groups)
  print(
    f"| {condition} | {len(correct)} | {100 * correct.mean():.1f}"
    f" [{100 * low:.1f}, {100 * high:.1f}] |",
    flush=True,
  )


def print_coverage():
  """Print the accuracy of the tracks that get a label at each --min_confidence."""
  run = read_run(RUN.value, "validation")
  labels = np.array([run.classes.index(label) for label in run.labels])
  fitted = calibration.cross_fit_temperatures(run.probabilities, labels, run.groups)
  print("| minimum confidence | tracks with a label | accuracy of these % [95 %] |\n|---|---|---|")
  for minimum in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
    confident = fitted.max(1) >= minimum
    correct = (fitted.argmax(1) == labels)[confident]
    low, high = accuracy_interval(correct, tuple(np.array(run.groups)[confident]))
    print(
      f"| {minimum:.1f} | {confident.sum()} of {len(confident)} | {100 * correct.mean():.1f} "
      f"[{100 * low:.1f}, {100 * high:.1f}] |"
    )


def main(_):
  """Evaluate the model at each length and each change."""
  if RUN.value:
    return print_coverage()
  model, data = load(MODEL.value), find_corpus("gtzan", DATA.value)
  validation = [track for track, split in published_lists().items() if split == "validation"]
  print(f"{MODEL.value}\n\n| audio | tracks n | accuracy % [95 %] |\n|---|---|---|")
  archive = np.load(data / "log_mel.npz", allow_pickle=False)
  place = {name: i for i, name in enumerate(archive["names"].tolist())}
  names = [name for name in validation if name in place]
  log_mel = np.stack([archive["log_mel"][place[name]].T for name in names]) / 255.0 * 80 - 80
  log_mel = log_mel.astype(np.float32)
  for seconds in SECONDS:
    frames = min(round(seconds * model.frontend.frame_rate), log_mel.shape[1])
    begin = (log_mel.shape[1] - frames) // 2
    clips = log_mel[:, begin : begin + frames]
    print_row(
      f"archive, {seconds} s from the middle", names, [predict_label(model, clip) for clip in clips]
    )
  files = {path.stem: path for path in sorted((data / "audio").glob("*/*.flac"))}
  names = [name for name in validation if name in files]
  rng = np.random.default_rng(0)
  for condition, change in CHANGES.items():
    with tempfile.TemporaryDirectory() as folder:
      for name in names:
        samples = change(audio.read_audio(files[name], RATE), rng)
        soundfile.write(f"{folder}/{name}.wav", samples, RATE, subtype="PCM_16")
      predictions = predict([f"{folder}/{name}.wav" for name in names], model, workers=1)
      print_row(
        f"excerpts of audio/, {condition}", names, [prediction.genre for prediction in predictions]
      )


def predict_label(model, log_mel):
  """Return the predicted label of a log-mel, float32[frames, bands] in dB."""
  length = model.frontend.num_frames
  starts = segment_starts(len(log_mel), length, model.eval_per_track)
  segments = [log_mel[start : start + length] for start in starts]
  probabilities, _ = model.infer(*stack_segments(segments, length))
  return model.classes[probabilities.mean(0).argmax()]


if __name__ == "__main__":
  command_line.run(main)
