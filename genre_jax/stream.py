"""Classify live audio: `python -m genre_jax.stream [--source=mic|FILE|-] [--model=NAME|DIR]`.

`-` reads standard input: a sound file of any format, or raw PCM, as `ffmpeg -i ... -f s16le -ac 1
-ar 22050 - | ...` sends it.
"""

import json
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
SOURCE = flags.DEFINE_string("source", "mic", "mic, an audio file, or - for standard input.")
DEVICE = flags.DEFINE_string("device", "", "mic: number or name of the input device.")
RATE = flags.DEFINE_integer("rate", 0, "-: sample rate of raw PCM in Hz; 0: that of the model.")
CHANNELS = flags.DEFINE_integer(
  "channels", 1, "-: number of channels of raw PCM.", lower_bound=1, upper_bound=64
)
SAMPLES = flags.DEFINE_enum(
  "samples", "s16le", ["u8", "s16le", "s32le", "f32le"], "-: sample format of raw PCM."
)
SPEED = flags.DEFINE_float(
  "speed", 0.0, "FILE: speed relative to real time; 0: as fast as possible."
)
SEGMENT_SECONDS = flags.DEFINE_float(
  "segment_seconds",
  None,
  "Length of the audio segment of each prediction; 0: the length used in training; 3 s if absent.",
)
SMOOTHING = flags.DEFINE_float("smoothing", 0.0, "Seconds over which predictions are smoothed.")
UPDATE = flags.DEFINE_float("update", 0.1, "Minimum seconds between predictions.", lower_bound=0.1)
MIN_CONFIDENCE = flags.DEFINE_float(
  "min_confidence", 0.0, "Below this probability the genre is 'unknown'."
)
FORMAT = flags.DEFINE_enum(
  "format",
  "auto",
  ["auto", "line", "jsonl"],
  "One line that is redrawn, or one JSON line per prediction; auto: line if standard"
  " output is a terminal, else jsonl.",
)


def main(argv: list[str]) -> int:
  """Predict until the audio ends; return the exit status."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: give a file as --source={argv[1]}")
  if not 0 <= RATE.value <= 768000 or 0 < RATE.value < 1000:
    raise UserError(f"--rate={RATE.value}: give 1000 to 768000 Hz, or 0 for the rate of the model")
  if not (SPEED.value == 0 or 0.01 <= SPEED.value <= 100):
    raise UserError(f"--speed={SPEED.value}: give 0.01 to 100, or 0 for as fast as possible")
  from genre_jax.inference import audio_inputs, streaming

  model = MODEL.load()
  rate, converted = model.frontend.sample_rate, False
  if SOURCE.value == "mic":
    blocks, rate = audio_inputs.microphone_blocks(DEVICE.value)
  elif SOURCE.value == "-":
    rate = RATE.value or rate
    if sys.stdin.isatty():
      raise UserError("--source=-: standard input is a terminal; pipe audio into it")
    is_pcm = any(flag.present for flag in (RATE, CHANNELS, SAMPLES))
    blocks, converted = audio_inputs.standard_input_blocks(
      sys.stdin.fileno(), SAMPLES.value, CHANNELS.value, model.frontend.sample_rate, is_pcm
    )
  else:
    blocks, converted = audio_inputs.file_blocks(SOURCE.value, rate, speed=SPEED.value), True
  redrawn = FORMAT.value == "line" or FORMAT.value == "auto" and sys.stdout.isatty()
  count = 0
  try:
    for update in streaming.stream(
      blocks,
      model,
      sample_rate=rate,
      segment_seconds=SEGMENT_SECONDS.value,
      smoothing_seconds=SMOOTHING.value,
      update_seconds=UPDATE.value,
      min_confidence=MIN_CONFIDENCE.value,
      converted=converted,
    ):
      print(
        _line(update) if redrawn else json.dumps(_row(update)),
        end="" if redrawn else "\n",
        flush=True,
      )
      count += 1
  except KeyboardInterrupt as error:
    if error.args:  # SIGTERM
      raise
  finally:
    if redrawn and count:
      print()
  if not count:
    print(
      "notice: the audio ended before the first prediction: it is shorter than one frame or than"
      f" --update={UPDATE.value:g} s",
      file=sys.stderr,
    )
    return 1
  return 0


def _row(update) -> dict:
  """Return an update as a JSON object."""
  return {
    "seconds": round(update.seconds, 3),
    "genre": update.genre,
    "confidence": round(update.confidence, 6),
    **{f"p_{name}": round(value, 6) for name, value in update.probabilities.items()},
  }


def _line(update) -> str:
  """Return an update as a terminal line that replaces the last one."""
  minutes, seconds = divmod(update.seconds, 60)
  order = sorted(update.probabilities.items(), key=lambda item: -item[1])
  following = ", ".join(f"{name} {value:.2f}" for name, value in order[1:3])
  bar = "#" * round(20 * update.confidence)
  return (
    f"\r{int(minutes):3}:{seconds:04.1f}  {update.genre:16} {update.confidence:4.2f} "
    f"{bar:20}  {following}\x1b[K"
  )


if __name__ == "__main__":
  command_line.run(main)
