"""False positives and coverage of the tests and intervals by simulation, before and after.

    python -m tests.benchmarks.inference_units

Two variants without a true difference are studied thousands of times. "Before": every lane is an
observation, also the seeds of one fold (the rule until November 2026). "Now": what the project
computes. A rate above 0.05 is too many false positives; coverage is that of the 95 % interval of
the mean of one variant, and of the interval of the difference.

The simulated accuracy of a lane is the sum of four independent normal parts: one of the corpus and
one of the split, each for the variant alone, and one of the seed; an accuracy is rounded to clips.
The part of the split is as large as that of the seed. The part of the corpus, shared by all splits,
gives two splits the correlation that Nadeau and Bengio (2003) assume, test / (train + test), or is
absent: then the study is asked about other splits of these clips only. The last rows train a real
learner, nearest class mean, on clips drawn from a known population, two views of equal worth.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from absl import flags
from scipy import stats

from data_prep import cli
from m3net_jax.stats import crossed, holm, intervals, resampled, wilcoxon

_STUDIES = flags.DEFINE_integer('studies', 4000, 'simulated studies per row')
MEAN, SPREAD, CLIPS = 0.9, 0.02, 1000
Lanes = dict[tuple[int, int], float]


class Design(NamedTuple):
  """A study: `ratio` is test / training clips of several splits, None for one split."""

  name: str
  splits: int
  seeds: int
  ratio: float | None
  corpus: bool  # whether splits are correlated


DESIGNS = (
  Design('one split, 14 seeds', 1, 14, None, False),
  Design('5 folds x 3 seeds', 5, 3, 1 / 3, True),
  Design('5 folds x 14 seeds', 5, 14, 1 / 3, True),
  Design('10 folds x 1 seed', 10, 1, 1 / 8, True),
  Design('14 split seeds', 14, 1, 1 / 3, True),
  Design('5 folds x 3 seeds, these clips only', 5, 3, 1 / 3, False),
  Design('14 split seeds, these clips only', 14, 1, 1 / 3, False),
)


class Rates(NamedTuple):
  """False positives at 0.05, coverage of the mean and of the difference, as fractions."""

  false_positives: float
  of_mean: float
  of_difference: float


def studies(design: Design, count: int, seed: int = 0) -> Iterator[tuple[Lanes, Lanes]]:
  """Yields the lanes of two variants of the same true accuracy, MEAN."""
  rng = np.random.default_rng(seed)
  shape = (design.splits, design.seeds)
  # One split has no part of its own: the study is about seeds on this split.
  split = SPREAD if design.splits > 1 else 0.0
  between = split**2 + SPREAD**2 / design.seeds
  share = design.ratio / (1 + design.ratio) if design.corpus else 0.0
  corpus = np.sqrt(between * share / (1 - share))
  for _ in range(count):
    variants = []
    for _ in range(2):
      accuracy = MEAN + rng.normal(0, corpus) + rng.normal(0, split, (shape[0], 1))
      accuracy = accuracy + rng.normal(0, SPREAD, shape)
      rounded = np.rint(accuracy * CLIPS) / CLIPS
      variants.append({(s, f): rounded[f, s] for f in range(shape[0]) for s in range(shape[1])})
    yield variants[0], variants[1]


def now(first: Lanes, second: Lanes, ratio: float | None) -> tuple:
  """p, interval of the mean, interval of the difference, as the project computes them."""
  (row,) = holm.tests_table({'full': first, 'other': second}, ratio=ratio)
  return row['p_value'], resampled.over_lanes(first, ratio).interval, row['difference_ci95']


def before(first: Lanes, second: Lanes, ratio: float | None) -> tuple:
  """The same with every lane as an observation."""
  test = wilcoxon.paired(list(second.values()), list(first.values()))
  return test.p_value, intervals.mean_interval(list(first.values())).interval, test.ci95


def rates(
  lanes: Iterator[tuple[Lanes, Lanes]], ratio: float | None, rule: Callable, mean: float = MEAN
) -> Rates:
  """The rates of a rule over simulated studies."""
  found = []
  for first, second in lanes:
    p, of_mean, of_difference = rule(first, second, ratio)
    found.append(
      (
        p is not None and p <= 0.05,
        of_mean[0] <= mean <= of_mean[1],
        of_difference is None or of_difference[0] <= 0 <= of_difference[1],
      )
    )
  return Rates(*np.mean(found, axis=0))


def learners(splits: int, folds: bool, count: int, seed: int = 0) -> Iterator[tuple[Lanes, Lanes]]:
  """Nearest class mean on 300 clips of a known population; 6:2:2, or 5 folds with 3 to train on."""
  for corpus in range(count):
    rng = np.random.default_rng([seed, corpus])
    labels, views = _clips(rng, 300)
    fold = rng.permutation(300) % 5
    lanes: tuple[Lanes, Lanes] = ({}, {})
    for split in range(splits):
      part = (fold - split) % 5 if folds else rng.permutation(300) % 5
      train, test = part >= 2, part == 0
      for view, accuracies in zip(views, lanes):
        accuracies[0, split] = _accuracy(view[train], labels[train], view[test], labels[test])
    yield lanes


def learner_mean(seed: int = 1, corpora: int = 400) -> float:
  """The expected accuracy of these learners: 180 clips to train on, many to test on."""
  accuracies = []
  for corpus in range(corpora):
    rng = np.random.default_rng([seed, corpus])
    labels, views = _clips(rng, 180)
    tested, new = _clips(rng, 3000)
    accuracies += [_accuracy(old, labels, view, tested) for old, view in zip(views, new)]
  return float(np.mean(accuracies))


def _clips(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
  labels = rng.integers(0, 4, count)
  return labels, [1.1 * np.eye(4, 12)[labels] + rng.normal(0, 1, (count, 12)) for _ in range(2)]


def _accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, tested: np.ndarray) -> float:
  means = np.stack([train[labels == label].mean(0) for label in range(4)])
  distances = (means**2).sum(1) - 2 * test @ means.T
  return float((distances.argmin(1) == tested).mean())


def crossed_coverage(groups: int, clips: int, count: int, seed: int = 0) -> tuple[float, float]:
  """Coverage of the intervals over seeds alone, and over seeds and groups, of 14 lanes.

  The probability that a lane is right about a clip depends on lane, group and clip; the truth is
  the mean over all of them.
  """
  population = np.random.default_rng(99)
  right = lambda lane, group, clip: (lane + group + clip > 0).astype(np.float64)
  draw = lambda rng, lanes, groups, clips: right(
    rng.normal(0, 0.05, (lanes, 1, 1)),
    rng.normal(1.3, 0.5, (1, groups, 1)),
    rng.normal(0, 1, (1, groups, clips)) + rng.normal(0, 0.3, (lanes, groups, clips)),
  )
  truth = np.mean([draw(population, 40, 200, 100).mean() for _ in range(20)])
  covered = []
  for study in range(count):
    answers = draw(np.random.default_rng([seed, study]), 14, groups, clips)
    both = crossed.interval(answers.sum(2), np.full((14, groups), float(clips)), range(14))
    alone = intervals.mean_interval(answers.mean((1, 2))).interval
    covered.append([ends[0] <= truth <= ends[1] for ends in (alone, both)])
  of_seeds, of_both = np.mean(covered, axis=0)
  return float(of_seeds), float(of_both)


def contradictions(count: int, seed: int = 7) -> tuple[float, float]:
  """How often p and interval of a row contradict each other, before and now.

  14 pairs of lanes; a difference is a whole number of test clips, with a deviation of 1 to 8.
  Before: zeros were dropped for p, and ties had mid-ranks, but the interval knew of neither.
  """
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(count):
    deviation = rng.uniform(1, 8)
    differences = np.rint(rng.normal(rng.uniform(0, 1) * deviation, deviation, 14))
    test = wilcoxon.paired(differences / CLIPS, np.zeros(14))
    nonzero = differences[differences != 0]
    ranks = np.rint(2 * stats.rankdata(np.abs(nonzero))).astype(int)
    smaller = min(ranks[nonzero > 0].sum(), ranks[nonzero < 0].sum())
    old_p = 2 * wilcoxon.sign_null(ranks)[: smaller + 1].sum()
    walsh = np.sort(((differences[:, None] + differences) / 2)[np.triu_indices(14)])
    cut = 22  # 21 is the critical value of 14 pairs
    found.append(
      [
        (p <= 0.05) == (low <= 0 <= high)
        for p, (low, high) in ((old_p, (walsh[cut - 1], walsh[-cut])), (test.p_value, test.ci95))
      ]
    )
  before_share, now_share = np.mean(found, axis=0)
  return float(before_share), float(now_share)


def main(_: list[str], values: flags.FlagValues) -> None:
  count = values.studies
  print(
    f'{count:,} studies per row; standard error of a rate of 0.05: {(0.0475 / count) ** 0.5:.4f}'
  )
  print(f'{"":<38}{"false positives":>18}{"mean covered":>17}{"difference":>17}')
  print(f'{"design":<38}' + f'{"before":>10}{"now":>8}' + f'{"before":>9}{"now":>8}' * 2)
  for design in DESIGNS:
    _print(
      design.name,
      *(rates(studies(design, count), design.ratio, rule) for rule in (before, now)),
    )
  mean, fewer = learner_mean(), count // 4
  for name, splits, folds in (
    ('learner, 5 folds', 5, True),
    ('learner, 14 split seeds', 14, False),
  ):
    _print(
      f'{name} ({fewer:,} studies)',
      *(rates(learners(splits, folds, fewer), 1 / 3, rule, mean) for rule in (before, now)),
    )
  old, new = contradictions(count)
  print(f'\np and interval contradict each other: before {old:.3f}, now {new:.3f}')
  print(f'\n{"one split, 14 seeds":<38}{"over seeds":>18}{"and groups":>17}')
  for groups, clips in ((20, 50), (1000, 1)):
    alone, both = crossed_coverage(groups, clips, fewer)
    print(f'{f"{groups} groups of {clips} clips":<38}{alone:>18.3f}{both:>17.3f}')


def _print(name: str, old: Rates, new: Rates) -> None:
  print(
    f'{name:<38}{old.false_positives:>10.3f}{new.false_positives:>8.3f}'
    f'{old.of_mean:>9.3f}{new.of_mean:>8.3f}{old.of_difference:>9.3f}{new.of_difference:>8.3f}'
  )


if __name__ == '__main__':
  cli.run(main)
