"""Fetch the free recordings that tools/free_recordings.csv lists, from packages of Debian.

    python tools/free_recordings.py --out=FOLDER [--kind=music] [--mirror=URL]

Writes FOLDER/KIND/PACKAGE/NAME and FOLDER/recordings.csv with the columns of the list and the path
of each file. Needs apt and dpkg. apt checks the signature of the package lists and the checksum of
each package. Files that exist are not fetched again. A package that cannot be fetched or read is
named at the end, and the exit status is 1.

Columns of the list:
  package, path: Where the file is. "!" separates the path of a ZIP archive from the path inside it.
  kind: music, speech, effect or noise.
  seconds, title, artist, license: From the tags of the file and the files of the package.
  genre, stated_in: What the publisher states, and where: a tag of the file, its title, object.json.
  labels: The labels that the genre corresponds to, separated by "|"; empty if none is stated.
"""

import argparse
import collections
import csv
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

LIST = pathlib.Path(__file__).with_suffix(".csv")
SUITES = ("trixie", "bookworm", "sid")  # in order of preference
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
ZIP = "!"  # between the path of an archive and the path inside it


def targets(rows: list[dict[str, str]]) -> list[pathlib.Path]:
  """Return where each file goes, relative to the folder.

  The name is the last part of the path. Files of a package whose names are equal get names of
  their whole paths.
  """
  names = [row["path"].replace(ZIP, "/").rpartition("/")[2] for row in rows]
  counts = collections.Counter(
    (row["package"], name.lower()) for row, name in zip(rows, names, strict=True)
  )
  paths = []
  for row, name in zip(rows, names, strict=True):
    if counts[row["package"], name.lower()] > 1:
      name = row["path"].replace(ZIP, "/").replace("/", "-")
    paths.append(pathlib.Path(row["kind"], row["package"], name))
  return paths


class Apt:
  """The package lists of a mirror, apart from those of the system."""

  def __init__(self, folder: pathlib.Path, mirror: str):
    self.folder = folder
    for name in ("lists/partial", "cache/archives/partial", "packages"):
      (folder / name).mkdir(parents=True, exist_ok=True)
    mirror = (
      mirror
      or self._run(
        "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"
      )
      .partition("\n")[0]
      .strip()
    )
    if not mirror:
      raise SystemExit("apt has no sources of Debian: give --mirror=URL")
    (folder / "sources.list").write_text(
      "".join(
        f"deb [signed-by={KEYS}] {mirror} {suite} main contrib non-free\n" for suite in SUITES
      ),
      encoding="utf-8",
    )
    self._options = [
      f"-oDir::Etc::SourceList={folder}/sources.list",
      "-oDir::Etc::SourceParts=/dev/null",
      f"-oDir::State::Lists={folder}/lists",
      f"-oDir::Cache={folder}/cache",
      "-oAcquire::Languages=none",
    ]
    self._run("update", *self._options)

  def fetch(self, package: str) -> pathlib.Path:
    """Download a package of the first suite that has it."""
    reason = ""
    for suite in SUITES:
      try:
        self._run("download", *self._options, f"{package}/{suite}")
        return next((self.folder / "packages").glob(f"{package}_*.deb"))
      except (OSError, StopIteration) as error:
        reason = str(error)
    raise OSError(reason)

  def _run(self, *arguments: str) -> str:
    done = subprocess.run(
      ["apt-get", "--quiet", *arguments],
      cwd=self.folder / "packages",
      capture_output=True,
      encoding="utf-8",
      errors="replace",
    )
    if done.returncode:
      raise OSError((done.stderr.strip().splitlines() or ["apt-get failed"])[-1])
    return done.stdout


def write(source, path: pathlib.Path) -> None:
  """Write a file that is complete if it exists."""
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  with open(part, "wb") as file:
    shutil.copyfileobj(source, file)
  os.replace(part, path)


def extract(package: pathlib.Path, wanted: dict[str, pathlib.Path]) -> None:
  """Write files of a package.

  Args:
    package: File of the package.
    wanted: Path inside the package, or that of a ZIP archive, "!" and the path inside it: where
      it goes.
  """
  inside: dict[str, dict[str, pathlib.Path]] = collections.defaultdict(dict)
  for path, target in wanted.items():
    archive, _, name = path.partition(ZIP)
    inside[archive][name] = target
  command = ["dpkg-deb", "--fsys-tarfile", str(package)]
  with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
    with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
      for member in tar:
        names = inside.get(member.name.removeprefix("./"))
        source = tar.extractfile(member) if names and member.isfile() else None
        if names is None or source is None:
          continue
        if "" in names:
          write(source, names[""])
          continue
        with tempfile.TemporaryFile() as copy:
          shutil.copyfileobj(source, copy)
          with zipfile.ZipFile(copy) as archive_file:
            for name, target in names.items():
              with archive_file.open(name) as item:
                write(item, target)
  if missing := [path for path, target in wanted.items() if not target.exists()]:
    raise OSError(f"{len(missing)} files are not in this version, such as {missing[0]}")


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the recordings")
  parser.add_argument("--kind", default="", help="music, speech, effect or noise; default: all")
  parser.add_argument("--mirror", default="", help="URL of a mirror; default: that of apt")
  options = parser.parse_args()
  out = options.out.absolute()

  with open(LIST, encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  found = [
    (row, path)
    for row, path in zip(rows, targets(rows), strict=True)
    if options.kind in ("", row["kind"])
  ]
  todo: dict[str, dict[str, pathlib.Path]] = collections.defaultdict(dict)
  for row, path in found:
    if not (out / path).exists():
      todo[row["package"]][row["path"]] = out / path

  apt = Apt(out / "apt", options.mirror) if todo else None
  failed = {}
  for i, (package, wanted) in enumerate(todo.items(), 1):
    print(f"[{i}/{len(todo)}] {package}: {len(wanted)} files", flush=True)
    try:
      file_of_package = apt.fetch(package)
      extract(file_of_package, wanted)
      file_of_package.unlink()
    except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
      failed[package] = str(error)

  present = [{"file": str(path), **row} for row, path in found if (out / path).exists()]
  if present:
    with open(out / "recordings.csv", "w", encoding="utf-8", newline="") as file:
      writer = csv.DictWriter(file, fieldnames=list(present[0]))
      writer.writeheader()
      writer.writerows(present)
  print(f"{out}: {len(present)} of {len(found)} files")
  for package, reason in failed.items():
    print(f"{package}: {reason}", file=sys.stderr)
  return bool(failed)


if __name__ == "__main__":
  sys.exit(main())
