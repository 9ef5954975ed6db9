"""Fixtures and helpers that the tests of data_prep share."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile


def write_tone(
  path: Path,
  hertz: float = 440.0,
  rate: int = 16000,
  seconds: float = 0.5,
  channels: int = 1,
  **options,
) -> None:
  """Writes a tone with a little noise, which depends on the path and the channel."""
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(zlib.crc32(os.fsencode(path.name)))
  times = np.arange(round(rate * seconds)) / rate
  samples = 0.4 * np.sin(2 * np.pi * hertz * times)
  samples = samples[:, None] + 0.01 * rng.standard_normal((len(times), channels))
  with open(path, 'wb') as file:
    soundfile.write(file, samples, rate, **{'format': path.suffix[1:], **options})


@pytest.fixture
def folder_corpus(tmp_path: Path) -> Path:
  """Two classes of four clips each in the folder layout."""
  root = tmp_path / 'raw'
  for label, hertz in (('low', 300.0), ('high', 3000.0)):
    for number in range(4):
      write_tone(root / label / f'{number}.wav', hertz + 10 * number)
  return root


@pytest.fixture
def real_data() -> Path:
  """The folder of real recordings, if the machine has them."""
  if not os.environ.get('M3NET_REAL_DATA'):
    pytest.skip('M3NET_REAL_DATA is not set')
  return Path(os.environ['M3NET_REAL_DATA'])
