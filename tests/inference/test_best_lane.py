"""The best lane is chosen by validation accuracy."""

import jax
import pytest

from m3net_jax.inference import best_lane


def test_the_lane_is_the_best_by_validation_the_first_of_equals(trained):
  lanes = trained.results()['variants']['full']['lanes']
  best = max(lane['validation_accuracy'] for lane in lanes)
  first = next(lane for lane in lanes if lane['validation_accuracy'] == best)
  assert best_lane.load(trained).row == first
  assert best_lane.load(trained).candidates == 2
  asked = best_lane.load(trained, seed=1)
  assert asked.name.seed == 1 and asked.candidates == 1  # the card does not call it the best
  # Not the best by test accuracy, which would choose on what is to be measured.
  results = trained.results()
  doctored = [
    {**lanes[0], 'validation_accuracy': 0.9, 'test_accuracy': 0.1},
    {**lanes[1], 'validation_accuracy': 0.8, 'test_accuracy': 1.0},
  ]
  results['variants']['full']['lanes'] = doctored
  assert best_lane.load(_With(trained, results)).name.seed == 0
  # A better lane of a seed that was added after the study was read.
  doctored.append({**lanes[1], 'seed': 2, 'validation_accuracy': 1.0})
  assert best_lane.load(_With(trained, results)).name.seed == 0


def test_a_device_that_is_absent_is_no_damage_of_the_checkpoint(trained, monkeypatch):
  def absent():
    raise RuntimeError('no device')

  monkeypatch.setattr(jax, 'devices', absent)
  monkeypatch.setattr(best_lane.checkpoint, 'restore_lane', lambda *_: pytest.fail('was read'))
  with pytest.raises(RuntimeError, match='no device'):
    best_lane.load(trained)


class _With:
  """A workdir with other results."""

  def __init__(self, study, results):
    self._study, self._results = study, results

  def results(self):
    return self._results

  def __getattr__(self, name):
    return getattr(self._study, name)
