"""Makes the runs of a protocol and writes its part of RESULTS.md; see `genre_jax/protocol.py`."""

import contextlib
import io
import pathlib

from genre_jax.data.prepared import folder_name
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import read_config_file
from genre_jax.files import write_block, write_whole
from genre_jax.studies import protocol_multi_label, protocol_tables, sweep_runs
from genre_jax.studies.protocols import (
  PROTOCOLS,
  Entry,
  Protocol,
  config_of,
  entry_folder,
  fields_of,
  members,
)
from genre_jax.training.setup import open_dataset

HEADER = """# Results

Written by `python -m genre_jax.protocol` from finished runs, and by the programs of `benchmarks/`
that are named; what each says of itself stands above its table.
"""
KEPT = "†"  # marks lines of runs that are not at hand any more
OTHER_PARTS = ("musicnn", "transfer")  # of programs in benchmarks/


def run_protocol(
  name: str, *, data: str, workdir: str, into: str, entries: str = "", seeds: int = 1000
) -> int:
  """Makes the runs of a protocol that are not finished, and writes its part of the page.

  Args:
    name: one of PROTOCOLS.
    data: folder of the corpus; '' for the protocol's own.
    workdir: folder of all runs.
    into: the page; made if absent.
    entries: only these, by their folders' names, with commas; 'none' writes the page alone.
    seeds: the first so many seeds only.
  Returns:
    How many runs failed.
  """
  protocol = PROTOCOLS[name]
  material = pathlib.Path(data or protocol.corpus) / protocol.data
  if not material.exists():
    raise UserError(f"{material} does not exist: give the folder that holds it with --data")
  wanted = _wanted(protocol, entries)
  folder, failed = pathlib.Path(workdir) / name, 0
  for entry in protocol.entries:
    _check_material(entry, material, folder)
  try:
    text = _write(pathlib.Path(into), name, material, folder)  # what is wrong with it shows at once
    for entry in wanted:
      print(f"== {name}: {entry.name}", flush=True)
      try:
        failed += run_entry(entry, material, folder, seeds)
      finally:  # a signal, too, leaves the page as the runs are
        text = _write(pathlib.Path(into), name, material, folder)
  except UnicodeDecodeError as error:
    raise UserError(f"--into={into}: is not UTF-8 text; name another file") from error
  except OSError as error:
    raise UserError(
      f"cannot write to {error.filename or into}: {error.strerror or error}; name"
      " another place with --into or --workdir"
    ) from error
  print(text)
  print(f"written   {into}" + (f"; {failed} runs failed, see logs/ in {folder}" if failed else ""))
  return failed


def _check_material(entry: Entry, data: pathlib.Path, folder: pathlib.Path) -> None:
  """Refuses finished runs that are of other data than what is at hand."""
  runs = [run for seed in protocol_tables.finished(entry, data, folder) for run in seed]
  if not runs:
    return
  config = config_of(entry, data)
  with contextlib.redirect_stdout(io.StringIO()):
    source, frontend = open_dataset(config)
  now = folder_name(source, frontend, config.task)
  for run in runs:
    before = read_config_file(run)["dataset_id"]
    if before != now:
      raise UserError(
        f"{run} is of other clips, or of files of another date, than {data}:"
        f" {before} before, {now} now. Name another folder with --workdir, or delete"
        " that one"
      )


def _wanted(protocol: Protocol, entries: str) -> tuple[Entry, ...]:
  """The entries that --entries names."""
  if entries == "none":
    return ()
  by_folder = {entry_folder(pathlib.Path(), entry).name: entry for entry in protocol.entries}
  names = entries.split(",") if entries else list(by_folder)
  for name in names:
    if name not in by_folder:
      raise UserError(f"--entries={name}: give some of {', '.join(by_folder)}, or none")
  return tuple(by_folder[name] for name in names)


def _write(path: pathlib.Path, name: str, material: pathlib.Path, folder: pathlib.Path) -> str:
  """Puts a protocol's part, which it returns, into the page, which is made if it is absent.

  Where no run is at hand, a part that stands there is left as it is.
  """
  protocol = PROTOCOLS[name]
  page = path.read_text(encoding="utf-8") if path.exists() else HEADER
  before = page.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
  if before.strip() and not any(
    protocol_tables.finished(entry, material, folder) for entry in protocol.entries
  ):
    return before.strip() + "\n"
  several = "mixtures" in {entry.experiment for entry in protocol.entries}
  write = protocol_multi_label.to_markdown if several else protocol_tables.to_markdown
  text = _with_kept_rows(write(protocol, material, folder), before)
  missing = [key for key in (*PROTOCOLS, *OTHER_PARTS) if f"<!-- {key} -->" not in page]
  if missing:
    write_whole(path, page + "".join(f"\n<!-- {key} -->\n<!-- /{key} -->\n" for key in missing))
  write_block(path, name, text)
  return text


def _with_kept_rows(text: str, before: str) -> str:
  """A part of the page, in which lines of runs that are not at hand stay as the page had them."""
  old = {
    (line.split("|")[1].strip(f" {KEPT}"), line.count("|")): line  # of tables of that width
    for line in before.splitlines()
    if line.startswith("| ") and "not run" not in line
  }
  lines, kept = [], False
  for line in text.splitlines():
    name = line.split("|")[1].strip() if line.startswith("| ") else ""
    if "| not run |" in line and (name, line.count("|")) in old:
      cells = old[name, line.count("|")].split("|")
      line, kept = "|".join([cells[0], f" {name} {KEPT} ", *cells[2:]]), True
    lines.append(line)
  if kept:
    lines += [
      "",
      f"{KEPT} From runs that are not at hand any more, under the recipe of their"
      " commit; not compared in pairs.",
    ]
  return "\n".join(lines) + "\n"


def run_entry(entry: Entry, data: pathlib.Path, folder: pathlib.Path, seeds: int) -> int:
  """Makes the runs of an entry that are not finished.

  Args:
    entry: what to run.
    data: what to train on.
    folder: of the protocol.
    seeds: the first so many seeds only.
  Returns:
    How many failed.
  """
  place = entry_folder(folder, entry)
  place.mkdir(parents=True, exist_ok=True)
  runner = sweep_runs.Runner(
    f"experiments/{entry.experiment}.py", sweep_runs.arguments_of(fields_of(entry, data)), place
  )
  wanted = [m for m in members(entry, data) if int(m.values["seed"]) < seeds]
  return sum(row.status == "failed" for row in sweep_runs.run_all(wanted, runner, place))
