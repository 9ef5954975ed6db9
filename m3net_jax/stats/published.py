"""Published accuracies, from `published.json`, and which of them a study may be set beside.

Each figure carries its task (corpus and number of classes), its protocol and its citation, and in
`verified` where it was read. Knows nothing of studies, files of a workdir or how a report looks.
"""

import functools
import json
from importlib import resources
from typing import NamedTuple

# random_622: clips at random, 6:2:2, as in the M3Net paper; official: the corpus's own test list, by
# speaker; folds10 and folds5: its own folds; unstated: quoted by the M3Net paper without the protocol,
# so comparable with nothing.
PROTOCOLS = ('random_622', 'official', 'folds10', 'folds5', 'unstated')


class Task(NamedTuple):
  corpus: str  # as in --corpus
  classes: int


class Source(NamedTuple):
  authors: str
  title: str
  venue: str
  year: int | None

  def __str__(self) -> str:
    return f'{self.authors.rstrip(".")}. {self.title}. {self.venue}' + (
      f', {self.year}' if self.year else ''
    )


class Result(NamedTuple):
  """One published figure. None where the source does not say; accuracies are fractions."""

  method: str
  task: Task
  protocol: str
  metric: str
  value: float
  source: Source
  verified: str  # where the figure was read, in words
  std: float | None = None  # as published, over its authors' runs
  feature: str | None = None
  parameters_millions: float | None = None
  augmentation: bool | None = None
  pretraining: bool | None = None
  quoted_in: Source | None = None  # the paper that the figure was read in, where not its own
  table: int | None = None  # of the M3Net paper
  variant: str | None = None  # as in --variants, for M3Net's own figures
  paper_p: str | None = None  # the Wilcoxon p as the M3Net paper prints it


@functools.cache
def published_results() -> tuple[Result, ...]:
  """All published figures, in the order of the file."""
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
    task: corpus as in --corpus and number of classes. The whole corpus: a part of it is another task.
    protocol: one of PROTOCOLS; any other (such as 'grouped') has no published figures here.
  """
  if protocol == 'unstated':
    return []
  found = [
    result for result in published_results() if result.task == task and result.protocol == protocol
  ]
  return sorted(found, key=lambda result: -result.value)


def comparison_note(task: Task, protocol: str) -> str:
  """One sentence for the report: what ours stands beside, or that no published figure is comparable."""
  task = Task(*task)
  where = f'{task.corpus} ({task.classes} classes), protocol {protocol}'
  found = comparable(task, protocol)
  if found:
    return f'{len(found)} published result{"s" * (len(found) > 1)} of the same task and protocol: {where}.'
  others = sorted(
    {result.protocol for result in published_results() if result.task == task} - {'unstated'}
  )
  elsewhere = f' Of the same task there are results by {", ".join(others)} only.' if others else ''
  return f'No published result is comparable: none is on file for {where}.{elsewhere}'


def paper_table(number: int) -> list[Result]:
  """The rows of the M3Net paper's Table 1 to 5, in its order (Tables 3 to 5: both corpora a variant)."""
  return [result for result in published_results() if result.table == number]
