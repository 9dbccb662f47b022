"""Compare genre_jax with PyTorch on one GPU: `python -m benchmarks.gpu [--out=FILE] [--small]`.

Prints tables in Markdown, or writes them to FILE. Jax of `.venv` and torch of `.venv-bench` need
builds for the GPU (docs/how-to/benchmarks.md). Without a GPU the same runs on the CPU, which
`--small` makes quick: an eighth of the sizes, and two runs instead of five.
"""

import os
import pathlib
import subprocess

from absl import flags

from benchmarks import gpu_suite
from benchmarks.interleaved import python_of, run_suite
from genre_jax import command_line
from genre_jax.files import write_whole

OUT = flags.DEFINE_string("out", "", "Page to write.")
SMALL = flags.DEFINE_bool("small", False, "A trial with small sizes.")
LIMIT = 240.0  # seconds of a setup
DEVICES = {
  "genre_jax": "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind)",
  "peers": "import torch; c = torch.cuda; print(c.get_device_name() if c.is_available() else"
  " 'cpu')",
}


def main(_) -> None:
  """Measure and write the tables."""
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory as well
  if SMALL.value:
    os.environ[gpu_suite.SMALL] = "1"
  devices = [
    f"{name} on {subprocess.check_output([python_of(name), '-c', code], text=True).strip()}"
    for name, code in DEVICES.items()
  ]
  repeats = 2 if SMALL.value else 5
  text = run_suite(gpu_suite, repeats, LIMIT)
  last = f"{repeats} interleaved runs each; {'; '.join(devices)}."
  print(last)
  if OUT.value:
    write_whole(pathlib.Path(OUT.value), f"# {gpu_suite.TITLE}\n\n{text}\n{last}\n")


if __name__ == "__main__":
  command_line.run(main)
