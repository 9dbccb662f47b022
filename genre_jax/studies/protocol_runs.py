"""Make the runs of a protocol, store its results and write the page; for `protocol.py`."""

import contextlib
import io
import pathlib

from ml_collections import ConfigDict

from genre_jax.data.prepared import folder_name
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import read_config_file
from genre_jax.studies import (
  mfcc_reference,
  results_multi_label,
  results_page,
  results_single_label,
  sweep_runs,
)
from genre_jax.studies.corpora import find_corpus
from genre_jax.studies.finished_runs import finished_runs
from genre_jax.studies.protocols import (
  PROTOCOLS,
  Entry,
  Protocol,
  config_of,
  entry_folder,
  fields_of,
  members,
)
from genre_jax.studies.stored_results import merge_results, read_results, write_results
from genre_jax.training.setup import open_dataset


def run_protocol(
  name: str,
  *,
  data: str,
  workdir: str,
  results: str,
  into: str,
  entries: str = "",
  seeds: int = 1000,
) -> int:
  """Make the runs of a protocol that are not finished, store its results and write the page.

  Args:
    name: One of PROTOCOLS.
    data: Folder of the corpus; '' uses the environment variable GENRE_JAX_DATA.
    workdir: Folder of all runs.
    results: Folder of the stored results.
    into: The page.
    entries: Only these entries, by the names of their folders, separated by commas; 'none' makes
      no runs.
    seeds: At most this many seeds of an entry.

  Returns:
    The number of runs that failed.

  Raises:
    UserError: If a path or an entry is wrong, or finished runs are of another dataset.
  """
  protocol = PROTOCOLS[name]
  dataset = find_corpus(protocol.corpus, data, protocol.data)
  chosen = _choose_entries(protocol, entries)
  folder, failed = pathlib.Path(workdir) / name, 0
  for entry in protocol.entries:
    _check_dataset(entry, dataset, folder)

  def store() -> None:
    store_results(name, dataset, folder, pathlib.Path(results))
    write_page(results, into)

  with _writing(f"{into} or {workdir}"):
    store()  # before the first run, so that a wrong path shows at once
    for entry in chosen:
      print(f"== {name}: {entry.name}", flush=True)
      try:
        failed += run_entry(entry, dataset, folder, seeds)
      finally:  # also after a signal: what is finished is stored
        store()
  print(results_page.section(name, read_results(pathlib.Path(results), name)))
  print(f"written   {into}" + (f"; {failed} runs failed, see logs/ in {folder}" if failed else ""))
  return failed


def write_page(results: str, into: str) -> None:
  """Write the page from all stored results.

  Args:
    results: Folder of the stored results.
    into: The page; its folder is made if absent.

  Raises:
    UserError: If stored results cannot be read or the page cannot be written.
  """
  with _writing(into):
    results_page.write(pathlib.Path(results), pathlib.Path(into))


@contextlib.contextmanager
def _writing(place: str):
  """Turn a failure to write into a message."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f"cannot write to {error.filename or place}: {error.strerror or error}; name another place"
      " with --into, --results or --workdir"
    ) from error


def store_results(
  name: str, dataset: pathlib.Path, folder: pathlib.Path, results: pathlib.Path
) -> None:
  """Compute the results of the finished runs and merge them into the stored ones.

  Args:
    name: One of PROTOCOLS.
    dataset: Dataset of the runs.
    folder: Folder of the protocol's runs.
    results: Folder of the stored results.
  """
  protocol = PROTOCOLS[name]
  several = "mixtures" in {entry.experiment for entry in protocol.entries}
  module = results_multi_label if several else results_single_label
  stored = read_results(results, name)
  merged = merge_results(stored, module.compute_results(protocol, dataset, folder))
  if merged != stored:
    write_results(results, name, merged)


def _check_dataset(entry: Entry, dataset: pathlib.Path, folder: pathlib.Path) -> None:
  """Refuse finished runs that are of another dataset than the given one."""
  runs = [run for seed in finished_runs(entry, dataset, folder) for run in seed]
  if not runs:
    return
  config = config_of(entry, dataset)
  with contextlib.redirect_stdout(io.StringIO()):
    source, frontend = open_dataset(config)
  now = folder_name(source, frontend, config.task)
  for run in runs:
    before = read_config_file(run)["dataset_id"]
    if before != now:
      raise UserError(
        f"{run} was trained on other clips, or on files of another date, than {dataset}:"
        f" {before} before, {now} now. Name another folder with --workdir, or delete that one"
      )


def _choose_entries(protocol: Protocol, entries: str) -> tuple[Entry, ...]:
  """Return the entries that --entries names."""
  if entries == "none":
    return ()
  by_folder = {entry_folder(pathlib.Path(), entry).name: entry for entry in protocol.entries}
  names = entries.split(",") if entries else list(by_folder)
  for name in names:
    if name not in by_folder:
      raise UserError(f"--entries={name}: give some of {', '.join(by_folder)}, or none")
  return tuple(by_folder[name] for name in names)


def run_entry(entry: Entry, dataset: pathlib.Path, folder: pathlib.Path, seeds: int) -> int:
  """Make the runs of an entry that are not finished.

  Args:
    entry: The entry.
    dataset: Dataset of the runs.
    folder: Folder of the protocol.
    seeds: At most this many seeds.

  Returns:
    The number of runs that failed.
  """
  place = entry_folder(folder, entry)
  place.mkdir(parents=True, exist_ok=True)
  planned = [m for m in members(entry, dataset) if int(m.values["seed"]) < seeds]
  if entry.fields.get("model.name") == mfcc_reference.NAME:
    for member in planned:
      if sweep_runs.read_row(member, place).status != "done":
        config = sweep_runs.resolve(config_of(entry, dataset), member.values)
        mfcc_reference.train_and_evaluate(ConfigDict(config), place / member.name)
    return 0
  runner = sweep_runs.Runner(
    f"experiments/{entry.experiment}.py",
    sweep_runs.arguments_of(fields_of(entry, dataset)),
    place,
  )
  return sum(row.status == "failed" for row in sweep_runs.run_all(planned, runner, place))
