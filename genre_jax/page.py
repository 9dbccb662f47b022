"""Serve a web page that classifies audio: `python -m genre_jax.page [--model=NAME|DIR]`."""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
HOST = flags.DEFINE_string(
  "host", "127.0.0.1", "Address to listen on; 0.0.0.0 accepts other machines."
)
PORT = flags.DEFINE_integer("port", 7860, "Port to listen on.", lower_bound=1, upper_bound=65535)
MAX_MEGABYTES = flags.DEFINE_integer("max_megabytes", 200, "Largest upload in MB.", lower_bound=1)
MAX_MINUTES = flags.DEFINE_float("max_minutes", 60.0, "Longest audio in minutes.", lower_bound=0.1)


def main(argv: list[str]) -> None:
  """Serve the page until Ctrl-C."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  from genre_jax.web import page

  page.import_gradio()
  try:
    page.serve(
      MODEL.load(),
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
