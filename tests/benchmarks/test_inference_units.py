"""What counts as one observation: false positives and coverage of simulated studies."""

import pytest

from tests.benchmarks import inference_units
from tests.benchmarks.inference_units import DESIGNS, rates, studies


@pytest.mark.parametrize('design', DESIGNS[:5], ids=lambda design: design.name)
def test_false_positives_are_few_and_intervals_cover(design):
  """1,500 studies: the standard error of either rate is 0.006."""
  found = rates(studies(design, 1500, seed=2), design.ratio, inference_units.now)
  assert found.false_positives <= 0.06
  assert 0.93 <= found.of_mean <= 0.97
  assert 0.93 <= found.of_difference <= 0.97


def test_seeds_of_a_fold_as_observations_fail_this_check():
  """The rule that was used before; so the check can fail."""
  design = DESIGNS[1]
  found = rates(studies(design, 300), design.ratio, inference_units.before)
  assert found.false_positives > 0.2 and found.of_mean < 0.8


@pytest.mark.parametrize('groups, clips', [(20, 50), (60, 10)])
def test_the_crossed_bootstrap_covers_other_seeds_and_other_groups(groups, clips):
  """300 studies: the standard error is 0.013."""
  alone, both = inference_units.crossed_coverage(groups, clips, 300)
  assert 0.92 <= both <= 0.98 and alone < 0.7


def test_p_and_interval_do_not_contradict_each_other_as_they_did():
  before, now = inference_units.contradictions(1000)
  assert now == 0 and before > 0.02
