"""Audit a collection of audio: `python -m genre_jax.audit --config=... --out=DIR`.

Writes DIR/audit.json and DIR/audit.html. They list copies of one recording, groups that are in more
than one split, silent, clipped, truncated and unreadable clips, and class counts. The audit covers
all genres unless --config.dataset.genres names some.
"""

import json
import pathlib

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_whole

CONFIG = command_line.define_config()
OUT = flags.DEFINE_string("out", None, "Folder for audit.json and audit.html; required.")


def main(argv: list[str]) -> None:
  """Audit the collection, write the two files and print a summary."""
  config, _ = command_line.experiment(argv, CONFIG)
  if not OUT.value:
    raise UserError("--out is missing: give a folder for audit.json and audit.html, as --out=audit")
  from tqdm import tqdm

  from genre_jax.data.audit.clip_facts import analysis_config, knows_samples
  from genre_jax.data.audit.clip_survey import examine_source, remove_chunks
  from genre_jax.data.audit.page import write_page
  from genre_jax.data.audit.report import assignment_of, make_report, summary
  from genre_jax.training.setup import open_dataset

  config.dataset.genres = config.dataset.genres or "all"
  source, frontend = open_dataset(config)
  if not source.clips:
    raise UserError(
      f"--config.dataset.path={config.dataset.path}: no clips to audit; give a folder or"
      " archive that contains audio"
    )
  out = pathlib.Path(OUT.value)
  try:
    out.mkdir(parents=True, exist_ok=True)
    facts = examine_source(source, frontend, out, config.dataset.workers)
    assignment, note = assignment_of(source, facts, config.split, config.segments.train_per_track)
    analysis = analysis_config(source.reader, frontend)
    report = make_report(
      source, facts, assignment, analysis.frame_rate, knows_samples(source), note
    )
    title = config.dataset.path or "the built-in corpus"
    page = write_page(
      report,
      title,
      source.reader,
      source.clips,
      analysis,
      lambda pairs: tqdm(pairs, desc="drawing", disable=None, leave=False),
    )
    for name, text in (("audit.json", json.dumps(report, indent=1)), ("audit.html", page)):
      write_whole(out / name, text)
    remove_chunks(out)
  except OSError as error:
    raise UserError(
      f"--out={out}: cannot write: {error.strerror or error}; give another folder"
    ) from error
  for line in summary(report):
    print(line)
  print(f"written   {out / 'audit.html'}, {out / 'audit.json'}")


if __name__ == "__main__":
  command_line.run(main)
