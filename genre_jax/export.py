"""Export a model: `python -m genre_jax.export --out=FILE [--format=stablehlo|tflite|onnx]`.

The export includes the front end: it takes a waveform and returns probabilities.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
FORMAT = flags.DEFINE_enum(
  "format", "stablehlo", ["stablehlo", "tflite", "onnx"], "Format of the exported file."
)
OUT = flags.DEFINE_string("out", "", "File to write; required.")
CHECK = flags.DEFINE_multi_string(
  "check",
  [],
  "Audio file on which to compare the export with the model; repeatable. The built-in synthetic"
  " corpus if absent.",
)
SECONDS = flags.DEFINE_float("seconds", 30.0, "tflite, onnx: length of the input in seconds.")
SEGMENTS = flags.DEFINE_integer(
  "segments",
  0,
  "Segments of the input to predict on, evenly spaced; 0: the number used in evaluation.",
)


def main(argv: list[str]) -> None:
  """Export the model and print its largest difference from the original."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if not OUT.value:
    raise UserError("--out is missing: give a file to write, as --out=model.zip")
  from genre_jax.inference.exports import export

  done = export(
    MODEL.load(),
    OUT.value,
    FORMAT.value,
    check=CHECK.value,
    seconds=SECONDS.value,
    segments=SEGMENTS.value,
  )
  size = done.path.stat().st_size
  print(
    f"{done.path}: {done.metadata['name']} as {FORMAT.value}, {size / 1e6:.1f} MB\n"
    f"largest difference from the model: {done.difference:.1e} on {len(done.checked)} inputs"
  )


if __name__ == "__main__":
  command_line.run(main)
