"""Parameters of the front end, which turns a waveform into the log-mel input of a network.

Sources, prepared sets, model directories, streams and exports all store a `FrontendConfig`.
`FrontendConfig.difference` compares two of them.
"""

import dataclasses
import math

import numpy as np

from genre_jax.errors import UserError, did_you_mean

WINDOWS = ("hann", "hamming", "blackman", "boxcar")
PAD_MODES = ("constant", "reflect", "edge")


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
  """Parameters from waveform to log-mel, and the length of the segment that the network sees.

  `frame_stride` thins the STFT: frame floor((j + 0.5) * frame_stride) becomes frame j. Audio then
  gives the same input as an archive that was thinned in this way. The GTZAN archive keeps one frame
  in about 1292 / 387. This was measured on 89 excerpts of 15-20 s, all of which start at sample 0
  of their clip; 82 of them match the archive. For 77 of these, column j is exactly STFT frame
  floor((j + 0.5) * 1293 / 387.5), where 1293 is the number of frames of the clip. The other five
  are from longer or shorter clips. With 1292 / 387 the chosen frame differs by at most one STFT
  frame (23 ms), in a fifth of the columns.

  Attributes:
    sample_rate: Hz.
    n_fft: FFT length in samples, even.
    win_length: Length of the STFT window in samples, at most n_fft; centered in the FFT.
    hop_length: Samples between STFT frames.
    window: One of WINDOWS, periodic.
    center: True if frame t is centered on sample t * hop_length.
    pad_mode: Padding beyond the ends if `center`, one of PAD_MODES.
    n_mels: Number of mel bands.
    fmin: Lower edge of the lowest band, Hz.
    fmax: Upper edge of the highest band, Hz.
    mel_scale: 'slaney' or 'htk'; 'htk_mel' is 'htk' with triangles that are linear in mel instead
      of Hz, as TensorFlow's linear_to_mel_weight_matrix.
    mel_norm: 'slaney' (each band has unit area) or 'none'.
    power: Exponent of the magnitude spectrum before the mel sum.
    compression: 'db' (10 log10), 'log10_10000' (log10(1 + 10000 x), as in musicnn), 'ln_0.001'
      (ln(x + 0.001), as in YAMNet), or 'waveform': a frame is `hop_length` samples, unchanged, for
      networks that compute their own spectrograms; n_mels, n_fft and win_length equal hop_length.
    db_ref: 'max' (0 dB is the largest value of the clip) or 'full_scale' (0 dB is 1.0).
    top_db: Values are clamped at this many dB below the clip's maximum; 0 for no clamp.
    amin: Smallest power before the logarithm.
    frame_stride: STFT frames per kept frame; 1.0 keeps all.
    num_frames: Kept frames in a segment.
  """

  sample_rate: int = 22050
  n_fft: int = 2048
  win_length: int = 2048
  hop_length: int = 512
  window: str = "hann"
  center: bool = True
  pad_mode: str = "constant"
  n_mels: int = 128
  fmin: float = 0.0
  fmax: float = 11025.0
  mel_scale: str = "slaney"
  mel_norm: str = "slaney"
  power: float = 2.0
  compression: str = "db"
  db_ref: str = "max"
  top_db: float = 80.0
  amin: float = 1e-10
  frame_stride: float = 1292 / 387
  num_frames: int = 64

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
        object.__setattr__(self, field.name, value)
      elif field.type is int and isinstance(value, np.integer):
        value = int(value)
        object.__setattr__(self, field.name, value)
      if type(value) is not field.type:
        _refuse(field.name, value, f"it must be {field.type.__name__}")
      if field.type is float and not math.isfinite(value):
        _refuse(field.name, value, "it must be finite")
    for name in (
      "sample_rate",
      "win_length",
      "hop_length",
      "n_mels",
      "num_frames",
      "power",
      "amin",
    ):
      if getattr(self, name) <= 0:
        _refuse(name, getattr(self, name), "it must be above 0")
    for name, allowed in (
      ("window", WINDOWS),
      ("pad_mode", PAD_MODES),
      ("mel_scale", ("slaney", "htk", "htk_mel")),
      ("mel_norm", ("slaney", "none")),
      ("compression", ("db", "log10_10000", "ln_0.001", "waveform")),
      ("db_ref", ("max", "full_scale")),
    ):
      if getattr(self, name) not in allowed:
        _refuse(name, getattr(self, name), f"it must be one of {', '.join(allowed)}")
    if self.n_fft < 2 or self.n_fft % 2:
      _refuse("n_fft", self.n_fft, "it must be even and at least 2")
    if self.win_length > self.n_fft:
      _refuse("win_length", self.win_length, f"it must not exceed n_fft = {self.n_fft}")
    if self.fmin < 0:
      _refuse("fmin", self.fmin, "it must not be negative")
    if self.fmax <= self.fmin:
      _refuse("fmax", self.fmax, f"it must exceed fmin = {self.fmin}")
    if self.fmax > self.sample_rate / 2:
      _refuse(
        "fmax", self.fmax, f"it must not exceed half the sample rate, {self.sample_rate / 2:g}"
      )
    if self.top_db < 0:
      _refuse("top_db", self.top_db, "it must be 0 (no clamp) or above")
    if self.compression == "waveform":
      for name in ("n_mels", "n_fft", "win_length"):
        if getattr(self, name) != self.hop_length:
          _refuse(name, getattr(self, name), f"a waveform needs hop_length, {self.hop_length}")
      if self.center or self.frame_stride != 1:
        _refuse("compression", "waveform", "it needs center=False and frame_stride=1.0")
    if self.frame_stride < 1:
      _refuse("frame_stride", self.frame_stride, "it must be at least 1 (keep every frame)")

  @property
  def frame_rate(self) -> float:
    """Return the number of kept frames per second."""
    return self.sample_rate / self.hop_length / self.frame_stride

  @property
  def seconds_per_frame(self) -> float:
    """Return the mean distance between kept frames, in seconds."""
    return 1 / self.frame_rate

  @property
  def segment_seconds(self) -> float:
    """Return the length of a segment in seconds."""
    return self.num_frames * self.seconds_per_frame

  @property
  def streamable(self) -> bool:
    """Return True if a frame does not depend on other frames, such as by the clip's maximum."""
    return self.compression != "db" or (self.db_ref == "full_scale" and self.top_db == 0)

  def stft_frames_of(self, samples: int) -> int:
    """Return the number of STFT frames, before thinning, of a clip with `samples` samples."""
    if samples <= 0:
      return 0
    padded = samples + 2 * (self.n_fft // 2) if self.center else max(samples, self.n_fft)
    return 1 + (padded - self.n_fft) // self.hop_length

  def frame_indices(self, num_stft_frames: int) -> np.ndarray:
    """Return the indices of the kept STFT frames: floor((j + 0.5) * frame_stride).

    Args:
      num_stft_frames: Number of STFT frames of the clip.

    Returns:
      int64[kept frames], increasing; at least one index if the clip has any frame.
    """
    count = math.ceil(num_stft_frames / self.frame_stride) + 1
    indices = np.floor((np.arange(count) + 0.5) * self.frame_stride).astype(np.int64)
    indices = indices[indices < num_stft_frames]
    if not len(indices) and num_stft_frames > 0:
      indices = np.array([num_stft_frames - 1])
    return indices

  def frames_of(self, samples: int) -> int:
    """Return the number of kept frames of a clip with `samples` samples."""
    return len(self.frame_indices(self.stft_frames_of(samples)))

  def to_dict(self) -> dict:
    """Return the fields as plain values, for JSON."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, values: dict) -> "FrontendConfig":
    """Return the front end of a config or of a stored file.

    Args:
      values: {field: value} with exactly the fields of this class.

    Raises:
      UserError: If a field is unknown, missing or out of range.
    """
    values = dict(values)
    names = [field.name for field in dataclasses.fields(cls)]
    for name in values:
      if name not in names:
        hint = did_you_mean(str(name), names, cutoff=0.0)
        raise UserError(f"config.frontend.{name}: there is no such field{hint}.")
    missing = [name for name in names if name not in values]
    if missing:
      raise UserError(
        f"config.frontend.{missing[0]}: the field is missing"
        + (f" (and {len(missing) - 1} more: {', '.join(missing[1:])})" if missing[1:] else "")
        + ". The file or config comes from another version or was edited: write it again."
      )
    return cls(**values)

  def difference(self, other: "FrontendConfig") -> dict:
    """Return the fields that differ: {field: (value of self, value of other)}."""
    own, others = self.to_dict(), other.to_dict()
    return {name: (own[name], others[name]) for name in own if own[name] != others[name]}


def _refuse(name, value, reason):
  raise UserError(f"config.frontend.{name}={value!r}: {reason}.")
