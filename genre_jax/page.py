"""Serve a web page that classifies audio: `python -m genre_jax.page [--model=NAME|DIR]`."""

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags
from genre_jax.serve_flags import ServeFlags

MODEL = ModelFlags()
SERVE = ServeFlags(7860)


def main(argv: list[str]) -> None:
  """Serve the page until Ctrl-C."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  from genre_jax.web import run

  with command_line.ctrl_c_ends():
    run.serve_page(SERVE.options, MODEL.load)


if __name__ == "__main__":
  command_line.run(main)
