"""Reproducible speech from the eSpeak NG library of the wheel `espeakng-loader`."""

import _ctypes
import ctypes
import os
from types import TracebackType
from typing import Any

import numpy as np

from data_prep.errors import UserError

# AUDIO_OUTPUT_SYNCHRONOUS: no sound device; the callback has all samples when a call returns.
_RETRIEVAL = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(
  ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Speaker:
  """One voice, with its own copy of the library.

  The library keeps the phase of its flutter and its random numbers from one call to the next, and
  no call resets them. With a new copy and a seed, the n-th word of a speaker has the same samples
  on every run, even if other speakers spoke before.

  Attributes:
    rate: sample rate in Hz.
  """

  def __init__(self, accent: str, variant: str, seed: int):
    """Loads a voice.

    Args:
      accent: for example 'en-us'.
      variant: one of `variants()`.
      seed: of the library's noise.

    Raises:
      ValueError: eSpeak NG has no such accent or variant.
    """
    if variant not in variants():
      raise ValueError(
        f'variant={variant!r}: eSpeak NG has no such variant; give one of variants()'
      )
    self._library = ctypes.CDLL(loader().get_library_path())
    self._chunks: list[np.ndarray] = []
    self._callback = _CALLBACK(self._collect)  # the library stores only its address
    _c_library().srand(seed)
    self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    self.rate = self._library.espeak_Initialize(_RETRIEVAL, 0, loader().get_data_path().encode(), 0)
    self._library.espeak_SetSynthCallback(self._callback)
    if self.rate <= 0 or self._library.espeak_SetVoiceByName(f'{accent}+{variant}'.encode()):
      self.close()
      raise ValueError(f'accent={accent!r}: eSpeak NG cannot load it')

  def _collect(self, samples, count: int, events) -> int:
    if samples and count:
      self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0

  def say(self, text: str, speed: int, pitch: int, pitch_range: int) -> np.ndarray:
    """Speaks a word.

    Args:
      text: the word.
      speed: words per minute, 80 to 450.
      pitch: 0 to 100.
      pitch_range: 0 to 100.

    Returns:
      Samples [any] int16 at `rate` Hz.
    """
    for parameter, value in ((_RATE, speed), (_PITCH, pitch), (_RANGE, pitch_range)):
      self._library.espeak_SetParameter(parameter, value, 0)
    self._chunks.clear()
    spoken = text.encode() + b'\0'
    self._library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken)), 0, 0, 0, _UTF8, None, None)
    return np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)

  def close(self) -> None:
    """Ends the voice and unloads its copy of the library."""
    self._library.espeak_Terminate()
    unload = getattr(_ctypes, 'dlclose', None) or _ctypes.FreeLibrary  # the latter on Windows
    unload(self._library._handle)

  def __enter__(self) -> 'Speaker':
    return self

  def __exit__(
    self, kind: type | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    self.close()


def variants() -> set[str]:
  """Names of the voice variants in the wheel."""
  return set(os.listdir(os.path.join(loader().get_data_path(), 'voices', '!v')))


def loader() -> Any:
  """The package that contains the library.

  Raises:
    UserError: the extra `synthetic` is not installed.
  """
  try:
    import espeakng_loader
  except ImportError as error:
    raise UserError(
      '--corpus=synthetic_commands: needs eSpeak NG (GPL-3.0-or-later): run '
      "pip install -e '.[synthetic]' in the folder of m3net_jax"
    ) from error
  return espeakng_loader


def _c_library() -> ctypes.CDLL:
  """The C library of this process."""
  return ctypes.cdll.msvcrt if os.name == 'nt' else ctypes.CDLL(None)
