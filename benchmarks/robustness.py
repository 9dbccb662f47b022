"""What a model's accuracy does when sound gets worse: `python -m benchmarks.robustness`.

Real excerpts of the validation list are changed, written as files and asked with `predict`; lengths
are cut from the log-mel archive, whose clips have 30 s. Prints a table in Markdown for the model
card. Intervals are over artists, as in evaluation. With --run it prints instead, for the run that a
model was packed from, how accuracy grows where the less sure answers are left out.
"""

import pathlib
import tempfile

import numpy as np
import scipy.signal
import soundfile
from absl import app, flags

from benchmarks.audit import mp3, noisy
from genre_jax.data import audio
from genre_jax.data.pipeline import segment_starts
from genre_jax.data.sources.gtzan.tracks import artists
from genre_jax.data.splits import published_lists
from genre_jax.evaluation import calibration
from genre_jax.evaluation.metrics import accuracy_interval
from genre_jax.evaluation.run_predictions import read_run
from genre_jax.inference import load, predict
from genre_jax.inference.spectra import stack_windows

MODEL = flags.DEFINE_string("model", "axis_features_10", "As --model of predict.")
DATA = flags.DEFINE_string("data", "../shared/gtzan", "Folder of audio/ and log_mel.npz.")
RUN = flags.DEFINE_string("run", "", "Run whose valid tracks give accuracy against coverage.")
RATE = 22050


def quieter(samples, rng):
  """-20 dB, in 16 bits."""
  return (np.rint(samples * 0.1 * 32767) / 32767).astype(np.float32)


def narrow(samples, rng):
  """Nothing above 8 kHz."""
  band = scipy.signal.butter(8, 8000, fs=RATE, output="sos")
  return scipy.signal.sosfilt(band, samples).astype(np.float32)


CHANGES = {
  "as it is": lambda samples, rng: samples,
  "MP3, 64 kbit/s": lambda samples, rng: mp3(samples, 64),
  "-20 dB": quieter,
  "nothing above 8 kHz": narrow,
  "white noise, 20 dB below": noisy,
  "the first 1 s": lambda samples, rng: samples[:RATE],
}
SECONDS = (3, 10, 30)


def line(what, names, genres):
  """A row of the table."""
  correct = np.array(
    [name.split(".")[0] == genre for name, genre in zip(names, genres, strict=True)]
  )
  groups = tuple(artists().get(name, name) for name in names)
  low, high = accuracy_interval(correct, groups)
  print(
    f"| {what} | {len(correct)} | {100 * correct.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] |",
    flush=True,
  )


def coverage():
  """Accuracy of the tracks that are answered at each --min_confidence."""
  run = read_run(RUN.value, "validation")
  labels = np.array([run.classes.index(label) for label in run.labels])
  fitted = calibration.cross_fitted(run.probabilities, labels, run.groups)
  print("| least confidence | answered | right of these % [95 %] |\n|---|---|---|")
  for least in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
    there = fitted.max(1) >= least
    correct = (fitted.argmax(1) == labels)[there]
    low, high = accuracy_interval(correct, tuple(np.array(run.groups)[there]))
    print(
      f"| {least:.1f} | {there.sum()} of {len(there)} | {100 * correct.mean():.1f} "
      f"[{100 * low:.1f}, {100 * high:.1f}] |"
    )


def main(_):
  """Asks the model about every change and every length."""
  if RUN.value:
    return coverage()
  model, data = load(MODEL.value), pathlib.Path(DATA.value)
  valid = [track for track, split in published_lists().items() if split == "validation"]
  print(f"{MODEL.value}\n\n| sound | tracks n | accuracy % [95 %] |\n|---|---|---|")
  archive = np.load(data / "log_mel.npz", allow_pickle=False)
  place = {name: i for i, name in enumerate(archive["names"].tolist())}
  there = [name for name in valid if name in place]
  log_mel = np.stack([archive["log_mel"][place[name]].T for name in there]) / 255.0 * 80 - 80
  log_mel = log_mel.astype(np.float32)
  for seconds in SECONDS:
    frames = min(round(seconds * model.frontend.frame_rate), log_mel.shape[1])
    begin = (log_mel.shape[1] - frames) // 2
    clips = log_mel[:, begin : begin + frames]
    line(f"archive, {seconds} s from the middle", there, [ask(model, clip) for clip in clips])
  files = {path.stem: path for path in sorted((data / "audio").glob("*/*.flac"))}
  there = [name for name in valid if name in files]
  rng = np.random.default_rng(0)
  for what, change in CHANGES.items():
    with tempfile.TemporaryDirectory() as folder:
      for name in there:
        samples = change(audio.read_audio(files[name], RATE), rng)
        soundfile.write(f"{folder}/{name}.wav", samples, RATE, subtype="PCM_16")
      predictions = predict([f"{folder}/{name}.wav" for name in there], model, workers=1)
      line(f"excerpts of audio/, {what}", there, [prediction.genre for prediction in predictions])


def ask(model, log_mel):
  """The genre of float32[frames, bands] in dB."""
  length = model.frontend.num_frames
  starts = segment_starts(len(log_mel), length, model.eval_per_track)
  windows = [log_mel[start : start + length] for start in starts]
  probabilities, _ = model.infer(*stack_windows(windows, length))
  return model.classes[probabilities.mean(0).argmax()]


if __name__ == "__main__":
  app.run(main)
