"""A trained model and a long recording, for the tests of inference."""

import numpy as np
import pytest
import soundfile

from m3net_jax.inference import classifier


@pytest.fixture(scope='module')
def model(trained):
  return classifier.load(str(trained.path))


@pytest.fixture(scope='module')
def long_recording(tones_dir, tmp_path_factory):
  """Six seconds, two of each tone, as FLAC of two channels at 16 kHz."""
  parts = [
    soundfile.read(tones_dir / name / f'{take}.wav')[0]
    for name in ('low', 'high', 'middle')
    for take in range(8)
  ]
  samples = np.repeat(np.concatenate(parts), 2)  # from 8 kHz
  path = tmp_path_factory.mktemp('long') / 'joined.flac'
  soundfile.write(path, np.stack([samples, samples], 1), 16000)
  return path
