"""The Wilcoxon tests against scipy, against all sign vectors, and under the null hypothesis."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats import wilcoxon
from m3net_jax.stats.wilcoxon import one_sample, paired, unpaired

UNTIED = np.array([0.011, -0.003, 0.025, 0.017, -0.008, 0.031, 0.006, 0.0205, 0.0015, 0.0135])
CLIPS = 600


def by_all_signs(differences: np.ndarray) -> float:
  """Two-sided p: fraction of all sign vectors of the non-zero differences that are as extreme."""
  sizes = np.abs(differences[differences != 0])
  ranks = stats.rankdata(np.round(sizes, 9))
  signs = np.array(list(itertools.product([-1, 1], repeat=sizes.size)))
  observed = abs(np.sum(np.sign(differences[differences != 0]) * ranks))
  return float(np.mean(np.abs(signs @ ranks) >= observed - 1e-9))


def tied_lanes(seed: int, lanes: int, difference: float = 0.008) -> tuple[np.ndarray, np.ndarray]:
  """Accuracies as counts of 600 clips: ties and zero differences occur as in a study."""
  rng = np.random.default_rng(seed)
  counts = rng.integers(540, 552, size=lanes)
  other = counts - np.rint(rng.normal(difference * CLIPS, 4, size=lanes)).astype(int)
  return counts / CLIPS, other / CLIPS


def test_untied_p_is_scipys_exact_one_and_all_signs_agree():
  test = paired(UNTIED + 0.9, np.full(10, 0.9))
  expected = stats.wilcoxon(UNTIED, method='exact')
  assert test.method == 'exact'
  assert (test.statistic, test.ties, test.zero_differences, test.note) == (
    expected.statistic,
    0,
    0,
    '',
  )
  assert test.p_value == pytest.approx(expected.pvalue, abs=1e-12)
  assert test.p_value == pytest.approx(by_all_signs(UNTIED), abs=1e-12)
  assert test.smallest_p == 2 / 2**10


@pytest.mark.parametrize('seed', range(8))
def test_ties_and_zeros_count_half_against_the_distribution_without_ties(seed):
  a, b = tied_lanes(seed, lanes=12)
  test = paired(a, b)
  differences = np.rint((a - b) * CLIPS)
  nonzero = differences[differences != 0]
  shared = sum(list(np.abs(nonzero)).count(size) > 1 for size in np.abs(nonzero))
  assert test.ties == shared > 0
  assert test.zero_differences == np.sum(differences == 0)
  assert 'mid-ranks' in test.method and f'{shared} tied differences' in test.note
  statistic = stats.wilcoxon(differences, zero_method='zsplit', method='asymptotic').statistic
  assert test.statistic == statistic
  signs = np.array(list(itertools.product([0, 1], repeat=12)))
  expected = min(1, 2 * np.mean(signs @ np.arange(1, 13) <= statistic))
  assert test.p_value == pytest.approx(expected, abs=1e-12)


def test_equal_differences_are_ties_although_their_last_bits_differ():
  a, b = (
    np.array([0.3, 0.8, 0.7, 0.9, 0.95, 0.99, 0.6]),
    np.array([0.2, 0.7, 0.6, 0.8, 0.8, 0.7, 0.2]),
  )
  # The premise: the four differences of 0.1 are not equal as floats.
  assert len(set((a - b)[:4])) > 1
  assert paired(a, b).ties == 4
  assert unpaired([0.1 + 0.2, 0.5, 0.6], [0.3, 0.7, 0.8]).ties == 2


def test_zero_differences_are_counted_and_noted():
  differences = np.array([0, 0, 0.01, 0.02, -0.005, 0.04, 0.03, 0.07, 0.015])
  test = paired(0.9 + differences, np.full(9, 0.9))
  assert (test.n, test.zero_differences) == (9, 2)
  assert test.method == 'exact, zeros count half and ties have mid-ranks'
  assert test.note == '2 zero differences'
  walsh = [(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]]
  assert test.difference == pytest.approx(np.median(walsh))


def test_effect_size_is_the_share_of_positive_ranks_minus_that_of_negative_ones():
  # |differences| 1 to 6 points, only the third negative: plus 18, minus 3.
  test = paired([0.91, 0.92, 0.87, 0.94, 0.95, 0.96], [0.90] * 6)
  assert test.effect_size == pytest.approx((18 - 3) / 21)
  assert paired([0.90] * 6, [0.91, 0.92, 0.87, 0.94, 0.95, 0.96]).effect_size == pytest.approx(
    -15 / 21
  )


@pytest.mark.parametrize('n', [1, 2, 3, 4, 5])
def test_too_few_lanes_get_a_note_and_no_p(n):
  test = paired(0.95 + 0.001 * np.arange(1, n + 1), np.full(n, 0.9), margin=0.01)
  assert test.p_value is None and test.ci95 is None
  assert test.smallest_p == min(1, 2 / 2**n)
  assert test.note == f'n = {n} cannot reach 0.05 (smallest possible p = {test.smallest_p:.3g})'


def test_note_of_four_lanes():
  assert paired([0.9, 0.91, 0.93, 0.96], [0.8] * 4).note == (
    'n = 4 cannot reach 0.05 (smallest possible p = 0.125)'
  )


def test_equal_lanes_are_no_difference():
  same = paired([0.9] * 14, [0.9] * 14, margin=0.01)
  assert (same.p_value, same.effect_size, same.difference, same.ci95) == (1, 0, 0, (0, 0))
  assert same.equivalence_p == 2**-14


def test_six_lanes_can_reach_it():
  test = paired(0.95 + 0.001 * np.arange(6), np.full(6, 0.9))
  assert test.p_value == pytest.approx(2 / 2**6)


def test_hodges_lehmann_and_its_interval_by_inverting_the_test():
  differences = UNTIED
  test = paired(differences + 0.9, np.full(10, 0.9))
  walsh = [(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]]
  assert test.difference == pytest.approx(np.median(walsh))
  low, high = test.ci95
  # The interval contains the shifts that the exact test does not reject.
  for shift, kept in [
    (low + 1e-6, True),
    (low - 1e-6, False),
    (high - 1e-6, True),
    (high + 1e-6, False),
  ]:
    assert (by_all_signs(differences - shift) > 0.05) == kept, shift


def test_one_sample_is_signed_rank_about_the_figure_and_named_so():
  lanes = 0.97 + UNTIED
  test = one_sample(lanes, 0.9744)
  expected = stats.wilcoxon(lanes - 0.9744, method='exact')
  assert test.p_value == pytest.approx(expected.pvalue) and test.statistic == expected.statistic
  assert test.name == 'one-sample Wilcoxon signed-rank against the published 97.44%'


def test_unpaired_without_ties_is_scipys_exact_mann_whitney():
  a, b = 0.9 + UNTIED, 0.893 + UNTIED[:7] * 1.37
  test = unpaired(a, b)
  expected = stats.mannwhitneyu(a, b, method='exact')
  assert (test.method, test.n, test.ties, test.statistic) == ('exact', 17, 0, expected.statistic)
  assert test.p_value == pytest.approx(expected.pvalue, abs=1e-12)
  assert test.smallest_p == pytest.approx(2 / math.comb(17, 7))
  above = sum(x > y for x in a for y in b)
  assert test.effect_size == pytest.approx(2 * above / 70 - 1)
  assert unpaired(b, a).effect_size == pytest.approx(-test.effect_size) and above > 35
  assert test.difference == pytest.approx(np.median(np.subtract.outer(a, b)))
  low, high = test.ci95
  for shift, kept in [
    (low + 1e-6, True),
    (low - 1e-6, False),
    (high - 1e-6, True),
    (high + 1e-6, False),
  ]:
    assert (stats.mannwhitneyu(a - shift, b, method='exact').pvalue > 0.05) == kept, shift


@pytest.mark.parametrize('seed', range(4))
def test_unpaired_ties_count_half_against_the_distribution_without_ties(seed):
  a, b = tied_lanes(seed, lanes=7)
  b = b[:5]
  test = unpaired(a, b)
  above = sum((x > y) + (x == y) / 2 for x in np.rint(a * CLIPS) for y in np.rint(b * CLIPS))
  assert test.ties > 0 and test.statistic == above
  counts = [sum(lanes) - 28 for lanes in itertools.combinations(range(1, 13), 7)]
  expected = min(1, 2 * np.mean(np.array(counts) <= min(above, 35 - above)))
  assert test.p_value == pytest.approx(expected, abs=1e-12)


def test_unpaired_with_many_lanes_says_that_p_is_approximate():
  rng = np.random.default_rng(3)
  a, b = rng.normal(size=70), rng.normal(0.4, size=60)
  test = unpaired(a, b)
  assert test.method == 'normal approximation'
  assert test.p_value == pytest.approx(stats.mannwhitneyu(a, b, method='asymptotic').pvalue)
  low, high = test.ci95
  assert low < test.difference < high
  assert (
    stats.mannwhitneyu(a - low - 0.01, b).pvalue
    > 0.05
    > stats.mannwhitneyu(a - low + 0.02, b).pvalue
  )


def test_unpaired_too_few():
  test = unpaired([0.95, 0.96, 0.97], [0.9, 0.91, 0.92])
  assert test.p_value is None
  assert test.note == 'n = 3 + 3 cannot reach 0.05 (smallest possible p = 0.1)'


@pytest.mark.parametrize('a, b', [([0.9, 0.8], [0.9]), ([], []), ([0.9, math.nan], [0.9, 0.8])])
def test_lanes_that_are_missing_are_refused(a, b):
  with pytest.raises(ValueError):
    paired(a, b)


@pytest.mark.parametrize('deviation', [1, 3, 20])  # in clips: many ties, some, few
def test_false_positives_and_coverage_under_the_null_at_14_seeds(deviation):
  rng = np.random.default_rng(11)
  studies = 2000
  a, b = (540 + np.rint(rng.normal(0, deviation, (2, studies, 14)))) / CLIPS
  tests = [paired(x, y) for x, y in zip(a, b)]
  rate = np.mean([test.p_value <= 0.05 for test in tests])
  # The level without ties is 0.0494, as p is discrete; the standard error is 0.005.
  assert 0.03 < rate <= 0.06
  covered = np.mean([test.ci95[0] <= 0 <= test.ci95[1] for test in tests])
  assert covered == 1 - rate


@pytest.mark.parametrize('test_of', [paired, lambda a, b, margin: unpaired(a, b[:9], margin)])
def test_p_and_interval_never_contradict_each_other(test_of):
  """4,000 studies of 14 lanes whose accuracies are counts of few or many clips."""
  rng = np.random.default_rng(7)
  for _ in range(4000):
    deviation = rng.choice([0.5, 1, 2, 5, 30])
    a, b = np.rint(rng.normal([[0], [rng.choice([0, 0.5, 1]) * deviation]], deviation, (2, 14)))
    test = test_of(a / CLIPS, b / CLIPS, margin=0.0051)
    low, high = test.ci95
    assert (test.p_value <= 0.05) == (not low <= 0 <= high)
    assert low <= test.difference <= high
    # The margin lies between two counts of clips, so it is no end of an interval.
    assert (test.equivalence_p <= 0.05) == (max(map(abs, test.ci90)) < 0.0051)


def test_equivalence_is_two_one_sided_signed_rank_tests():
  a, b = 0.9 + UNTIED, np.full(10, 0.9 + UNTIED.mean())
  for margin in (0.002, 0.008, 0.02):
    expected = max(
      stats.wilcoxon(a - b + margin, alternative='greater', method='exact').pvalue,
      stats.wilcoxon(a - b - margin, alternative='less', method='exact').pvalue,
    )
    assert paired(a, b, margin).equivalence_p == pytest.approx(expected, abs=1e-12)
  assert paired(a, b).equivalence_p is None


def test_null_distributions_sum_to_one_at_any_number_of_lanes():
  assert wilcoxon.sign_null(2 * np.arange(1, 141)).sum() == pytest.approx(1)
  assert wilcoxon.division_null(2 * np.arange(1, 29), 14).sum() == pytest.approx(1)
