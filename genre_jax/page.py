"""A page for a browser: `python -m genre_jax.page [--model=NAME|DIR] [--port=7860]`."""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

MODEL = flags.DEFINE_string("model", "axis_features_10", "A model's name, its directory, or a run.")
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 for everyone.")
PORT = flags.DEFINE_integer("port", 7860, "Port to listen at.", lower_bound=1, upper_bound=65535)
MAX_MEGABYTES = flags.DEFINE_integer("max_megabytes", 200, "Of an upload.", lower_bound=1)
MAX_MINUTES = flags.DEFINE_float("max_minutes", 60.0, "Of a file's sound.", lower_bound=0.1)


def main(argv: list[str]) -> None:
  """Serves until Ctrl-C."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  from genre_jax.inference.model import keep_compiled_programs, load
  from genre_jax.web import page

  page.import_gradio()
  keep_compiled_programs()
  try:
    page.serve(
      load(MODEL.value),
      host=HOST.value,
      port=PORT.value,
      max_megabytes=MAX_MEGABYTES.value,
      max_minutes=MAX_MINUTES.value,
    )
  except KeyboardInterrupt as error:
    if error.args:  # SIGTERM
      raise


if __name__ == "__main__":
  command_line.run(main)
