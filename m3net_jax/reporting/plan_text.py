"""The plan of a study (--plan) for a terminal: lanes at once, memory, arithmetic and time, and which differences its
seeds can show.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_jax.network import cost
from m3net_jax.reporting import tables
from m3net_jax.stats import power
from m3net_jax.stats.intervals import ALPHA
from m3net_jax.study.config import Config
from m3net_jax.study.plan import Measured
from m3net_jax.study.progress import duration


def text(
  config: Config,
  num_classes: int,
  folds: int,
  measured: Sequence[Measured],
  results: Mapping[str, Any] | None,
) -> str:
  """The plan in lines of at most 79 columns.

  Args:
    folds: splits in which every seed is trained; a pair of lanes each.
    results: of the finished study in the workdir, whose spread the power is found with; None where there is none.
      Where it has lanes of this plan, `measured` is of those that it lacks.
  """
  lines = [
    f'{"program of":<24}{"lanes":>6}{"at once":>9}{"memory":>10}{"GFLOP":>8}{"s a step":>10}{"time":>11}'
  ]
  for each in measured:
    variants = list(dict.fromkeys(name.variant for name in each.cohort.names))
    flops = len(each.cohort.names) * cost.step_flops(
      each.cohort.program, num_classes, config.input_shape, config.batch_size
    )
    at_once = f'{each.devices} x {each.lanes_at_once}'
    memory = f'{each.devices * each.device_bytes / 2**20:,.0f} MiB'
    lines.append(
      f'{_short(variants):<24}{len(each.cohort.names):>6}{at_once:>9}{memory:>10}{flops / 1e9:>8.1f}'
      f'{each.step_seconds:>10.3f}{duration(each.seconds):>11}'
    )
  total = sum(each.seconds for each in measured)
  lines += [
    f'{"all":<24}{sum(len(each.cohort.names) for each in measured):>6}{duration(total):>48}',
    '',
    'Of all lanes of a program: GFLOP and seconds of one training step; time of all',
    'epochs with validation, without compiling. At once: devices x lanes. Memory: as',
    'the compiler plans it.',
  ]
  return '\n'.join([*lines, '', *_power(config, folds, results)])


def _short(variants: Sequence[str]) -> str:
  line = ', '.join(variants)
  return line if len(line) <= 23 else f'{variants[0]} and {len(variants) - 1} more'


def _power(config: Config, folds: int, results: Mapping[str, Any] | None) -> list[str]:
  lanes = results['variants'] if results else {}
  found = (
    power.spread(
      {
        variant: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in held['lanes']}
        for variant, held in lanes.items()
      },
      tables.baseline(results),
    )
    if lanes
    else None
  )
  if not found:
    return [
      'Power: unknown, for the spread over seeds is; the plan of a finished study',
      '(the same command after it, or its --workdir) has it.',
    ]
  seeds = f'{config.num_seeds} seeds' + (f' x {folds} folds' if folds > 1 else '')
  lines = [
    *textwrap.wrap(
      f'Power of the paired Wilcoxon test at {ALPHA} with {seeds}; spread of a difference '
      f'{tables.percent(found.std)} points ({found.source}):',
      79,
    ),
    '',
  ]
  # Holm's first and hardest step, which a variant passes alone: at 0.05 divided by the tests of the study.
  tests = max(1, len(config.variants) - 1)
  levels = [ALPHA, ALPHA / tests] if tests > 1 else [ALPHA]
  if tests > 1:
    lines.append(f'{"":<24}{"one test":>26}{f"first of {tests} with Holm":>26}')
  lines.append(f'{"difference":<24}' + f'{"power":>8}{"seeds for 80 %":>18}' * len(levels))
  for rows in zip(
    *(power.plan_table(found.std, config.num_seeds * folds, alpha=alpha) for alpha in levels)
  ):
    lines.append(
      f'{100 * rows[0].difference:<24g}'
      + ''.join(f'{row.power:>8.0%}{_seeds(row.seeds_needed, folds):>18}' for row in rows)
    )
  return lines


def _seeds(pairs: int | None, folds: int) -> str:
  return 'over 10,000' if pairs is None else f'{-(-pairs // folds):,}'
