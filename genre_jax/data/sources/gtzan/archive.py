"""Download, verify and safely unpack the original genres.tar.gz of GTZAN."""

import hashlib
import os
import pathlib
import re
import shutil
import tarfile
import tempfile
import zlib

from genre_jax.data.sources.gtzan.tracks import GENRES
from genre_jax.errors import UserError

# The value that torchaudio publishes (torchaudio/datasets/gtzan.py).
SHA256 = "24347e0223d2ba798e0a558c4c172d9d4a19c00bb7963fe055d183dadb4ef2c6"
# Bytes, for the progress bar of the download; the hash verifies the file.
SIZE = 1225571541
URL = "http://opihi.cs.uvic.ca/sound/genres.tar.gz"
# The newest copy of that address in the Web Archive, unaltered (id_).
MIRROR = "https://web.archive.org/web/2022id_/" + URL
MEMBER = re.compile(rf"(?:\./)?(?:genres/)?({'|'.join(GENRES)})/(\1\.\d{{5}}\.(?:au|wav))")
# A clip has 1.3 MB; a far larger member is not a clip.
MAX_MEMBER_BYTES = 16 << 20


def download(cache: str | os.PathLike) -> str:
  """Download genres.tar.gz with the download manager of tensorflow-datasets.

  Args:
    cache: Folder; the file is written below its folder downloads.

  Returns:
    Path of the file.

  Raises:
    UserError: If the download fails.
  """
  import requests  # a dependency of the download manager
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download.checksums import UrlInfo

  folder = pathlib.Path(cache) / "downloads"
  failures = []
  for url in (URL, MIRROR):
    info = UrlInfo(size=tfds.core.units.Size(SIZE), checksum=SHA256, filename="genres.tar.gz")
    try:
      # The download manager retries a dead server for minutes; this request fails at once.
      with requests.get(url, stream=True, timeout=20) as response:
        response.raise_for_status()
      manager = tfds.download.DownloadManager(
        download_dir=folder,
        url_infos={url: info},
        dataset_name="gtzan",
        force_checksums_validation=True,
      )
      return os.fspath(manager.download(url))
    except Exception as error:  # requests, urllib3, tfds and OS errors alike
      lines = str(error).strip().splitlines() or [""]
      failures.append(f"  {url}: {type(error).__name__}: {lines[0][:200]}")
  raise UserError(
    "--config.dataset.path=download: GTZAN could not be downloaded to "
    f"{folder}:\n" + "\n".join(failures) + "\n"
    "Download genres.tar.gz (1.2 GB) by other means and give its path or the unpacked folder as "
    "--config.dataset.path."
  )


def extract(path: str, cache: str | os.PathLike) -> str:
  """Verify genres.tar.gz and unpack it into the cache.

  Only plain files GENRE/GENRE.NNNNN.au or .wav are written, under names made here. An archive with
  links, devices or paths that leave the folder is refused. The folder exists only when it is
  complete.

  Args:
    path: genres.tar.gz.
    cache: Folder in which the folder of the archive is made.

  Returns:
    Path of the folder with GENRE/GENRE.NNNNN.au.

  Raises:
    UserError: If the archive is not the original one, or cannot be unpacked.
  """
  flag = f"--config.dataset.path={path}"
  folder = pathlib.Path(cache) / f"gtzan-{SHA256[:12]}"
  try:
    with open(path, "rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
      raise UserError(
        f"{flag}: its sha256 is {found}, that of the original genres.tar.gz is {SHA256}. The file "
        "is damaged or another one: download it again, or unpack it yourself and give the folder."
      )
    if folder.is_dir():
      return os.fspath(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix="gtzan-partial-", dir=folder.parent))
    try:
      with tarfile.open(path, "r|gz") as archive:
        _extract_members(archive, partial, flag)
      partial.rename(folder)
    finally:
      shutil.rmtree(partial, ignore_errors=True)
  except (tarfile.TarError, EOFError, zlib.error) as error:
    raise UserError(f"{flag}: the archive is damaged: {error}. Download it again.") from error
  except OSError as error:
    raise UserError(
      f"{flag}: cannot be unpacked into {folder.parent}: {error.strerror or error}. "
      "It needs 1.4 GB; set the environment variable XDG_CACHE_HOME to use another folder."
    ) from error
  return os.fspath(folder)


def _extract_members(archive, folder, flag):
  """Write the clips of an open archive; refuse members that the original does not contain."""
  count = 0
  for member in archive:
    parts = pathlib.PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or not (member.isfile() or member.isdir()):
      raise UserError(
        f"{flag}: the archive contains {member.name!r}, a link, a device or a path that leaves the "
        "folder: refused."
      )
    match = MEMBER.fullmatch(member.name)
    if not match or not member.isfile():
      continue
    if member.size > MAX_MEMBER_BYTES:
      raise UserError(
        f"{flag}: {member.name!r} has {member.size} bytes, far more than a clip: refused."
      )
    target = folder / match[1] / match[2]
    target.parent.mkdir(exist_ok=True)
    with archive.extractfile(member) as source, open(target, "xb") as file:
      shutil.copyfileobj(source, file)
    count += 1
  if not count:
    raise UserError(f"{flag}: the archive contains no GENRE/GENRE.NNNNN.au or .wav.")
