"""The plan of a study (--plan) for a terminal.

It shows lanes at once, memory, arithmetic and time, and which differences the seeds can show.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_jax.network import cost
from m3net_jax.reporting import tables
from m3net_jax.stats import power, resampled
from m3net_jax.stats.intervals import ALPHA
from m3net_jax.stats.wilcoxon import unreachable
from m3net_jax.study.config import Config
from m3net_jax.study.input_pipeline import batch_size
from m3net_jax.study.plan import Measured
from m3net_jax.study.progress import duration
from m3net_jax.study.results import accuracies, baseline
from m3net_jax.study.splits import Split


def text(
  config: Config,
  num_classes: int,
  splits: Sequence[Split],
  measured: Sequence[Measured],
  results: Mapping[str, Any] | None,
) -> str:
  """The plan in lines of at most 79 columns.

  Args:
    num_classes: number of classes.
    splits: of the study.
    measured: rows of `plan.measure` for the lanes that are not trained yet.
    results: of the finished study in the workdir, for the spread over seeds; None if there is none.
  """
  lines = [
    f'{"program of":<23}{"lanes":>6}{"at once":>9}{"memory":>13}{"GFLOP":>8}{"s/step":>9}'
    f'{"time":>11}'
  ]
  for row in measured:
    names = row.cohort.names
    variants = list(dict.fromkeys(name.variant for name in names))
    flops = len(names) * cost.step_flops(
      row.cohort.program, num_classes, config.input_shape, batch_size(splits, config)
    )
    at_once = f'{row.devices} x {row.lanes_at_once}'
    memory = (
      'unknown'
      if row.device_bytes is None
      else f'{row.devices * row.device_bytes / 2**20:,.0f} MiB'
    )
    times = (
      f'{"does not fit":>20}'
      if row.step_seconds is None
      else f'{row.step_seconds:>9.3f}{duration(row.seconds):>11}'
    )
    lines.append(
      f'{_short(variants):<23}{len(names):>6}{at_once:>9}{memory:>13}{flops / 1e9:>8.1f}{times}'
    )
  num_lanes = sum(len(row.cohort.names) for row in measured)
  total = sum(row.seconds or 0.0 for row in measured)
  lines += [
    f'{"all":<23}{num_lanes:>6}{duration(total):>50}',
    '',
    'GFLOP and s/step: one training step of all lanes of a program. Time: all epochs',
    'with validation, without compiling. At once: devices x lanes. Memory: as the',
    'compiler plans it.',
  ]
  return '\n'.join([*lines, '', *_power(config, splits, results)])


def _short(variants: Sequence[str]) -> str:
  line = ', '.join(variants)
  return line if len(line) <= 22 else f'{variants[0]} and {len(variants) - 1} more'


def _power(config: Config, splits: Sequence[Split], results: Mapping[str, Any] | None) -> list[str]:
  ratio = resampled.ratio_of([split.sizes for split in splits])
  variants = results['variants'] if results else {}
  spread = (
    power.spread(
      {variant: accuracies(entry) for variant, entry in variants.items()},
      baseline(results),
      ratio,
    )
    if results
    else None
  )
  if not spread or not spread.std:  # equal lanes say nothing about others
    return [
      'Power: unknown until a study has finished, because it needs the spread over',
      'seeds. Run this command again then, or with the --workdir of a finished study.',
    ]
  folds = len(splits) > 1 and not config.split_seeds
  pairs = len(splits) if folds else config.num_seeds
  if folds:
    name = f'corrected t-test over {pairs} folds, each the mean of its seeds,'
  elif ratio is not None:
    name = f'corrected t-test over {pairs} splits'
  else:
    name = f'paired Wilcoxon test over {pairs} seeds'
  lines = [
    *textwrap.wrap(
      f'Power of the {name} at {ALPHA}; standard deviation of a difference: '
      f'{tables.percent(spread.std)} points ({spread.source}):',
      79,
    ),
    '',
  ]
  # Holm's first and hardest step is at 0.05 divided by the number of tests of the study.
  tests = max(1, len(config.variants) - 1)
  levels = [ALPHA, ALPHA / tests] if tests > 1 else [ALPHA]
  if tests > 1:
    lines.append(f'{"":<24}{"one test":>26}{f"first of {tests} with Holm":>26}')
  needed = '' if folds else f'{"seeds for 80 %":>18}'
  lines.append(f'{"difference":<24}' + f'{"power":>{26 if folds else 8}}{needed}' * len(levels))
  for rows in zip(
    *(power.plan_table(spread.std, pairs, alpha=alpha, ratio=ratio) for alpha in levels)
  ):
    cells = [
      f'{row.power:>26.0%}' if folds else f'{row.power:>8.0%}{_seeds(row.seeds_needed):>18}'
      for row in rows
    ]
    lines.append(f'{100 * rows[0].difference:<24g}' + ''.join(cells))
  if folds:
    lines += [
      '',
      *textwrap.wrap(
        f'n is the number of folds, {pairs}: more seeds make the mean of a fold more exact but add '
        'no observation.',
        79,
      ),
    ]
    smallest = 2.0 ** (1 - pairs)
    if smallest > ALPHA:
      lines += textwrap.wrap(
        f'By the signed-rank test, {unreachable(f"n = {pairs}", smallest)}; the t-test can.', 79
      )
  return lines


def _seeds(needed: int | None) -> str:
  return 'over 10,000' if needed is None else f'{needed:,}'
