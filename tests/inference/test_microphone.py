"""The microphone, with a stand-in for the package sounddevice."""

import sys

import numpy as np
import pytest
import soundfile

from data_prep.errors import UserError
from m3net_jax.inference import microphone, predictions
from tests.conftest import FEATURES


class Microphone:
  """Stands for the package sounddevice: hears a recording, at a rate that is not the model's."""

  PortAudioError = type('PortAudioError', (Exception,), {})

  def __init__(self, samples, rate):
    self._samples, self._rate = samples, rate

  def query_devices(self, device=None, kind=None):
    assert kind == 'input'
    if self._samples is None:
      raise self.PortAudioError('Error querying device -1')
    return {'default_samplerate': float(self._rate)}

  def rec(self, frames=None, samplerate=None, channels=None, dtype=None, *, blocking=False):
    assert (samplerate, channels, dtype, blocking) == (self._rate, 1, 'float32', True)
    return np.resize(self._samples, frames)[:, None].astype(np.float32)


def test_a_microphone_is_heard_at_its_own_rate(model, tones_dir, monkeypatch):
  recording = soundfile.read(tones_dir / 'high' / '0.wav')[0]
  monkeypatch.setitem(sys.modules, 'sounddevice', Microphone(np.repeat(recording, 3), 24000))
  samples = microphone.record(0.5, FEATURES.sample_rate)
  assert len(samples) == 0.5 * FEATURES.sample_rate
  heard = predictions.classify(model, 'microphone', samples, 1000)
  assert {model.spec.classes[each.label] for each in heard.segments} == {'high'}
  monkeypatch.setitem(sys.modules, 'sounddevice', Microphone(None, 24000))
  with pytest.raises(UserError, match='--microphone=0.5: Error querying device -1: plug one in'):
    microphone.record(0.5, FEATURES.sample_rate)
  monkeypatch.setitem(sys.modules, 'sounddevice', None)
  with pytest.raises(UserError, match='--microphone=0.5: sounddevice cannot be loaded'):
    microphone.record(0.5, FEATURES.sample_rate)
