"""Read, merge and write the stored results of protocols: one file `NAME.json` each.

A file has these keys:

- `rows`: one for each entry: entry, experiment, parameters, seeds, n, metrics, minutes (of one
  training), commits, runs_available. `metrics` maps a name to value, ci95 and sd (over seeds).
- `differences`: reference minus entry on the same tracks, from one program run: metrics with ci95,
  mcnemar_p, holm_p (None for a primary comparison), kind, runs_available.
- `never_correct`, `calibration`, `chance`: what else was computed, or None.

Accuracies and other shares are from 0 to 1.
"""

import json
import pathlib
from typing import Any

from genre_jax.errors import UserError
from genre_jax.files import write_json

EXTRAS = ("never_correct", "calibration", "chance")


def results_file(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Return the file of a protocol's results."""
  return folder / f"{name}.json"


def read_results(folder: pathlib.Path, name: str) -> dict[str, Any]:
  """Return stored results; {} if there are none.

  Raises:
    UserError: If the file is not JSON.
  """
  path = results_file(folder, name)
  if not path.exists():
    return {}
  try:
    results = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(results, dict):
      raise ValueError("not an object")
  except ValueError as error:
    raise UserError(
      f"{path} is not a file of results ({error}): restore it or give another --results"
    ) from error
  return results


def merge_results(stored: dict[str, Any], computed: dict[str, Any]) -> dict[str, Any]:
  """Return stored results, with everything replaced that was computed from available runs.

  A row or difference that was not computed is kept as stored, with runs_available False.

  Args:
    stored: Results of an earlier program run, or {}.
    computed: Results of this one.
  """

  def merge(key: str, identity) -> list[dict[str, Any]]:
    new = {identity(item): item for item in computed[key]}
    old = {identity(item): _unavailable(item) for item in stored.get(key, [])}
    return list({**old, **new}.values())

  merged: dict[str, Any] = {
    "rows": merge("rows", lambda row: row["entry"]),
    "differences": merge("differences", lambda item: (item["reference"], item["entry"])),
  }
  for key in EXTRAS:
    old, new = stored.get(key), computed.get(key)
    if new and _covers(new, old):
      merged[key] = new
    elif old:
      merged[key] = _unavailable(old)
  return merged


def _unavailable(item: dict[str, Any]) -> dict[str, Any]:
  return {**item, "runs_available": False}


def _covers(new: dict[str, Any], old: dict[str, Any] | None) -> bool:
  """Return whether a new summary over entries includes every entry of the stored one."""
  return not old or set(old.get("entries", ())) <= set(new.get("entries", ()))


def write_results(folder: pathlib.Path, name: str, results: dict[str, Any]) -> None:
  """Write a protocol's results."""
  write_json(results_file(folder, name), results)
