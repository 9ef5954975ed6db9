"""Does a study order the variants as the paper does? Pure functions on `results.json`.

Only ranks and directions are compared, because the paper's figures are for other clips than most
studies.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from m3net_jax.reporting import tables
from m3net_jax.stats import holm, published
from m3net_jax.study.results import accuracies, ratio


class Order(NamedTuple):
  """Pairs of variants that the paper puts in the same order on both of its corpora.

  Each pair is (higher in the paper, lower in the paper).

  Attributes:
    agreeing: pairs in the same order in this study.
    reversed: pairs in the opposite order.
    undecided: pairs whose 95 % interval of the paired difference contains 0, or have no interval.
  """

  agreeing: list[tuple[str, str]]
  reversed: list[tuple[str, str]]
  undecided: list[tuple[str, str]]


def paper_figures() -> dict[str, dict[str, float]]:
  """{corpus: {variant: accuracy}} of the paper's own variants, Tables 1 to 5."""
  figures: dict[str, dict[str, float]] = {}
  for number in range(1, 6):
    for result in published.paper_table(number):
      if result.variant:
        figures.setdefault(result.task.corpus, {})[result.variant] = result.value
  return figures


def order(results: Mapping[str, Any]) -> Order:
  """Sorts the study's pairs of variants that have the same order on both corpora of the paper."""
  paper, pairs = paper_figures(), Order([], [], [])
  lanes = {
    name: accuracies(variant)
    for name, variant in results['variants'].items()
    if all(name in figures for figures in paper.values())
  }
  for pair in itertools.permutations(lanes, 2):
    if not all(figures[pair[0]] > figures[pair[1]] for figures in paper.values()):
      continue
    higher, lower = pair
    (test,) = holm.tests_table(
      {name: lanes[name] for name in pair}, baseline=lower, ratio=ratio(results)
    )
    low, high = test['difference_ci95'] or (-1.0, 1.0)
    (pairs.agreeing if low > 0 else pairs.reversed if high < 0 else pairs.undecided).append(pair)
  return pairs


def order_table(results: Mapping[str, Any]) -> tables.Table | None:
  """Ranks of the variants in the study and in the paper; None for fewer than three of them."""
  paper = paper_figures()
  ours = {
    name: variant['mean']
    for name, variant in results['variants'].items()
    if all(name in figures for figures in paper.values())
  }
  if len(ours) < 3:
    return None
  ranked = sorted(ours, key=lambda name: -ours[name])
  places = {
    corpus: sorted(ours, key=lambda name, accuracies=accuracies: -accuracies[name])
    for corpus, accuracies in paper.items()
  }
  rows = [
    [name, f'{ranked.index(name) + 1}', *(f'{places[corpus].index(name) + 1}' for corpus in paper)]
    for name in ranked
  ]
  columns = (
    'Variant',
    *(
      ('Rank by accuracy', head)
      for head in (
        f'this study, {tables.corpus_title(results)}',
        *(f'paper, {corpus}' for corpus in paper),
      )
    ),
  )
  caption = 'Order of the variants: this study and the paper (Jiang et al. 2025, Tables 1 to 5)'
  return tables.make('order', caption, columns, rows, _sentences(order(results)))


def _sentences(pairs: Order) -> tuple[str, ...]:
  lines = [
    'Pairs of variants that have the same order on both corpora of the paper: '
    f'{sum(map(len, pairs))}. In this study {len(pairs.agreeing)} of them have this order, '
    f'{len(pairs.reversed)} the opposite order, and {len(pairs.undecided)} are undecided: the 95 % '
    'interval of the paired difference contains 0, or there are too few lanes for an interval. The '
    'intervals are not corrected for the number of pairs.'
  ]
  if pairs.reversed:
    lines.append(
      'Opposite order in this study: '
      + ', '.join(f'{lower} above {higher}' for higher, lower in pairs.reversed)
      + '.'
    )
  if pairs.undecided:
    lines.append(
      'Undecided: ' + ', '.join(f'{higher} and {lower}' for higher, lower in pairs.undecided) + '.'
    )
  return tuple(lines)
