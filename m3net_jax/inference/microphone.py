"""Samples from the microphone. Needs sounddevice, the extra `microphone`."""

import sys

import numpy as np

from data_prep import audio, files
from data_prep.errors import UserError

LONGEST = 3600  # seconds


def record(seconds: float, sample_rate: int) -> np.ndarray:
  """Records mono float32 samples and resamples them to `sample_rate` Hz.

  A microphone records at its own rate: not every one can at the model's.

  Raises:
    UserError: sounddevice or PortAudio is missing, or there is no microphone.
  """
  if not 0 < seconds <= LONGEST:
    raise UserError(f'--microphone={seconds:g}: give the seconds to record, up to {LONGEST}')
  try:
    import sounddevice
  except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
    raise UserError(
      f'--microphone={seconds:g}: sounddevice cannot be loaded ({error}): pip install sounddevice, '
      'and PortAudio from your system'
    ) from error
  print(f'listening for {seconds:g} s', file=sys.stderr, flush=True)
  try:
    rate = round(sounddevice.query_devices(kind='input')['default_samplerate'])
    samples = sounddevice.rec(round(seconds * rate), rate, 1, 'float32', blocking=True)
  except sounddevice.PortAudioError as error:
    raise UserError(
      f'--microphone={seconds:g}: {files.one_line(error)}: plug one in, or give a file'
    ) from error
  return audio.resample(samples[:, 0], rate, sample_rate)
