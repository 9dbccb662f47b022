"""Decoding by content: formats, damage, joined streams, and files that refer to others."""

import os
import shutil
import struct
import subprocess

import av
import numpy as np
import pytest
import soundfile

from genre_jax.data import decoder
from genre_jax.data.audio import UnreadableAudio, read_blocks
from genre_jax.data.decoder import Facts, decode, sample_rate
from tests.data.encoded import FORMATS, encode, write_dsf, write_rf64

RATE = 44100


def music(seconds=4.0, rate=RATE, seed=0):
  """Return float32[samples] of a chord with beats, in steps of 16 bits."""
  time = np.arange(round(seconds * rate)) / rate
  rng = np.random.default_rng(seed)
  wave = sum(np.sin(2 * np.pi * hz * time) for hz in rng.uniform(100, 2000, 5))
  wave = 0.08 * wave * (1 + np.sin(2 * np.pi * 2 * time)) + rng.normal(0, 0.001, len(time))
  return (np.round(wave * 2**15) / 2**15).astype(np.float32)


def read(path, rate=RATE):
  """Return float32[samples] and the notes."""
  notes: list[str] = []
  return np.concatenate(list(read_blocks(path, rate, notes=notes, plain_mean=True))), notes


@pytest.mark.parametrize("count", [100, 5000])
@pytest.mark.parametrize("planar", ["", "p"])
@pytest.mark.parametrize(
  ("name", "dtype"), [("u8", "u1"), ("s16", "i2"), ("s32", "i4"), ("flt", "f4"), ("dbl", "f8")]
)
def test_samples_of_a_frame(name, dtype, planar, count):
  shape = (2, count) if planar else (1, 2 * count)
  values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
  frame = av.AudioFrame.from_ndarray(values, name + planar, "stereo")
  planes = decoder._samples(frame)
  np.testing.assert_array_equal(np.stack(planes), values)
  assert planes[0].dtype == values.dtype and planes[0].flags.owndata == (count == 100)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Return a folder with one song in every format of FORMATS."""
  folder = tmp_path_factory.mktemp("formats")
  for name, (container, codec, _) in FORMATS.items():
    rate = 48000 if codec == "libopus" else RATE
    encode(folder / name, np.stack([music(rate=rate)] * 2), rate, container, codec)
  return folder


@pytest.mark.parametrize("name", FORMATS)
def test_formats_whatever_the_name(files, tmp_path, name):
  _, codec, lossless = FORMATS[name]
  rate = 48000 if codec == "libopus" else RATE
  for path in (files / name, shutil.copy(files / name, tmp_path / "song.mp3")):
    audio, notes = read(path, rate)
    assert notes == [] and sample_rate(str(path)) == rate
    expected = music(rate=rate)
    assert abs(len(audio) - len(expected)) <= 2 * 2048  # the delay of an encoder
    if lossless:
      np.testing.assert_array_equal(audio, expected)
    # Lossy codecs keep the level; their delay is not compensated here.
    assert audio.std() == pytest.approx(expected.std(), rel=0.1)


@pytest.mark.parametrize("name", ["pcm_s16.wav", "pcm_s24.wav", "song.aiff", "song.flac"])
def test_equals_libsndfile(files, name):
  expected, _ = soundfile.read(files / name, dtype="float32", always_2d=True)
  blocks = [values for values, _ in decode(str(files / name), Facts())]
  np.testing.assert_array_equal(np.concatenate(blocks, axis=1).T, expected)


def test_integers_of_64_bits(tmp_path):
  values = np.float64(music(0.2))[:, None] * [1.0, -0.5]
  data = np.int64(values * 2.0**62).tobytes()
  head = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 16, 16, 64)
  chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data
  path = tmp_path / "a.wav"
  path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
  found = np.concatenate([block for block, _ in decode(str(path), Facts())], 1)
  np.testing.assert_allclose(found, values.T / 2, atol=1e-6)


def test_mp3_equals_libsndfile(files):
  expected, _ = soundfile.read(files / "song.mp3", dtype="float32", always_2d=True)
  values = np.concatenate([block for block, _ in decode(str(files / "song.mp3"), Facts())], axis=1)
  assert values.shape[1] == len(expected)
  np.testing.assert_allclose(values.T, expected, atol=1e-3)


def test_vorbis_equals_libsndfile(tmp_path):
  soundfile.write(tmp_path / "a.ogg", music(), RATE, format="OGG", subtype="VORBIS")
  expected, _ = soundfile.read(tmp_path / "a.ogg", dtype="float32")
  audio, notes = read(tmp_path / "a.ogg")
  assert notes == [] and len(audio) == len(expected)
  np.testing.assert_allclose(audio, expected, atol=1e-3)


def test_dsf(tmp_path):
  audio, _ = read(write_dsf(tmp_path / "a.dsf", music(), RATE))
  assert abs(len(audio) - len(music())) < 200
  assert audio.std() == pytest.approx(music().std(), rel=0.05)


def test_sizes_in_wav_headers(tmp_path):
  path = write_rf64(tmp_path / "a.wav", np.round(music() * 2**15), RATE)
  np.testing.assert_array_equal(read(path)[0], music())
  soundfile.write(tmp_path / "b.wav", music(), RATE)
  raw = bytearray((tmp_path / "b.wav").read_bytes())
  for size in (0, 0xFFFFFFFF):
    raw[4:8] = raw[40:44] = size.to_bytes(4, "little")
    (tmp_path / "b.wav").write_bytes(raw)
    audio, notes = read(tmp_path / "b.wav")
    np.testing.assert_array_equal(audio, music())
    assert notes == []


def _parts(tmp_path, container, codec, rates=(RATE, RATE), channels=(2, 2)):
  """Return the bytes of two files."""
  parts = []
  for number, (rate, count) in enumerate(zip(rates, channels, strict=True)):
    path = tmp_path / f"{number}.part"
    encode(path, np.stack([music(rate=rate, seed=number)] * count), rate, container, codec)
    parts.append(path.read_bytes())
  return parts


@pytest.mark.parametrize(
  ("container", "codec", "rates", "channels"),
  [
    ("ogg", "flac", (RATE, RATE), (2, 2)),
    ("ogg", "libopus", (48000, 48000), (2, 1)),
    ("mp3", "libmp3lame", (RATE, RATE), (2, 2)),
    ("mp3", "libmp3lame", (RATE, 22050), (2, 1)),
    ("adts", "aac", (RATE, RATE), (2, 2)),
    ("mp2", "mp2", (RATE, 48000), (1, 2)),
    ("wv", "wavpack", (RATE, 48000), (1, 2)),
    ("tta", "tta", (RATE, 22050), (1, 2)),
  ],
)
def test_joined_files_are_read_through(tmp_path, container, codec, rates, channels):
  path = tmp_path / "joined"
  path.write_bytes(b"".join(_parts(tmp_path, container, codec, rates, channels)))
  audio, notes = read(path)
  assert notes == [] and len(audio) / RATE == pytest.approx(8, abs=0.2)
  assert audio[-RATE:].std() > 0.05


def test_chained_vorbis(tmp_path):
  raw = b""
  for number, rate in enumerate((RATE, 48000)):
    soundfile.write(tmp_path / "a.ogg", music(rate=rate, seed=number), rate, format="OGG")
    raw += (tmp_path / "a.ogg").read_bytes()
  (tmp_path / "chained.ogg").write_bytes(raw)
  audio, notes = read(tmp_path / "chained.ogg")
  assert notes == [] and len(audio) / RATE == pytest.approx(8, abs=0.1)


def test_mp3_without_its_header_is_read_whole(tmp_path):
  """LAME's first frame holds the number of frames; without it the length is a guess."""
  path = encode(tmp_path / "a.mp3", music(), RATE, "mp3", "libmp3lame", compression_level="5")
  raw = path.read_bytes()
  first = raw.index(b"\xff\xfb")
  second = raw.index(b"\xff\xfb", first + 4)
  path.write_bytes(raw[second:])
  audio, notes = read(path)
  assert notes == [] and len(audio) / RATE == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("name", ["song.mp3", "song.flac", "aac.m4a", "song.ac3"])
def test_a_hole_is_skipped_and_noted(files, tmp_path, name):
  raw = bytearray((files / name).read_bytes())
  middle = len(raw) // 2
  raw[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
  (tmp_path / name).write_bytes(raw)
  audio, notes = read(tmp_path / name)
  assert 3.2 < len(audio) / RATE < 4.3
  (note,) = notes
  assert "damaged part" in note and note.startswith("read ")
  assert np.abs(audio).max() < 1.5


@pytest.mark.parametrize(
  "name", ["pcm_s16.wav", "song.aiff", "song.w64", "song.au", "song.flac", "song.mp3", "song.wv"]
)
def test_a_truncated_file_is_read_to_its_end(files, tmp_path, name):
  raw = (files / name).read_bytes()
  (tmp_path / name).write_bytes(raw[: len(raw) // 2])
  audio, (note,) = read(tmp_path / name)
  seconds = len(audio) / RATE
  assert 1.5 < seconds < 2.5
  assert note.startswith(f"read {seconds:.1f} of 4.0 s: ")
  with pytest.raises(UnreadableAudio, match="read"):  # a caller that takes no notes
    list(read_blocks(tmp_path / name, RATE))


def test_a_truncated_ogg_stream_breaks_off(tmp_path):
  soundfile.write(tmp_path / "a.ogg", music(8), RATE, format="OGG")
  raw = (tmp_path / "a.ogg").read_bytes()
  (tmp_path / "a.ogg").write_bytes(raw[: len(raw) // 2])
  _, (note,) = read(tmp_path / "a.ogg")
  assert "the Ogg stream breaks off there" in note


def test_files_that_refer_to_others_are_refused(files, tmp_path):
  secret = files / "song.mp3"
  for name, text in {
    "a.mp3": f"ffconcat version 1.0\nfile '{secret}'\n",
    "b.mp3": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\n{secret}\n#EXT-X-ENDLIST\n",
    "c.mp3": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na={secret}\n",
  }.items():
    (tmp_path / name).write_text(text)
    with pytest.raises(UnreadableAudio, match="not audio"):
      read(tmp_path / name)
  with pytest.raises(UnreadableAudio, match="no such file"):
    read("http://127.0.0.1:9/a.mp3")
  with pytest.raises(UnreadableAudio, match="no such file"):
    read(f"concat:{secret}|{secret}")


def test_unusual_names(files, tmp_path):
  for name in (b"a\xff\n.mp3", b"concat:x", b"-", "\u6b4c".encode(), b"100%d.mp3"):
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
      file.write((files / "song.mp3").read_bytes())
    assert len(read(os.fsdecode(path))[0]) > 3 * RATE
  with pytest.raises(UnreadableAudio, match="cannot be read"):
    read("a\0b")


def test_a_stream_that_cannot_be_searched(files):
  with subprocess.Popen(["cat", files / "song.flac"], stdout=subprocess.PIPE, bufsize=0) as cat:
    audio, _ = read(cat.stdout)
  np.testing.assert_array_equal(audio, music())


def test_a_picture_is_not_audio(tmp_path):
  (tmp_path / "a.mp3").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
  with pytest.raises(UnreadableAudio, match="not audio"):
    read(tmp_path / "a.mp3")


def test_tags_that_are_not_unicode(tmp_path):
  soundfile.write(tmp_path / "a.wav", music(), RATE, subtype="PCM_16")
  name = "Caf\xe9\xff".encode("latin-1") + b"\0"
  info = b"INFOIART" + len(name).to_bytes(4, "little") + name
  raw = (tmp_path / "a.wav").read_bytes()
  tag = b"LIST" + len(info).to_bytes(4, "little") + info
  (tmp_path / "a.wav").write_bytes(raw[:36] + tag + raw[36:])
  audio, notes = read(tmp_path / "a.wav")
  np.testing.assert_array_equal(audio, music())
  assert not notes


@pytest.mark.parametrize(("at", "value"), [(20, 0x4321), (22, 4000)])
def test_headers_with_an_unknown_codec_or_thousands_of_channels(tmp_path, at, value):
  soundfile.write(tmp_path / "a.wav", music(), RATE, subtype="PCM_16")
  raw = bytearray((tmp_path / "a.wav").read_bytes())
  raw[at : at + 2] = value.to_bytes(2, "little")
  (tmp_path / "a.wav").write_bytes(raw)
  with pytest.raises(UnreadableAudio, match="cannot be decoded"):
    read(tmp_path / "a.wav")


def test_a_wav_whose_size_is_too_small_is_read_whole(tmp_path):
  soundfile.write(tmp_path / "a.wav", music(), RATE)
  raw = bytearray((tmp_path / "a.wav").read_bytes())
  raw[40:44] = (20001).to_bytes(4, "little")
  (tmp_path / "a.wav").write_bytes(raw)
  np.testing.assert_array_equal(read(tmp_path / "a.wav")[0], music())
  # A chunk after the audio is not sound.
  soundfile.write(tmp_path / "b.wav", music(), RATE)
  raw = (tmp_path / "b.wav").read_bytes() + b"LIST" + (4000).to_bytes(4, "little") + bytes(4000)
  (tmp_path / "b.wav").write_bytes(raw)
  np.testing.assert_array_equal(read(tmp_path / "b.wav")[0], music())


def test_a_cut_link_of_a_chained_file_costs_its_rest_alone(tmp_path):
  links = []
  for number in range(3):
    soundfile.write(tmp_path / "a.ogg", music(seed=number), RATE, format="OGG")
    links.append((tmp_path / "a.ogg").read_bytes())
  links[1] = links[1][: len(links[1]) // 2]
  (tmp_path / "chained.ogg").write_bytes(b"".join(links))
  audio, _ = read(tmp_path / "chained.ogg")
  assert 8.5 < len(audio) / RATE < 11


def test_a_cut_matroska_file_has_a_note(files, tmp_path):
  raw = (files / "song.mka").read_bytes()
  (tmp_path / "a.mka").write_bytes(raw[: len(raw) // 2])
  _, (note,) = read(tmp_path / "a.mka")
  assert " of 4.0 s: " in note


def test_a_file_in_a_folder_that_cannot_be_searched(files, monkeypatch):
  def refuse(path, *arguments, **options):
    raise PermissionError(13, "Permission denied", path)

  monkeypatch.setattr("os.stat", refuse)
  with pytest.raises(UnreadableAudio, match="cannot be read: Permission denied"):
    read(str(files / "song.mp3"))


@pytest.mark.parametrize("name", ["song.flac", "song.mp3", "song.opus", "aac.m4a", "pcm_s16.wav"])
def test_excerpts_are_found_by_seeking(tmp_path, monkeypatch, name):
  """The amplitude rises with time, so it shows where the excerpts are."""
  monkeypatch.setattr(decoder, "EXCERPT_SECONDS", 3.0)
  rate, seconds = 48000, 16
  time = np.arange(rate * seconds) / rate
  ramp = (time / seconds * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
  path = encode(tmp_path / name, ramp, rate, *FORMATS[name][:2])
  facts = Facts()
  audio = np.concatenate([block[0] for block, _ in decode(str(path), facts, excerpts=2)])
  assert facts.excerpts and not facts.damaged
  assert len(audio) / rate == pytest.approx(6, abs=0.1)
  halves = np.abs(audio[: 6 * rate // 2 * 2]).reshape(2, -1)
  for half, middle in zip(halves, (4, 12), strict=True):
    parts = half[: len(half) // 4800 * 4800].reshape(-1, 4800).max(1) * seconds
    expected = np.linspace(middle - 1.5, middle + 1.5, len(parts))
    # MP3 has a table of 100 positions.
    np.testing.assert_allclose(parts[2:-2], expected[2:-2], atol=0.8 if "mp3" in name else 0.3)


def test_short_files_have_no_excerpts(files):
  whole, excerpts = Facts(), Facts()
  for facts, count in ((whole, 0), (excerpts, 2)):
    assert sum(
      block.shape[1] for block, _ in decode(str(files / "song.flac"), facts, excerpts=count)
    )
  assert excerpts == whole
