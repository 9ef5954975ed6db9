"""Does a study order the variants as the paper does? Ranks and directions only: the paper's figures are of
other clips than most studies, and are not set beside ours here. Pure functions on `results.json`."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from m3net_jax.reporting import tables
from m3net_jax.stats import published, wilcoxon


class Order(NamedTuple):
  """Pairs of variants that the paper orders alike on both of its corpora, by what this study says of them.

  Attributes:
    agreeing, reversed, undecided: pairs (higher in the paper, lower in the paper); undecided where the 95 %
      interval of the paired difference holds 0, or there is none.
  """

  agreeing: list[tuple[str, str]]
  reversed: list[tuple[str, str]]
  undecided: list[tuple[str, str]]


def paper_figures() -> dict[str, dict[str, float]]:
  """{corpus: {variant: accuracy}} of the paper's own variants, Tables 1 to 5."""
  figures: dict[str, dict[str, float]] = {}
  for result in (each for number in range(1, 6) for each in published.paper_table(number)):
    if result.variant:
      figures.setdefault(result.task.corpus, {})[result.variant] = result.value
  return figures


def order(results: Mapping[str, Any]) -> Order:
  """The pairs among the study's variants that the paper orders alike on both corpora."""
  paper, found = paper_figures(), Order([], [], [])
  lanes = {
    name: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in variant['lanes']}
    for name, variant in results['variants'].items()
    if all(name in of for of in paper.values())
  }
  for pair in itertools.permutations(lanes, 2):
    if not all(of[pair[0]] > of[pair[1]] for of in paper.values()):
      continue
    higher, lower = (lanes[name] for name in pair)
    keys = [key for key in higher if key in lower]
    ends = (
      wilcoxon.paired(
        [higher[key] for key in keys], [lower[key] for key in keys]
      ).hodges_lehmann_ci95
      if keys
      else None
    )
    low, high = ends or (-1.0, 1.0)
    (found.agreeing if low > 0 else found.reversed if high < 0 else found.undecided).append(pair)
  return found


def order_table(results: Mapping[str, Any]) -> tables.Table | None:
  """Ranks of the variants here and in the paper; None where the study has fewer than three of the paper's."""
  paper = paper_figures()
  ours = {
    name: variant['mean']
    for name, variant in results['variants'].items()
    if all(name in of for of in paper.values())
  }
  if len(ours) < 3:
    return None
  ranked = sorted(ours, key=lambda name: -ours[name])
  places = {corpus: sorted(ours, key=lambda name, of=of: -of[name]) for corpus, of in paper.items()}
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
  caption = 'Order of the variants here and in the paper (Jiang et al. 2025, Tables 1 to 5)'
  return tables.make('order', caption, columns, rows, _sentences(order(results)))


def _sentences(found: Order) -> tuple[str, ...]:
  counted = sum(map(len, found))
  lines = [
    f'Pairs of variants that the paper orders alike on both corpora: {counted}. In that order here: '
    f'{len(found.agreeing)}; in the other: {len(found.reversed)}; not told apart: {len(found.undecided)} '
    '(the 95 % interval of the paired difference, each by itself, holds 0, or the lanes are too few for one).'
  ]
  if found.reversed:
    lines.append(
      'The other way round here: '
      + ', '.join(f'{lower} above {higher}' for higher, lower in found.reversed)
      + '.'
    )
  if found.undecided:
    lines.append(
      'Not told apart: '
      + ', '.join(f'{higher} and {lower}' for higher, lower in found.undecided)
      + '.'
    )
  return tuple(lines)
