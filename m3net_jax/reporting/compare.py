"""Compares finished studies: every variant of every study against the first study's baseline.

Lanes are paired by seed and split. Studies with different test clips are refused, because then the
accuracies differ by the clips too.
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import UserError
from m3net_jax.reporting import tables
from m3net_jax.reporting import text as report_text
from m3net_jax.stats import holm, resampled
from m3net_jax.study import recorded_splits
from m3net_jax.study.results import accuracies, baseline, ratio
from m3net_jax.study.workdir import Workdir

# Settings that decide which lanes are trained, and how fast, but not how a lane is trained.
_INCIDENTAL = ('variants', 'num_seeds', 'first_seed', 'lowering', 'lanes_at_once', 'margin')


class Comparison(NamedTuple):
  """A comparison of finished studies; `print` shows it as text.

  Attributes:
    corpus: name of the corpus and protocol.
    warnings: what a reader must know first.
    differing: settings that differ, one line each.
    rows: one row per study and variant: lanes, mean, std, interval.
    tests: every other variant against the first study's baseline.
  """

  corpus: str
  warnings: list[str]
  differing: list[str]
  rows: list[dict[str, Any]]
  tests: list[dict[str, Any]]

  def __str__(self) -> str:
    return text(self)


def compare(studies: Sequence[Workdir]) -> Comparison:
  """Compares two or more studies; the baseline is `full` or the first variant of the first study.

  Raises:
    UserError: a study is named twice or is not finished; corpus, classes, split or test clips
      differ; or a study shares no seed with the first one.
  """
  paths = [study.path.resolve() for study in studies]
  for path in paths:
    if paths.count(path) > 1:
      raise UserError(f'{path}: is named twice; name each study once')
  contents = [study.results() for study in studies]
  names = _short_names(paths)
  for study, results in zip(studies[1:], contents[1:]):
    _check_task(studies[0], contents[0], study, results)
  lanes = {
    (name, variant): accuracies(entry)
    for name, results in zip(names, contents)
    for variant, entry in results['variants'].items()
  }
  reference = (names[0], baseline(contents[0]))
  for (name, _), own in lanes.items():
    if not any(key in lanes[reference] for key in own):
      raise UserError(
        f'{name}: shares no seed with {names[0]} ({_seeds(own)} against '
        f'{_seeds(lanes[reference])}), so its lanes cannot be paired: train it with the same '
        '--first_seed'
      )
  label = lambda key: f'{key[0]}:{key[1]}'
  rows = [
    {
      'study': name,
      'variant': variant,
      'lanes': len(own),
      **resampled.over_lanes(own, ratio(contents[0]))._asdict(),
    }
    for (name, variant), own in lanes.items()
  ]
  tests = holm.tests_table(
    {label(key): own for key, own in lanes.items()},
    baseline=label(reference),
    ratio=ratio(contents[0]),
    margin=studies[0].config.margin / 100,
  )
  return Comparison(
    tables.corpus_title(contents[0]) + ', ' + contents[0]['corpus']['protocol'],
    _warnings(contents, names),
    _differing(studies, names),
    rows,
    tests,
  )


def text(comparison: Comparison) -> str:
  """The comparison in lines of at most 79 columns, longer only for a long name."""
  wide = max(len(row['study']) + len(row['variant']) for row in comparison.rows) + 3
  lines = [
    comparison.corpus,
    *(line for warning in comparison.warnings for line in textwrap.wrap(warning, 79)),
    *(
      part
      for line in comparison.differing
      for part in textwrap.wrap(f'differs: {line}', 79, break_long_words=False)
    ),
    '',
    f'{"study:variant":<{wide}}{"lanes":>6}{"mean":>8}{"std":>7}{"95 % interval":>18}',
  ]
  for row in comparison.rows:
    ends = list(row['interval']) if row['interval'] else None
    lines.append(
      f'{row["study"] + ":" + row["variant"]:<{wide}}{row["lanes"]:>6}'
      f'{tables.percent(row["mean"]):>8}{tables.percent(row["std"]):>7}'
      f'{tables.accuracy_interval(ends):>18}'
    )
  lines += ['', *tables.tests_text(comparison.tests, min(wide, 16))]
  return '\n'.join(lines)


def _check_task(
  first: Workdir, first_results: dict[str, Any], other: Workdir, other_results: dict[str, Any]
) -> None:
  """Raises UserError if corpus, classes, split or test clips differ."""
  for field, label in (('name', 'corpus'), ('classes', 'classes'), ('split', '--split')):
    expected, actual = first_results['corpus'][field], other_results['corpus'][field]
    if actual != expected:
      difference = (
        f'its classes differ ({len(actual)} against {len(expected)})'
        if field == 'classes'
        else f'its {label} is {actual}, not {expected}'
      )
      raise UserError(f'{other.path}: not comparable with {first.path}: {difference}')
  tested = [recorded_splits.read(study.path).tested for study in (first, other)]
  # Of --split_seeds, the seeds that both have; the others have no partner.
  names = set.intersection(*({split for split, *_ in clips} for clips in tested))
  if count := len([clip for clip in tested[0] ^ tested[1] if clip[0] in names]):
    raise UserError(
      f'{other.path}: not comparable with {first.path}: {count} test clips are not the same '
      'recordings'
    )


def _warnings(contents: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
  """Each warning once, with the names of its studies if it is not for all of them."""
  studies: dict[str, list[str]] = {}
  for name, results in zip(names, contents):
    for warning in report_text.warnings(results):
      studies.setdefault(warning, []).append(name)
  return [
    warning if len(warned) == len(names) else f'{", ".join(warned)}: {warning}'
    for warning, warned in studies.items()
  ]


def _differing(studies: Sequence[Workdir], names: Sequence[str]) -> list[str]:
  """Settings that differ between studies, one line each."""
  fields = [
    field.name for field in dataclasses.fields(studies[0].config) if field.name not in _INCIDENTAL
  ]
  settings = [
    {**{name: getattr(study.config, name) for name in fields}, **study.features.to_json()}
    for study in studies
  ]
  as_text = lambda value: ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
  return [
    f'{name}: '
    + ', '.join(f'{study} {as_text(values[name])}' for study, values in zip(names, settings))
    for name in settings[0]
    if any(values[name] != settings[0][name] for values in settings)
  ]


def _short_names(paths: Sequence[Path]) -> list[str]:
  """The folders' names, with as many parent folders as are needed to distinguish them."""
  for depth in range(1, max(len(path.parts) for path in paths) + 1):
    names = ['/'.join(path.parts[-depth:]) for path in paths]
    if len(set(names)) == len(names):
      break
  return names


def _seeds(lanes: dict[tuple[int, str], float]) -> str:
  seeds = sorted({seed for seed, _ in lanes})
  return f'seeds {seeds[0]} to {seeds[-1]}'
