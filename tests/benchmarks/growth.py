"""How time and memory of training grow with lanes, batch and input: a table, docs/growth.csv and docs/growth.png.

    python -m tests.benchmarks.growth [--lanes=1,2,4,8,14,28] [--batches=16,32,64] [--sizes=64,96,128]

One of the three varies at a time, the others stay at 4 lanes, 32 clips and 64x64x1. Each setting is measured in a
process of its own, so that its peak memory is its own; seconds are medians of several calls of the training program.
"""

import csv
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import flags

from data_prep import cli, files
from data_prep.errors import UserError
from tests.benchmarks import engines
from tests.benchmarks.engines import Setting

_LANES = flags.DEFINE_list(
  'lanes', ['1', '2', '4', '8', '14', '28'], 'lanes, at 32 clips of 64x64x1'
)
_BATCHES = flags.DEFINE_list('batches', ['16', '32', '64'], 'clips a step, in 4 lanes at 64x64x1')
_SIZES = flags.DEFINE_list(
  'sizes', ['64', '96', '128'], 'height and width of the input, in 4 lanes of 32 clips'
)
_STEPS = flags.DEFINE_integer('steps', 8, 'steps a call', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'calls timed; medians are printed', lower_bound=1)
_OUT_DIR = flags.DEFINE_string('out_dir', 'docs', 'where growth.csv and growth.png go')
BASE = Setting((64, 64, 1), 4, 32)


class Row(NamedTuple):
  """One setting: what a step of one lane takes, and what the process held at most."""

  lanes: int
  batch: int
  size: int
  milliseconds_a_lane_step: float
  peak_mib: float


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  panels = {
    'lanes': [BASE._replace(lanes=lanes) for lanes in _numbers('lanes', _LANES.value, 1)],
    'clips a step': [
      BASE._replace(batch=batch) for batch in _numbers('batches', _BATCHES.value, 2)
    ],
    'height and width of the input': [
      BASE._replace(input_shape=(size, size, 1)) for size in _numbers('sizes', _SIZES.value, 8)
    ],
  }
  print(f'{"lanes":>6}{"batch":>7}{"size":>6}{"ms a lane-step":>16}{"peak MiB":>10}', flush=True)
  rows: dict[Setting, Row] = {}
  for setting in dict.fromkeys(sum(panels.values(), [])):
    # A pool for each, for memory that a process has once had counts for ever.
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as alone:
      row = rows[setting] = alone.submit(measure, setting, _STEPS.value, _ROUNDS.value).result()
    print(
      f'{row.lanes:>6}{row.batch:>7}{row.size:>6}{row.milliseconds_a_lane_step:>16.2f}{row.peak_mib:>10.0f}',
      flush=True,
    )
  folder = Path(_OUT_DIR.value)
  with (
    files.replacing(folder / 'growth.csv') as fresh,
    open(fresh, 'w', newline='', encoding='utf-8') as file,
  ):
    table = csv.writer(file, lineterminator='\n')
    table.writerow(Row._fields)
    table.writerows((*row[:3], f'{row[3]:.3f}', f'{row[4]:.0f}') for row in rows.values())
  _draw(
    {name: [rows[setting] for setting in settings] for name, settings in panels.items()},
    folder / 'growth.png',
  )
  print(f'\nwrote {folder / "growth.csv"}\nwrote {folder / "growth.png"}')


def measure(setting: Setting, steps: int, rounds: int) -> Row:
  """Trains in this process, which is the only thing that it has done."""
  engines.use_all_cores()
  contender = engines.engine(setting, engines.data(setting.batch), steps)
  contender.train()  # compiles
  seconds = []
  for _ in range(rounds):
    begun = time.perf_counter()
    contender.train()
    seconds.append(time.perf_counter() - begun)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
  return Row(
    setting.lanes,
    setting.batch,
    setting.input_shape[0],
    1000 * statistics.median(seconds) / steps / setting.lanes,
    peak,
  )


def _numbers(flag: str, values: list[str], lowest: int) -> list[int]:
  if not values or not all(value.isdecimal() and int(value) >= lowest for value in values):
    raise UserError(
      f'--{flag}={",".join(values)}: give whole numbers of {lowest} or more, such as '
      f'--{flag}={",".join(flags.FLAGS[flag].default)}'
    )
  return sorted(set(map(int, values)))


def _draw(panels: dict[str, list[Row]], path: Path) -> None:
  """Time above memory, a column for each of what varies."""
  from matplotlib import (
    pyplot,  # imported here: its memory is not the children's, but it takes a second
  )

  figure, axes = pyplot.subplots(
    2, 3, figsize=(9.6, 5.4), sharex='col', sharey='row', layout='constrained'
  )
  for column, (name, rows) in zip(axes.T, panels.items()):
    varied = {'lanes': 'lanes', 'clips a step': 'batch'}.get(name, 'size')
    x = [getattr(row, varied) for row in rows]
    for axis, field in zip(column, ('milliseconds_a_lane_step', 'peak_mib')):
      axis.plot(x, [getattr(row, field) for row in rows], 'o-', color='#1f77b4')
      axis.grid(alpha=0.3)
      axis.set_xscale('log', base=2)  # few lanes stand apart as many do
      axis.set_xticks(x, [str(each) for each in x])
      axis.minorticks_off()
    column[1].set_xlabel(name)
  for axis in axes[:, 0]:  # the others share theirs; only now do all points count
    axis.set_ylim(bottom=0)
  axes[0, 0].set_ylabel('milliseconds\na step of one lane')
  axes[1, 0].set_ylabel('peak memory of\nthe process, MiB')
  size = 'x'.join(map(str, BASE.input_shape))
  figure.suptitle(
    f'One of three varies; the others are {BASE.lanes} lanes, {BASE.batch} clips and {size}'
  )
  with files.replacing(path) as fresh:
    figure.savefig(fresh, dpi=120, format='png')


if __name__ == '__main__':
  cli.run(main)
