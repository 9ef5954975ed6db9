"""The detector against a plain loop, as firmware writes it."""

import json

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.inference import detector
from m3net_jax.inference.detector import Settings

CLASSES = ('no', 'yes', '_unknown_')


def plain_loop(stored, settings):
  """The definition, one window after the other."""
  last, run, wait, found = [], [0] * stored.shape[1], 0, []
  for window, row in enumerate(stored.tolist()):
    last = [*last, row][-settings.smooth :]
    total = [sum(each[k] for each in last) for k in range(len(row))]
    for k, threshold in enumerate(settings.thresholds):
      above = threshold > 0 and total[k] >= threshold * settings.smooth
      run[k] = run[k] + 1 if above else 0
    if wait:
      wait -= 1
      continue
    ready = [k for k in range(len(row)) if run[k] >= settings.min_windows]
    if ready:
      label = max(ready, key=lambda k: total[k])
      found.append((window, label, total[label] // settings.smooth))
      wait = settings.refractory
  return found


@pytest.mark.parametrize('smooth', [1, 3, 16])
@pytest.mark.parametrize('min_windows', [1, 2, 5])
def test_is_the_plain_loop(smooth, min_windows):
  rng = np.random.default_rng(smooth + min_windows)
  # Slow curves, so that classes are above their thresholds for some windows; ties too.
  noise = rng.normal(size=(3000, 3))
  walk = np.stack([np.convolve(each, np.ones(40) / 2, 'same') for each in noise.T], 1)
  powers = np.exp(walk - walk.max(1, keepdims=True))
  stored = detector.of_probabilities(np.round(powers / powers.sum(1, keepdims=True), 1))
  for refractory in (0, 3):
    settings = Settings(16, smooth, min_windows, refractory, (9000, 16000, 0))
    found = detector.events(stored, settings)
    assert [tuple(event) for event in found] == plain_loop(stored, settings)
    assert len(found) > 3
    assert {event.label for event in found} == {0, 1}


def test_of_equal_classes_the_first_is_reported():
  stored = np.full((4, 3), detector.ONE // 3, np.uint16)
  (event, *_) = detector.events(stored, Settings(1, 1, 1, 9, (0, 5000, 5000)))
  assert event.label == 1


def test_probabilities_of_int8_logits():
  rng = np.random.default_rng(0)
  logits, scale = rng.integers(-128, 128, (500, 12)), 0.11
  real = np.exp(scale * logits.astype(float))
  exact = real / real.sum(1, keepdims=True)
  stored = detector.of_stored(logits, scale)
  assert stored.dtype == np.uint16
  # The table is rounded to 1/65535 of the largest term: 12 of them, and the division.
  assert np.abs(stored - detector.ONE * exact).max() < 4
  assert detector.of_stored(np.array([[127, -128]]), 10.0).tolist() == [[detector.ONE, 0]]


def test_a_firmware_of_32_bits_has_no_overflow():
  terms = np.full(12, 65535, np.uint64)
  assert terms.max() * detector.ONE + terms.sum() // 2 < 2**32


def test_json():
  settings = Settings(16, 3, 2, 4, (100, 32768, 0))
  values = json.loads(json.dumps(settings.to_json(CLASSES)))
  assert values['thresholds'] == {'no': 100, 'yes': 32768, '_unknown_': 0}
  assert Settings.from_json(values, CLASSES) == settings
  for name, value in (('smooth', 0), ('smooth', 17), ('hop_frames', 2.0), ('refractory', True)):
    with pytest.raises(ValueError, match=name):
      Settings.from_json({**values, name: value}, CLASSES)
  with pytest.raises(ValueError, match='yes'):
    Settings.from_json({**values, 'thresholds': {'no': 1, '_unknown_': 0}}, CLASSES)
  with pytest.raises(ValueError, match='no'):
    Settings.from_json({**values, 'thresholds': {**values['thresholds'], 'no': -1}}, CLASSES)


def test_default_waits_for_a_clip_and_reports_no_negatives():
  features = Features(sample_rate=16000, clip_seconds=1.0, hop_length=256)
  settings = detector.default(CLASSES, features, 0.5)
  assert settings.thresholds == (16384, 16384, 0)
  hop = settings.hop_frames * features.hop_length
  assert hop / 16000 == pytest.approx(1 / 8, rel=0.05)
  assert settings.refractory * hop == pytest.approx(16000, rel=0.05)
  assert detector.seconds(2, settings, features) == pytest.approx(1 + 2 * hop / 16000)
  with pytest.raises(UserError, match='negatives'):
    detector.check(detector.default(('_silence_',), features), ('_silence_',))
