"""Run a command: `python -m genre_jax COMMAND ...`."""

from genre_jax.cli import main

if __name__ == "__main__":
  main()
