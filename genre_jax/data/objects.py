"""Find and fetch audio files of object storage and web servers, through fsspec.

A track is classified from all of its samples, so an object is copied to the local disk once and
then read as any file. Packages and credentials are those of fsspec: s3fs for `s3://`, gcsfs for
`gs://`, aiohttp for `http://` and `https://`.
"""

import contextlib
import errno
import re
import tempfile
import time
from collections.abc import Iterator

from genre_jax.data.decoder import UnreadableAudio
from genre_jax.data.recognize import is_audio_name, is_hidden
from genre_jax.errors import UserError, missing_extra

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
PAUSES = (1.0, 4.0)  # seconds before further tries, after which a failure is final
FINAL = (PermissionError, IsADirectoryError)


def protocol(path: str) -> str:
  """Return the protocol of a URL of object storage, as 's3'; '' for a path of a file."""
  match = re.match(r"([a-z0-9]+)://", path)
  return match[1] if match and match[1] in PACKAGES else ""


def find_objects(url: str) -> list[tuple[str, str]]:
  """List the music files of a URL.

  Args:
    url: An object, which may have any name; or a folder, which is searched with its subfolders for
      names of music files. A URL of a web server is one object.

  Returns:
    (URL, fault), sorted; fault is '' for an object, or the reason for its absence.

  Raises:
    UserError: If a package is missing or the storage cannot be reached.
  """
  files, path = _file_system(url)
  if protocol(url).startswith("http"):
    return [(url, "")]
  try:
    found = files.find(path)
  except Exception as error:  # every kind of storage has errors of its own
    raise UserError(f"{url}: cannot be listed ({_reason(error)})") from error
  if found == [path]:
    return [(url, "")]
  names = [
    name
    for name in found
    if is_audio_name(name) and not any(map(is_hidden, name.removeprefix(path).split("/")))
  ]
  if not names:
    return [(url, "there is no such object, and no folder with music files")]
  return sorted((files.unstrip_protocol(name), "") for name in names)


@contextlib.contextmanager
def fetched(url: str, folder: str) -> Iterator[str]:
  """Copy an object to a file, which is deleted at the end of the context.

  Args:
    url: The object.
    folder: Folder for the file.

  Yields:
    Path of the file.

  Raises:
    UnreadableAudio: If there is no such object, or it cannot be read after several tries.
    OSError: If the file cannot be stored.
  """
  with tempfile.NamedTemporaryFile(dir=folder, suffix=".fetched") as file:
    for pause in (*PAUSES, None):
      try:
        files, path = _file_system(url)
        files.get_file(path, file.name)
        break
      except FileNotFoundError as error:
        raise UnreadableAudio("there is no such object") from error
      except UserError as error:
        raise UnreadableAudio(str(error)) from error
      except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
          raise  # of the local disk
        if pause is None or isinstance(error, FINAL):
          raise UnreadableAudio(f"cannot be fetched: {_reason(error)}") from error
        time.sleep(pause)
    yield file.name


def _file_system(url):
  """Return fsspec's file system of a URL, and its path there."""
  package = PACKAGES[protocol(url)]
  try:
    from fsspec import filesystem

    files = filesystem(protocol(url))
    return files, files._strip_protocol(url)  # url_to_fs would take `::` in a name as a chain
  except ImportError as error:
    raise missing_extra(url, package, "remote") from error
  except Exception as error:
    raise UserError(f"{url}: cannot be reached ({_reason(error)})") from error


def _reason(error: Exception) -> str:
  return (str(error).splitlines() or [""])[0] or type(error).__name__
