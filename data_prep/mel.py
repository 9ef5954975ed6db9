"""The one definition of the features: recordings' samples in, log-Mel arrays in dB out.

Training and inference both call `log_mel`. It is `librosa.feature.melspectrogram`
followed by `librosa.power_to_db` with every parameter written out in `Features`; librosa
makes the filters, and the few array operations between are done here, without
librosa's per-call cost (equal to librosa by test). Knows nothing of files.
"""
import dataclasses
import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse

from data_prep.errors import UserError
from data_prep.files import json_sha256

FITS = ('pad', 'repeat')
MAX_SAMPLES = 2**26  # longest clip or recording that is taken, in samples


@dataclasses.dataclass(frozen=True)
class Features:
  """How samples become a log-Mel array; two equal `Features` make equal arrays.

  The first six are flags. The others are librosa's defaults, which the paper keeps
  (Section 2.1), written out because a default may change under a stored array.

  Attributes:
    sample_rate: Hz, to which every recording is resampled.
    clip_seconds: length to which every clip is padded, repeated or cut, in seconds.
    n_fft, win_length: samples in a frame and in its window (0: as n_fft).
    hop_length: samples from one frame to the next.
    n_mels: Mel filters between `fmin` and `fmax` Hz (0: half of `sample_rate`).
    fit: 'pad' puts zeros after a short clip, 'repeat' plays it again; both cut a long one's end.
    ref, amin, top_db: as in `librosa.power_to_db`; values lie in [max - top_db, max] dB.

  Raises:
    UserError: naming the flag whose value cannot be used.
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
    for name, low, high in (('sample_rate', 1000, 384000), ('n_fft', 16, 2**16), ('n_mels', 1, 1024)):
      value = getattr(self, name)
      if not isinstance(value, int) or not low <= value <= high:
        raise UserError(f'--{name}={value}: give a whole number from {low} to {high}')
    object.__setattr__(self, 'win_length', self.win_length or self.n_fft)
    object.__setattr__(self, 'fmax', float(self.fmax or self.sample_rate / 2))
    object.__setattr__(self, 'clip_seconds', float(self.clip_seconds))
    if not isinstance(self.hop_length, int) or not 1 <= self.hop_length <= self.n_fft:
      raise UserError(f'--hop_length={self.hop_length}: give a whole number from 1 to --n_fft={self.n_fft}')
    longest = MAX_SAMPLES / self.sample_rate
    if not self.n_fft / self.sample_rate <= self.clip_seconds <= longest:
      raise UserError(f'--clip_seconds={self.clip_seconds}: give at least one frame, '
                      f'{self.n_fft / self.sample_rate:.4g}, and at most {longest:.0f}')
    if self.n_mels > self.n_fft // 2 + 1:
      raise UserError(f'--n_mels={self.n_mels}: at most {self.n_fft // 2 + 1} with --n_fft={self.n_fft}')
    if self.fit not in FITS:
      raise UserError(f'fit={self.fit!r}: known are {", ".join(FITS)}')

  @property
  def num_samples(self) -> int:
    return round(self.sample_rate * self.clip_seconds)

  @property
  def frames(self) -> int:
    return 1 + (self.num_samples - (0 if self.center else self.n_fft)) // self.hop_length

  @property
  def shape(self) -> tuple[int, int]:
    """[n_mels, frames] of every clip."""
    return self.n_mels, self.frames

  def digest(self) -> str:
    """Ten hexadecimal digits, the same for equal settings on every machine."""
    return json_sha256(self.to_json())[:10]

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'Features':
    return cls(**values)


# The paper's two settings: Section 2.1 (16 kHz, 128 filters, 512-sample FFT) and Section 3.1, which says "44.1 kHz"
# and no more.
PRESETS = {
    'section_2.1': {'sample_rate': 16000, 'n_fft': 512, 'hop_length': 512, 'n_mels': 128},
    'section_3.1': {'sample_rate': 44100, 'n_fft': 512, 'hop_length': 512, 'n_mels': 128},
}


class Tables(NamedTuple):
  window: np.ndarray  # [n_fft] float32
  filters: scipy.sparse.csr_array  # [n_mels, 1 + n_fft // 2] float32; a filter covers few bins


@functools.lru_cache(maxsize=8)
def tables(features: Features) -> Tables:
  """librosa's window and Mel filters; about a second the first time, for importing librosa."""
  from librosa import filters, util
  window = filters.get_window(features.window, features.win_length, fftbins=True)
  with warnings.catch_warnings():
    # 128 filters over 257 bins leave some of the lowest filters empty, as in the paper.
    warnings.filterwarnings('ignore', message='Empty filters')
    bank = filters.mel(sr=features.sample_rate,
                       n_fft=features.n_fft,
                       n_mels=features.n_mels,
                       fmin=features.fmin,
                       fmax=features.fmax,
                       htk=features.htk,
                       norm=features.norm,
                       dtype=np.float32)
  return Tables(util.pad_center(window, size=features.n_fft).astype(np.float32), scipy.sparse.csr_array(bank))


def fit_length(samples: np.ndarray, features: Features) -> np.ndarray:
  """Samples [any length] as [num_samples]: padded with zeros or repeated, or cut at the end."""
  missing = features.num_samples - len(samples)
  if missing <= 0:
    return samples[:features.num_samples]
  return np.pad(samples, (0, missing), mode='wrap' if features.fit == 'repeat' else 'constant')


def log_mel(samples: np.ndarray, features: Features, made: Tables | None = None) -> np.ndarray:
  """The log-Mel spectrogram of one clip.

  Args:
    samples: [num_samples] float32, as `fit_length` returns them.
    features: the settings.
    made: `tables(features)` where the caller has them, so that a worker never imports librosa.

  Returns:
    [n_mels, frames] float32, dB relative to `features.ref`.
  """
  if samples.shape != (features.num_samples,):
    raise ValueError(f'samples: shape {samples.shape} is not ({features.num_samples},)')
  made = made or tables(features)
  samples = samples.astype(np.float32, copy=False)
  if features.center:
    samples = np.pad(samples, features.n_fft // 2, mode=features.pad_mode)
  frames = np.lib.stride_tricks.sliding_window_view(samples, features.n_fft)[::features.hop_length]
  magnitude = np.abs(scipy.fft.rfft(frames * made.window))
  mel = made.filters @ (magnitude**features.power).T
  decibels = 10.0 * np.log10(np.maximum(np.float32(features.amin), mel))
  decibels -= np.float32(10.0 * np.log10(max(features.amin, features.ref)))
  return np.maximum(decibels, decibels.max() - np.float32(features.top_db))
