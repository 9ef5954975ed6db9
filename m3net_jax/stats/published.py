"""Published accuracies from `published.json`, and which of them are comparable with a study.

Each figure has its task (corpus and number of classes), its protocol, its citation, and in
`verified` where it was read.
"""

import functools
import json
from importlib import resources
from typing import NamedTuple

# random_622: random clips, 6:2:2, as in the M3Net paper; official: the corpus's own test list, by
# speaker; folds10 and folds5: the corpus's own folds; unstated: quoted by the M3Net paper without
# the protocol, so comparable with nothing.
PROTOCOLS = ('random_622', 'official', 'folds10', 'folds5', 'unstated')


class Task(NamedTuple):
  """A corpus, named as in --corpus, and its number of classes."""

  corpus: str
  classes: int


class Source(NamedTuple):
  """A publication; `str` gives its citation."""

  authors: str
  title: str
  venue: str
  year: int | None

  def __str__(self) -> str:
    return f'{self.authors.rstrip(".")}. {self.title}. {self.venue}' + (
      f', {self.year}' if self.year else ''
    )


class Result(NamedTuple):
  """One published figure. None if the source does not give it; accuracies are fractions."""

  method: str
  task: Task
  protocol: str
  metric: str
  value: float
  source: Source
  verified: str  # where the figure was read, in words
  std: float | None = None  # as published, over the authors' runs
  feature: str | None = None
  parameters_millions: float | None = None
  augmentation: bool | None = None
  pretraining: bool | None = None
  quoted_in: Source | None = None  # the paper that the figure was read in, if another
  table: int | None = None  # of the M3Net paper
  variant: str | None = None  # as in --variants, for M3Net's own figures
  paper_p: str | None = None  # the Wilcoxon p as the M3Net paper prints it


@functools.cache
def published_results() -> tuple[Result, ...]:
  """All published figures, in the order of `published.json`."""
  data = json.loads(
    resources.files('m3net_jax.stats').joinpath('published.json').read_text(encoding='utf-8')
  )
  sources = {key: Source(**fields) for key, fields in data['sources'].items()}
  return tuple(_result(dict(row), sources) for row in data['results'])


def _result(row: dict, sources: dict[str, Source]) -> Result:
  row['task'] = Task(row.pop('corpus'), row.pop('classes'))
  row['source'] = sources[row['source']]
  if 'quoted_in' in row:
    row['quoted_in'] = sources[row['quoted_in']]
  return Result(**row)


def comparable(task: Task, protocol: str) -> list[Result]:
  """Published figures of the same task and the same protocol, best first; often none.

  Args:
    task: corpus as in --corpus and number of classes, for the complete corpus: a part of it is
      another task.
    protocol: one of PROTOCOLS; any other (such as 'grouped') has no published figures.
  """
  if protocol == 'unstated':
    return []
  results = [
    result for result in published_results() if result.task == task and result.protocol == protocol
  ]
  return sorted(results, key=lambda result: -result.value)


def comparison_note(task: Task, protocol: str) -> str:
  """Says how many published results are comparable with a study; for a report."""
  task = Task(*task)
  setting = f'{task.corpus} ({task.classes} classes), protocol {protocol}'
  results = comparable(task, protocol)
  if results:
    return (
      f'{len(results)} published result{"s" * (len(results) > 1)} '
      f'of the same task and protocol: {setting}.'
    )
  others = sorted(
    {result.protocol for result in published_results() if result.task == task} - {'unstated'}
  )
  hint = f' Of the same task there are results by {", ".join(others)} only.' if others else ''
  return f'No published result is comparable: none is on file for {setting}.{hint}'


def paper_table(number: int) -> list[Result]:
  """The rows of one of the M3Net paper's Tables 1 to 5, in its order.

  Tables 3 to 5 have one row per variant and corpus.
  """
  return [result for result in published_results() if result.table == number]
