"""For use elsewhere: `python -m genre_jax.export --out=FILE [--format=stablehlo|tflite|onnx]`."""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

MODEL = flags.DEFINE_string("model", "axis_features_10", "A model's name, its directory, or a run.")
FORMAT = flags.DEFINE_enum("format", "stablehlo", ["stablehlo", "tflite", "onnx"], "What to write.")
OUT = flags.DEFINE_string("out", "", "The file to be.")
CHECK = flags.DEFINE_multi_string(
  "check",
  [],
  "Audio file on which to compare with the model; may be given again. The built-in"
  " corpus if absent.",
)
SECONDS = flags.DEFINE_float("seconds", 30.0, "tflite, onnx: length of the sound that it takes.")
WINDOWS = flags.DEFINE_integer(
  "windows", 0, "Windows heard of a sound, evenly spaced; 0: as many as in evaluation."
)


def main(argv: list[str]) -> None:
  """Exports, and says how far the export is from the model."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if not OUT.value:
    raise UserError("--out is missing: the file to be")
  from genre_jax.inference.exports import export

  done = export(
    MODEL.value,
    OUT.value,
    FORMAT.value,
    check=CHECK.value,
    seconds=SECONDS.value,
    windows=WINDOWS.value,
  )
  size = done.path.stat().st_size
  print(
    f"{done.path}: {done.metadata['name']} as {FORMAT.value}, {size / 1e6:.1f} MB\n"
    f"largest difference from the model: {done.difference:.1e} on {len(done.checked)} sounds"
  )


if __name__ == "__main__":
  command_line.run(main)
