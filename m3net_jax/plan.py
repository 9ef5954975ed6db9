"""What a study would take, before it is trained (--plan): lanes at once, memory, arithmetic and time, from a few
timed steps; and which differences its seeds can show. Pure functions; the steps are `study.measure`'s.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_jax import models, power, tables
from m3net_jax.config import Config
from m3net_jax.progress import duration
from m3net_jax.study import Measured


def text(config: Config, num_classes: int, measured: Sequence[Measured], results: Mapping[str, Any] | None) -> str:
  """The plan in lines of at most 79 columns.

  Args:
    results: of the finished study in the workdir, whose spread the power is found with; None where there is none.
  """
  lines = [f'{"program of":<24}{"lanes":>6}{"at once":>9}{"memory":>10}{"GFLOP":>8}{"s a step":>10}{"time":>11}']
  for each in measured:
    variants = list(dict.fromkeys(name.variant for name in each.cohort.names))
    flops = len(each.cohort.names) * models.step_flops(each.cohort.program, num_classes, config.input_shape,
                                                        config.batch_size)
    at_once = f'{each.devices} x {each.at_once}'
    memory = f'{each.devices * each.device_bytes / 2**20:,.0f} MiB'
    lines.append(f'{_short(variants):<24}{len(each.cohort.names):>6}{at_once:>9}{memory:>10}{flops / 1e9:>8.1f}'
                 f'{each.step_seconds:>10.3f}{duration(each.seconds):>11}')
  total = sum(each.seconds for each in measured)
  lines += [f'{"all":<24}{sum(len(each.cohort.names) for each in measured):>6}{duration(total):>48}', '',
            'Of all lanes of a program: GFLOP and seconds of one training step; time of all',
            'epochs with validation, without compiling. At once: devices x lanes. Memory: as',
            'the compiler plans it.']
  return '\n'.join([*lines, '', *_power(config, results)])


def _short(variants: Sequence[str]) -> str:
  line = ', '.join(variants)
  return line if len(line) <= 23 else f'{variants[0]} and {len(variants) - 1} more'


def _power(config: Config, results: Mapping[str, Any] | None) -> list[str]:
  found = results and power.spread({variant: {(lane['seed'], lane['split']): lane['test_accuracy']
                                              for lane in held['lanes']}
                                    for variant, held in results['variants'].items()}, tables.baseline(results))
  if not found:
    return ['Power: unknown, for the spread over seeds is; the plan of a finished study',
            '(the same command after it, or its --workdir) has it.']
  lines = [f'Power of the paired Wilcoxon test at 0.05 with {config.num_seeds} seeds; spread of a difference',
           f'{tables.percent(found.std)} points ({found.source}):', '',
           f'{"difference":<24}{"power":>8}{"seeds for 80 %":>18}']
  for row in power.plan_table(found.std, config.num_seeds):
    needed = 'over 10,000' if row.seeds_needed is None else f'{row.seeds_needed:,}'
    lines.append(f'{100 * row.difference:<24g}{row.power:>8.0%}{needed:>18}')
  return lines
