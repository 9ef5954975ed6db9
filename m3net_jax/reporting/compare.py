"""Finished studies beside each other: every variant of every study against the first one's, paired by seed
and split.

Studies that did not test the same clips are refused, with the reason: their accuracies differ by the clips
too.
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import store as stores
from data_prep.errors import UserError
from m3net_jax.reporting import tables
from m3net_jax.reporting import text as report_text
from m3net_jax.stats import holm, intervals
from m3net_jax.study import splits
from m3net_jax.study.workdir import Workdir

# Of these, config.json may differ without the studies differing in what they did.
_INCIDENTAL = ('variants', 'num_seeds', 'first_seed', 'lowering', 'lanes_at_once')


class Comparison(NamedTuple):
  """Attributes: what a reader must know first; settings that differ, as lines; a row a variant and study; the tests
  against the first."""

  corpus: str
  warnings: list[str]
  differing: list[str]
  rows: list[dict[str, Any]]
  tests: list[dict[str, Any]]

  def __str__(self) -> str:
    return text(self)


def compare(studies: Sequence[Workdir]) -> Comparison:
  """Compares two studies or more, with the first one's `full`, or its first variant, as the baseline.

  Raises:
    UserError: a study is named twice or not finished; corpus, classes, protocol or test clips differ; or no
      seed of a study is one of the first's.
  """
  paths = [study.path.resolve() for study in studies]
  for path in paths:
    if paths.count(path) > 1:
      raise UserError(f'{path}: is named twice; name each study once')
  found = [study.results() for study in studies]
  names = _short_names(paths)
  for study, results in zip(studies[1:], found[1:]):
    _same_task(studies[0], found[0], study, results)
  lanes = {
    (name, variant): {
      (lane['seed'], lane['split']): lane['test_accuracy'] for lane in held['lanes']
    }
    for name, results in zip(names, found)
    for variant, held in results['variants'].items()
  }
  reference = (names[0], tables.baseline(found[0]))
  for (name, _), mine in lanes.items():
    if not any(key in lanes[reference] for key in mine):
      raise UserError(
        f'{name}: shares no seed with {names[0]} ({_seeds(mine)} against '
        f'{_seeds(lanes[reference])}), so its lanes cannot be paired: train it with the same '
        '--first_seed'
      )
  label = lambda key: f'{key[0]}:{key[1]}'
  rows = [
    {
      'study': name,
      'variant': variant,
      'lanes': len(mine),
      **intervals.mean_interval(list(mine.values()))._asdict(),
    }
    for (name, variant), mine in lanes.items()
  ]
  tests = holm.tests_table(
    {label(key): mine for key, mine in lanes.items()}, baseline=label(reference)
  )
  return Comparison(
    tables.corpus_title(found[0]) + ', ' + found[0]['corpus']['protocol'],
    _warnings(found, names),
    _differing(studies, names),
    rows,
    tests,
  )


def text(comparison: Comparison) -> str:
  """The comparison for a terminal, in lines of at most 79 columns (longer where a name is)."""
  wide = max(len(row['study']) + len(row['variant']) for row in comparison.rows) + 3
  lines = [
    comparison.corpus,
    *(line for warning in comparison.warnings for line in textwrap.wrap(warning, 79)),
    *(f'differs: {line}' for line in comparison.differing),
    '',
    f'{"study:variant":<{wide}}{"lanes":>6}{"mean":>8}{"std":>7}{"95 % interval":>18}',
  ]
  for row in comparison.rows:
    ends = list(row['interval']) if row['interval'] else None
    lines.append(
      f'{row["study"] + ":" + row["variant"]:<{wide}}{row["lanes"]:>6}'
      f'{tables.percent(row["mean"]):>8}{tables.percent(row["std"]):>7}'
      f'{tables.interval(ends):>18}'
    )
  lines += ['', *tables.tests_text(comparison.tests, min(wide, 16))]
  return '\n'.join(lines)


def _same_task(
  first: Workdir, ours: dict[str, Any], other: Workdir, theirs: dict[str, Any]
) -> None:
  for field, what in (('name', 'corpus'), ('classes', 'classes'), ('split', '--split')):
    a, b = ours['corpus'][field], theirs['corpus'][field]
    if a != b:
      shown = lambda value: f'{len(value)} classes' if isinstance(value, list) else value
      raise UserError(
        f'{other.path}: not comparable with {first.path}: its {what} is {shown(b)}, not {shown(a)}'
      )
  # A split is a function of the store's clips alone, so equal stores have equal splits.
  if first.store_sha256 != other.store_sha256 and (count := _differing_clips(first, other)):
    raise UserError(
      f'{other.path}: not comparable with {first.path}: {count} test clips are not the same '
      'recordings'
    )


def _differing_clips(first: Workdir, other: Workdir) -> int:
  """Test clips, over all splits, that only one study has; a clip is a recording and a place in it."""
  tested = [
    {(split.name, *clips[i]) for split in made for i in split.test}
    for made, clips in map(_splits_and_clips, (first, other))
  ]
  return len(tested[0] ^ tested[1])


def _splits_and_clips(study: Workdir) -> tuple[list[splits.Split], list[tuple[str, float]]]:
  store = stores.load(study.store)
  clips = [row.identity for row in stores.read_clips(study.store)]
  return splits.make(store, study.config.split), clips


def _warnings(found: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
  """What a reader must know first, once; of some of the studies alone with their names."""
  of: dict[str, list[str]] = {}
  for name, results in zip(names, found):
    for line in report_text.warnings(results):
      of.setdefault(line, []).append(name)
  return [
    line if len(some) == len(names) else f'{", ".join(some)}: {line}' for line, some in of.items()
  ]


def _differing(studies: Sequence[Workdir], names: Sequence[str]) -> list[str]:
  """Settings that differ between studies, a line each."""
  fields = [
    field.name for field in dataclasses.fields(studies[0].config) if field.name not in _INCIDENTAL
  ]
  settings = [
    {**{name: getattr(study.config, name) for name in fields}, **study.features.to_json()}
    for study in studies
  ]
  shown = lambda value: ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
  return [
    f'{name}: ' + ', '.join(f'{study} {shown(each[name])}' for study, each in zip(names, settings))
    for name in settings[0]
    if any(each[name] != settings[0][name] for each in settings)
  ]


def _short_names(paths: Sequence[Path]) -> list[str]:
  """The folders' names, with as many folders above as tell them apart."""
  for depth in range(1, max(len(path.parts) for path in paths) + 1):
    names = ['/'.join(path.parts[-depth:]) for path in paths]
    if len(set(names)) == len(names):
      break
  return names


def _seeds(lanes: dict[tuple[int, str], float]) -> str:
  seeds = sorted({seed for seed, _ in lanes})
  return f'seeds {seeds[0]} to {seeds[-1]}'
