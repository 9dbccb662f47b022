"""Models that others trained: `python -m genre_jax.pretrained fetch musicnn_msd`.

`list` says what there is. A fetched model lies in the user's cache and goes by its name.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

CACHE = flags.DEFINE_string("cache", "", "Folder for models; ~/.cache/genre_jax if empty.")
WHEEL = flags.DEFINE_string("wheel", "", "The package's wheel, where pip has no network.")


def main(argv: list[str]) -> None:
  """Dispatches on the first argument."""
  from genre_jax.inference import musicnn_import

  match argv[1:]:
    case ["list"]:
      for name, published in musicnn_import.PUBLISHED.items():
        print(f"{name}  {published.trained_on}")
    case ["fetch", name]:
      folder = musicnn_import.fetch(name, cache=CACHE.value, wheel=WHEEL.value)
      about, _ = musicnn_import.read_model(folder)
      print(f"{name}: {len(about['classes'])} tags, trained on the"
            f" {about['provenance']['trained_on']}; {about['provenance']['licence']} licence,"
            f" please cite {about['provenance']['citation']}\nin {folder}")
    case _:
      raise UserError("say what to do: `fetch NAME` or `list`; names are "
                      + ", ".join(musicnn_import.PUBLISHED))


if __name__ == "__main__":
  command_line.run(main)
