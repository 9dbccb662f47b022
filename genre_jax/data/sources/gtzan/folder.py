"""Open GTZAN: a folder of GENRE.NNNNN files, the original archive, or tensorflow-datasets.

GTZAN has 1000 clips of 30 s, 10 genres x 100, 22050 Hz mono (Tzanetakis and Cook, 2002). Groups are
artists. The clips are commercial recordings without a license: for research only.
"""

import os

from genre_jax.data.files import list_files
from genre_jax.data.source import AudioFileReader, Request, Source
from genre_jax.data.sources import tfds_audio
from genre_jax.data.sources.gtzan import archive, tfds_folder
from genre_jax.data.sources.gtzan.tracks import FILE, FORMATS, gtzan_clip, gtzan_source
from genre_jax.errors import UserError
from genre_jax.files import cache_dir


def find_files(folder) -> tuple[dict[str, str], int, int]:
  """Find the GTZAN files below a folder.

  Returns:
    ({track: path}, number of second copies left out, number of other files left out).
  """
  found, others = {}, 0
  for _, path in list_files(folder):
    match = FILE.fullmatch(os.path.basename(path))
    if match:
      kind = FORMATS.index(match[3].lower())
      found.setdefault(match[1].lower(), []).append((kind, path))
    else:
      others += 1
  duplicates = sum(len(paths) - 1 for paths in found.values())
  return {track: min(paths)[1] for track, paths in sorted(found.items())}, duplicates, others


def open_gtzan(request: Request) -> Source:
  """Open GTZAN from a folder, genres.tar.gz, a tensorflow-datasets folder, or 'download'."""
  path, genres, groups, flag = request.path, request.genres, request.groups, request.flag
  cache = request.cache_dir or cache_dir()
  if path == "download" and not os.path.exists(path):
    path = archive.download(cache)
  if os.path.isfile(path):
    if not path.lower().endswith((".tar.gz", ".tgz")):
      raise UserError(
        f"{flag}: a file of the source gtzan must be the original genres.tar.gz; otherwise give "
        "the folder that contains GENRE/GENRE.NNNNN.wav. For an .npz use "
        "--config.dataset.source=mel_archive."
      )
    path = archive.extract(path, cache)
  if not os.path.isdir(path):
    raise UserError(f"{flag}: there is no such file or folder.")
  if version := tfds_audio.find_version(path, "gtzan"):
    return tfds_folder.open_folder(version, genres, groups)
  found, duplicates, others = find_files(path)
  if not found:
    raise UserError(
      f"{flag}: there is no file named GENRE.NNNNN.wav, .flac, .au or .mp3 (such as "
      "blues/blues.00000.wav) in it or in the folders below. For other collections "
      "of the form DIR/GENRE/FILE use --config.dataset.source=audio_folder."
    )
  notes = []
  if duplicates:
    notes.append(
      f"{duplicates} files are second copies of a track in another place or format: left out"
    )
  if others:
    notes.append(f"{others} other files left out")
  all_clips = [gtzan_clip(track, path=file) for track, file in found.items()]
  return gtzan_source(all_clips, genres, groups, AudioFileReader(), notes=notes)
