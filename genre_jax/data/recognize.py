"""Recognize music files: by name, to search folders, and by content, to read standard input."""

import os

# What people keep in music folders: sound, video with sound, and MIDI and module files, which
# contain no sound and fail with that reason instead of being passed over.
EXTENSIONS = frozenset(
  (
    ".3ga .3gp .aa .aac .aax .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .caf .dff"
    " .dsf .dts .eac3 .flac .flv .it .kar .m2a .m2ts .m4a .m4b .m4p .m4r .m4v .mid .midi .mka"
    " .mkv .mod .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpc .mpe .mpeg .mpg .mpga .oga .ogg .ogm .ogv"
    " .opus .qoa .ra .rf64 .rm .s3m .shn .snd .spx .tak .tta .vob .voc .w64 .wav .wave .weba"
    " .webm .wma .wmv .wv .xm"
  ).split()
)
SNIFFED_BYTES = 16


def is_audio_name(name: str) -> bool:
  """Return True if a file name has an extension of music, in any case."""
  return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_hidden(name: str) -> bool:
  """Return True for a name that begins with one dot; '...And Justice' is the name of an album."""
  return name.startswith(".") and not name.startswith("..")


def sound_format(head: bytes) -> str:
  """Return the format of a sound file from its first bytes, or '' if they show none.

  Args:
    head: At least SNIFFED_BYTES bytes, fewer if the file has fewer.
  """
  for magic, name in (
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
    (b"wvpk", "WavPack"),
    (b"MAC ", "Monkey's Audio"),
    (b"APETAGEX", "APE tag"),
    (b"MPCK", "Musepack"),
    (b"MP+", "Musepack"),
    (b"FLV\x01", "FLV"),
    (b"#!AMR", "AMR"),
    (b"\x0b\x77", "AC-3"),
    (b"TTA1", "TTA"),
    (b"DSD ", "DSF"),
    (b"RF64", "RF64"),
    (b"riff\x2e\x91\xcf\x11", "Wave64"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (b"\x1a\x45\xdf\xa3", "Matroska"),
  ):
    if head.startswith(magic):
      return name
  if head[:4] in (b"RIFF", b"RIFX") and head[8:12] in (b"WAVE", b"AVI "):
    return head[8:12].decode().strip()
  if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
    return "AIFF"
  if head[4:8] == b"ftyp":
    return "MP4"
  return "MPEG" if _is_mpeg_frame(head) else ""


def _is_mpeg_frame(head: bytes) -> bool:
  """Return True if bytes begin with a valid header of an MPEG audio or ADTS frame."""
  if len(head) < 4 or head[0] != 0xFF:
    return False
  if head[1] & 0xF6 == 0xF0:  # ADTS: layer 0
    return (head[2] >> 2 & 15) < 13
  layer, bitrate, rate, version = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3, head[1] >> 3 & 3
  return head[1] & 0xE0 == 0xE0 and layer != 0 and version != 1 and 0 < bitrate < 15 and rate != 3
