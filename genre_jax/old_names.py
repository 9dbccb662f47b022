"""Read what earlier versions wrote: the one table of names that have changed.

Model directories, checkpoints and `config.json` of runs go through `modernize` when they are read.
"""

from typing import Any

# Networks: the name before, and the name now. A published name is never given to another network.
MODELS = {
  "tf_split": "axis_features",
  "square_control": "axis_features_2d",
  "time_only": "axis_features_time",
  "frequency_only": "axis_features_frequency",
  "learnt_split": "split_cnn",
  "learnt_square": "square_cnn",
}
# Packaged models.
MODEL_DIRECTORIES = {"tf_split_10": "axis_features_10"}
# Keys of model.json, of a checkpoint's metadata and of config.json.
KEYS = {
  "recipe": "frontend",
  "normalisation": "normalization",
  "material": "dataset_id",
  "licence": "license",
}
# Config fields that are gone; with these values they had no effect.
DROPPED_FIELDS = {
  "augment": {"gain_db": 0.0, "frame_drop": 0.0, "noise_db": 0.0, "noise_floor_db": 0.0}
}


def modernize(stored: dict[str, Any]) -> dict[str, Any]:
  """Return stored metadata or a stored config with today's names, at every depth.

  Args:
    stored: content of a JSON file or of a checkpoint's metadata; it is not changed.
  """
  return _modernize(stored, "")


def _modernize(value: Any, key: str) -> Any:
  if not isinstance(value, dict):
    return value
  result = {}
  for name, part in value.items():
    name = KEYS.get(name, name)
    if key == "model" and name == "name":
      part = MODELS.get(part, part)
    if DROPPED_FIELDS.get(key, {}).get(name) == part and name in DROPPED_FIELDS.get(key, {}):
      continue
    result[name] = _modernize(part, name)
  return result
