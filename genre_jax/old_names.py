"""Read files that earlier versions wrote: the one table of names that have changed.

Model directories, metadata of checkpoints and `config.json` of runs go through `modernize` when
they are read.
"""

from typing import Any

# Networks by their name in earlier versions. A name is never given to another network.
MODELS = {
  "tf_split": "axis_features",
  "square_control": "axis_features_2d",
  "time_only": "axis_features_time",
  "frequency_only": "axis_features_frequency",
}
# Packaged models.
MODEL_DIRECTORIES = {"tf_split_10": "axis_features_10"}
# Splits, in tables of tracks.
SPLITS = {"valid": "validation"}
# Keys of model.json, of a checkpoint's metadata and of config.json.
KEYS = {
  "recipe": "frontend",
  "normalisation": "normalization",
  "material": "dataset_id",
  "licence": "license",
}
# Removed config fields, with the values at which they changed no result. The shuffle buffer changed
# the order of training alone: an unfinished run that resumes gets the new order.
REMOVED_FIELDS = {
  "augment": {"gain_db": 0.0, "frame_drop": 0.0, "noise_db": 0.0, "noise_floor_db": 0.0},
  "train": {"shuffle_buffer": 8192},
}
# Later config fields, with the values at which they have no effect.
ADDED_FIELDS = {"augment": {"low_pass_db": 0.0, "low_pass_bands": 3}}
# Mappings whose keys are names of classes, which may equal one of KEYS.
_BY_CLASS = ("thresholds",)


def modernize(stored: dict[str, Any]) -> dict[str, Any]:
  """Return stored metadata or a stored config with current names, at every depth.

  Args:
    stored: Content of a JSON file or of a checkpoint's metadata; it is not changed.

  Returns:
    A copy with current names of keys and networks, without removed fields that had no effect, and
    with later fields.
  """
  return _modernize(stored, "")


def _modernize(value: Any, key: str) -> Any:
  if not isinstance(value, dict) or key in _BY_CLASS:
    return value
  removed = REMOVED_FIELDS.get(key, {})
  result = dict(ADDED_FIELDS.get(key, {}))
  for name, part in value.items():
    if name in removed and part == removed[name]:
      continue
    name = KEYS.get(name, name)
    if key == "model" and name == "name":
      part = MODELS.get(part, part)
    result[name] = _modernize(part, name)
  return result
