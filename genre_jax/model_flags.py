"""Define the flags by which several commands choose a model."""

import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from genre_jax.errors import UserError

if TYPE_CHECKING:
  from genre_jax.inference.model import Model

flags.disclaim_key_flags()  # the flags belong to the module of the command


class ModelFlags:
  """The flags --model and --labels of a command."""

  def __init__(self):
    self._model = flags.DEFINE_string(
      "model",
      "default",
      "Name of a model, model directory, or run folder; default: musicnn_yamnet if it was fetched,"
      " else axis_features_10.",
    )
    self._labels = flags.DEFINE_string(
      "labels", "", "Label set of the model, as gtzan for its ten genres; its own if absent."
    )

  @property
  def given(self) -> str:
    """Value of --model if the command line has it, else ''."""
    return self._model.value if self._model.present else ""

  @property
  def chosen(self) -> bool:
    """Whether the command line has --model or --labels."""
    return bool(self.given or self._labels.value)

  def everywhere(self, model: "Model", name: str = "") -> tuple[str, str, str]:
    """Return a loaded model as other machines take it: --model, --labels, and its hash.

    Args:
      model: The model.
      name: As of `load`.
    """
    from genre_jax.inference import model_dir

    name = model_dir.portable_name(name or self._model.value)
    return name, self._labels.value, model_dir.model_hash(model)

  def load(self, name: str = "") -> "Model":
    """Return the model, or another one by its name; keep what it compiles.

    Print a hint if there is a better one.
    """
    from genre_jax.inference import kept_programs, model, model_dir

    kept_programs.keep()
    loaded = model.load(name or self._model.value, self._labels.value)
    small = (self._model.value, loaded.name) == (model_dir.DEFAULT_MODEL, model_dir.SMALL_MODEL)
    if small and sys.stderr.isatty():
      print(
        f"using the small model {loaded.name}; `genre-jax pretrained fetch` downloads a better one"
        " (36 MB)",
        file=sys.stderr,
      )
    return loaded

  def load_same(self, known: dict[str, Any]) -> "Model":
    """Return the model of --model or, without it, a known one by its name.

    Args:
      known: Its "name" and "hash".

    Raises:
      UserError: If the model cannot be loaded, or is not the known one.
    """
    from genre_jax.inference import model_dir

    try:
      model = self.load("" if self.given else known["name"])
    except UserError as error:
      if self.given:
        raise
      raise UserError(
        f"the library was scanned with {known['name']}, which is not found by its name ({error});"
        " give its --model"
      ) from error
    if model_dir.model_hash(model) != known["hash"]:
      raise UserError(f"{model.name} is not the model of the scan: give its --model and --labels")
    return model
