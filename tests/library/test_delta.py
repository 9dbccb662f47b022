"""Test that a delta makes the old file from the new one, and is small."""

import io
import random

import pytest

from genre_jax.library import delta


def _files(tmp_path, old, new):
  for name, content in (("old", old), ("new", new)):
    (tmp_path / name).write_bytes(content)
  return open(tmp_path / "old", "r+b"), open(tmp_path / "new", "r+b")


def _check(tmp_path, old, new):
  """Return the size of the delta after checking it."""
  first, second = _files(tmp_path, old, new)
  with first, second:
    stored = delta.encode(first, second)
    restored = io.BytesIO()
    delta.decode(stored, second, restored.write)
  assert restored.getvalue() == old
  return len(stored)


SOUND = random.Random(0).randbytes(300_000)


@pytest.mark.parametrize(
  ("old", "new", "most"),
  [
    (SOUND, SOUND, 40),
    (b"x", b"y", 40),
    (SOUND, b"", 0),
    (SOUND, b"tag" * 500 + SOUND, 40),
    (b"old tag" + SOUND, b"new tags" + SOUND, 60),
    (SOUND[:1000] + SOUND[2000:], SOUND, 60),
    (SOUND, SOUND + b"id3 ", 40),
    (b"RIFF1" + SOUND + b"end", b"RIFF2" + SOUND + b"chunk" + b"end", 60),
    (b"a" + SOUND[:100_000] + b"b" * 90 + SOUND[100_000:], b"A" + SOUND[100_000:] + SOUND, 120),
    (bytes(100_000) + SOUND, SOUND + bytes(5000), 700),
  ],
)
def test_the_old_file_is_restored(tmp_path, old, new, most):
  if not new:
    with pytest.raises(ValueError, match="empty"):
      _check(tmp_path, old, new)
    return
  assert _check(tmp_path, old, new) <= most


def test_random_changes(tmp_path):
  rng = random.Random(1)
  for _ in range(100):
    old = bytearray(rng.choice([SOUND[:5000], bytes(3000), b"ab" * 2000]))
    new = bytearray(old)
    for _ in range(rng.randrange(6)):
      place, length = rng.randrange(len(new) + 1), rng.randrange(200)
      if rng.random() < 0.5:
        new[place : place + length] = rng.randbytes(rng.randrange(200))
      else:
        new += new[place : place + length]
        del new[:length]
    _check(tmp_path, bytes(old), bytes(new) or b"x")
