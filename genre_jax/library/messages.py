"""Print what `library` commands did: counts, and the reasons of what was left out."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from genre_jax.data.names import printable_path

if TYPE_CHECKING:
  from genre_jax.library.scan import Report
  from genre_jax.library.similar import Song

SHOWN_REASONS, SHOWN_FILES, SHOWN_KINDS = 8, 3, 8
WIDTH = 50  # of the names of songs


def scan_lines(report: "Report") -> list[str]:
  """Return the counts of a scan as lines."""
  counts = {name: count for name, count in report.counts.items() if name != "missing"}
  parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
  missing = report.counts["missing"]
  lines = [f"{sum(counts.values()):,} files: {parts or 'none'}; {missing:,} missing"]
  if report.passed_over:
    kinds = [f"{n} {kind or 'without extension'}" for kind, n in report.passed_over.most_common()]
    more = f" and {len(kinds) - SHOWN_KINDS} kinds more" if len(kinds) > SHOWN_KINDS else ""
    lines.append(f"passed over, not music by their names: {', '.join(kinds[:SHOWN_KINDS])}{more}")
  return lines


def _grouped(failures: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
  """Return (reason, paths) of (path, reason), the most frequent reason first."""
  grouped: dict[str, list[str]] = {}
  for path, reason in failures:
    grouped.setdefault(reason, []).append(path)
  return sorted(grouped.items(), key=lambda item: -len(item[1]))


def print_reasons(failures: list[tuple[str, str]]) -> None:
  """Print the most frequent reasons of (path, reason) with some of their files."""
  grouped = _grouped(failures)
  for reason, paths in grouped[:SHOWN_REASONS]:
    shown = ", ".join(map(printable_path, paths[:SHOWN_FILES]))
    more = f" and {len(paths) - SHOWN_FILES:,} more" if len(paths) > SHOWN_FILES else ""
    print(f"  {reason}: {shown}{more}", file=sys.stderr)
  if len(grouped) > SHOWN_REASONS:
    print(f"  and {len(grouped) - SHOWN_REASONS} reasons more", file=sys.stderr)


def print_left(left: list[tuple[str, str]]) -> None:
  """Print the numbers of files that are left as they are, by reason."""
  if left:
    print(f"{len(left):,} files left as they are:", file=sys.stderr)
  for reason, paths in _grouped(left):
    print(f"  {len(paths):,} {reason}", file=sys.stderr)


def print_unclear(paths: Iterable[str]) -> None:
  """Print the files of which an interrupted command left it unclear what became of them."""
  for path in paths:
    print(
      f"notice: {printable_path(path)}: an earlier command was interrupted while it wrote this"
      " file, which has been changed since or cannot be read",
      file=sys.stderr,
    )


def print_songs(songs: Sequence["Song"]) -> None:
  """Print songs with their distances."""
  names = [printable_path(song.name) for song in songs]
  width = min(WIDTH, max(map(len, names), default=0))
  for name, song in zip(names, songs, strict=True):
    print(f"{song.distance:.2f}  {name:{width}}  {printable_path(song.path)}")


def warn_of_times(preserve_mtime: bool) -> None:
  """Print what --preserve_mtime means, if it is used."""
  if preserve_mtime:
    print(
      "notice: --preserve_mtime hides the changes from programs that look at times, such as music"
      " servers and backups",
      file=sys.stderr,
    )
