"""The settings that decide how samples become a log-Mel array; quick to import."""

import dataclasses
from typing import Any

from data_prep.errors import UserError
from data_prep.files import json_sha256

FITS = ('pad', 'repeat')
MAX_SAMPLES = 2**26  # largest length of a clip or a recording, in samples


@dataclasses.dataclass(frozen=True)
class Features:
  """How samples become a log-Mel array; two equal `Features` make equal arrays.

  The first five are flags, and each corpus sets `fit`. The others are librosa's defaults, which the
  paper keeps (Section 2.1); they are stored because librosa may change a default.

  Attributes:
    sample_rate: rate in Hz to which every recording is resampled.
    clip_seconds: length in seconds to which every clip is padded, repeated or cut.
    n_fft, win_length: samples in a frame and in its window (0: as n_fft).
    hop_length: samples from one frame to the next.
    n_mels: number of Mel filters between `fmin` and `fmax` Hz (`fmax` 0: half of `sample_rate`).
    fit: 'pad' appends zeros to a short clip, 'repeat' repeats it; both cut the end of a long clip.
    ref, amin, top_db: as in `librosa.power_to_db`; values lie in [max - top_db, max] dB, and not
      below the absolute floor that `amin` gives. `top_db` 0: the floor alone.
    center: zeros of half a frame are put on both sides of a clip.

  Raises:
    UserError: a value cannot be used; the message names its flag.
  """

  sample_rate: int = 16000
  clip_seconds: float = 1.0
  n_fft: int = 512
  hop_length: int = 512
  n_mels: int = 128
  fit: str = 'pad'
  win_length: int = 0
  window: str = 'hann'
  center: bool = True
  pad_mode: str = 'constant'
  power: float = 2.0
  fmin: float = 0.0
  fmax: float = 0.0
  htk: bool = False
  norm: str = 'slaney'
  ref: float = 1.0
  amin: float = 1e-10
  top_db: float = 80.0

  def __post_init__(self) -> None:
    for name, low, high in (
      ('sample_rate', 1000, 384000),
      ('n_fft', 16, 2**16),
      ('n_mels', 1, 1024),
    ):
      value = getattr(self, name)
      if not isinstance(value, int) or not low <= value <= high:
        raise UserError(f'--{name}={value}: give a whole number from {low} to {high}')
    object.__setattr__(self, 'win_length', self.win_length or self.n_fft)
    object.__setattr__(self, 'fmax', float(self.fmax or self.sample_rate / 2))
    object.__setattr__(self, 'clip_seconds', float(self.clip_seconds))
    if not isinstance(self.hop_length, int) or not 1 <= self.hop_length <= self.n_fft:
      raise UserError(
        f'--hop_length={self.hop_length}: give a whole number from 1 to --n_fft={self.n_fft}'
      )
    longest = MAX_SAMPLES / self.sample_rate
    if not self.n_fft / self.sample_rate <= self.clip_seconds <= longest:
      raise UserError(
        f'--clip_seconds={self.clip_seconds}: give at least one frame, '
        f'{self.n_fft / self.sample_rate:.4g}, and at most {longest:.0f}'
      )
    if self.n_mels > self.n_fft // 2 + 1:
      raise UserError(
        f'--n_mels={self.n_mels}: give at most {self.n_fft // 2 + 1} with --n_fft={self.n_fft}'
      )
    if not self.top_db >= 0:
      raise UserError(f'top_db={self.top_db}: give 0 or more')
    if self.fit not in FITS:
      raise UserError(f'fit={self.fit!r}: give {" or ".join(FITS)}')

  @property
  def num_samples(self) -> int:
    """Samples per clip."""
    return round(self.sample_rate * self.clip_seconds)

  @property
  def frames(self) -> int:
    """Frames per clip."""
    return 1 + (self.num_samples - (0 if self.center else self.n_fft)) // self.hop_length

  @property
  def range_db(self) -> float:
    """Range below the loudest value of a clip, dB; infinite without one."""
    return self.top_db or float('inf')

  @property
  def streams(self) -> bool:
    """Whether a frame depends on its own samples alone.

    The frames of a window are then those of the stream, and each has to be computed once.
    """
    return not self.center and not self.top_db

  @property
  def shape(self) -> tuple[int, int]:
    """[n_mels, frames] of every clip."""
    return self.n_mels, self.frames

  def digest(self) -> str:
    """Ten hexadecimal digits, the same for equal settings on every machine."""
    return json_sha256(self.to_json())[:10]

  def to_json(self) -> dict[str, Any]:
    """The settings as a JSON object."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'Features':
    """The settings that `to_json` wrote."""
    return cls(**values)


# The paper's two settings: Section 2.1 (16 kHz, 128 filters, 512-sample FFT) and Section 3.1, which
# says only "44.1 kHz". And one whose frames depend on their own samples alone, 64 of them a second.
PRESETS = {
  'section_2.1': {'sample_rate': 16000, 'n_fft': 512, 'hop_length': 512, 'n_mels': 128},
  'section_3.1': {'sample_rate': 44100, 'n_fft': 512, 'hop_length': 512, 'n_mels': 128},
  'stream': {
    'sample_rate': 16000,
    'n_fft': 512,
    'hop_length': 245,
    'n_mels': 64,
    'center': False,
    'top_db': 0.0,
    'amin': 1e-8,
  },
}
