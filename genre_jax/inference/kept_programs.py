"""Keep the programs of networks in the user's cache, so that the next start is faster.

JAX keeps what XLA compiles. Tracing a network to a program for XLA takes longer than predicting a
short file, and JAX does not keep that: this module does, with `jax.export`.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable
from typing import Any

import flax
import jax

import genre_jax
from genre_jax.files import cache_dir

# Folders and files that a traced program depends on.
TRACED_CODE = ("data", "models", "inference/model.py")

SLOW = 0.5  # seconds: JAX's cache did not have the program, or it is large
DIGEST = 32  # bytes of a hash before each program: a damaged constant would change results

_folder: pathlib.Path | None = None  # of this process, once it keeps programs


def keep() -> None:
  """Keep the programs of this process from now on, if the user's cache can be written."""
  global _folder
  # One folder per processor type: machines that share a home folder may have different ones.
  try:
    with open("/proc/cpuinfo") as lines:
      flags = next(line for line in lines if line.startswith(("flags", "Features")))
  except (OSError, StopIteration):
    flags = platform.processor()
  kind = _hash(f"{platform.machine()} {jax.__version__} {flags}".encode())
  folder = cache_dir() / "compiled" / kind
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return
  if not os.access(folder, os.W_OK):
    return
  _folder = folder
  if not jax.config.values["jax_compilation_cache_dir"]:  # the user may have set another one
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def folder_of(metadata: dict[str, Any]) -> pathlib.Path | None:
  """Return the folder for the traced programs of a model, which may not exist.

  Args:
    metadata: Content of model.json, with the hash of the weights. Everything else that a program
      depends on is found here: the code and JAX's settings.

  Returns:
    None if this process does not keep programs, or for a training run.
  """
  if _folder is None or "weights_sha256" not in metadata:
    return None
  root = pathlib.Path(genre_jax.__file__).parent
  files = [path for name in TRACED_CODE for path in sorted((root / name).rglob("*.py"))]
  files += [root / name for name in TRACED_CODE if name.endswith(".py")]
  parts = [path.read_bytes() for path in files]
  parts += [json.dumps(metadata, sort_keys=True).encode()]
  parts += [repr(sorted(jax.config.values.items())).encode(), jax.default_backend().encode()]
  parts += [flax.__version__.encode()]
  return _folder / f"traced-{_hash(*parts)}"


def traced(function: jax.stages.Wrapped, folder: pathlib.Path, *arguments: Any) -> Callable:
  """Compile a function for arguments of these shapes, traced now or by an earlier process.

  Args:
    function: A function of arrays that `jax.jit` returned.
    folder: As of `folder_of`.
    *arguments: Arrays, or nested dicts of them.
  """
  shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
  path = folder / f"{_hash(repr(shapes).encode())}.bin"

  def compile(exported):
    begun = time.perf_counter()
    program = jax.jit(exported.call).lower(*shapes).compile()
    if time.perf_counter() - begun > SLOW:
      _return_memory()
    return program

  try:
    kept = path.read_bytes()
    if kept[:DIGEST] == hashlib.sha256(kept[DIGEST:]).digest():
      return compile(jax.export.deserialize(bytearray(kept[DIGEST:])))
  except OSError:
    pass
  try:
    exported = jax.export.export(function)(*shapes)
    content = exported.serialize()
  except Exception:  # a backend may have operations that JAX does not export
    return function
  _write(path, hashlib.sha256(content).digest() + content)
  return compile(exported)


def _return_memory():
  """Return to the system what compiling has freed: glibc would keep 200 MB of it."""
  with contextlib.suppress(OSError, TypeError, AttributeError):  # another C library
    ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def _write(path, content):
  """Write a file whole, unless the cache cannot be written."""
  try:
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
      new = pathlib.Path(folder) / path.name
      new.write_bytes(content)
      os.replace(new, path)
  except OSError:
    pass


def _hash(*parts: bytes) -> str:
  digest = hashlib.sha256()
  for part in parts:
    digest.update(hashlib.sha256(part).digest())
  return digest.hexdigest()[:16]
