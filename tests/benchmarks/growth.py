"""How time and memory of training grow with lanes, batch and input size.

    python -m tests.benchmarks.growth [--lanes=1,2,4,8,14,28] [--batches=16,32,64]
        [--sizes=64,96,128]

Prints a table and writes docs/growth.csv and docs/growth.png. One of the three varies at a time;
the others are 4 lanes, 32 clips and 64x64x1. Each setting has its own process, to measure its peak
memory. Seconds are medians of several calls of the training program.
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
_BATCHES = flags.DEFINE_list('batches', ['16', '32', '64'], 'clips per step, in 4 lanes at 64x64x1')
_SIZES = flags.DEFINE_list(
  'sizes', ['64', '96', '128'], 'height and width of the input, in 4 lanes of 32 clips'
)
_STEPS = flags.DEFINE_integer('steps', 8, 'steps per call', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'timed calls; medians are printed', lower_bound=1)
_OUT_DIR = flags.DEFINE_string('out_dir', 'docs', 'folder of growth.csv and growth.png')
BASE = Setting((64, 64, 1), 4, 32)


class Row(NamedTuple):
  """One setting, the time of one step of one lane, and the peak memory of the process."""

  lanes: int
  batch: int
  size: int
  milliseconds_a_lane_step: float
  peak_mib: float


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  panels = {
    'lanes': [BASE._replace(lanes=lanes) for lanes in _numbers('lanes', _LANES.value, 1)],
    'clips per step': [
      BASE._replace(batch=batch) for batch in _numbers('batches', _BATCHES.value, 2)
    ],
    'height and width of the input': [
      BASE._replace(input_shape=(size, size, 1)) for size in _numbers('sizes', _SIZES.value, 8)
    ],
  }
  print(f'{"lanes":>6}{"batch":>7}{"size":>6}{"ms/lane-step":>16}{"peak MiB":>10}', flush=True)
  rows: dict[Setting, Row] = {}
  for setting in dict.fromkeys(sum(panels.values(), [])):
    # One process per setting: the peak memory of a process never falls.
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
      row = rows[setting] = pool.submit(measure, setting, _STEPS.value, _ROUNDS.value).result()
    print(
      f'{row.lanes:>6}{row.batch:>7}{row.size:>6}'
      f'{row.milliseconds_a_lane_step:>16.2f}{row.peak_mib:>10.0f}',
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
  """Measures a setting in this process, which must do nothing else before."""
  engines.use_all_cores()
  contender = engines.engine(setting, engines.make_data(setting.batch), steps)
  contender.train()  # compiles
  seconds = []
  for _ in range(rounds):
    start = time.perf_counter()
    contender.train()
    seconds.append(time.perf_counter() - start)
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
  """Draws time above memory, one column per varied quantity."""
  from matplotlib import pyplot  # takes one second to import

  figure, axes = pyplot.subplots(
    2, 3, figsize=(9.6, 5.4), sharex='col', sharey='row', layout='constrained'
  )
  for column, (name, rows) in zip(axes.T, panels.items()):
    quantity = {'lanes': 'lanes', 'clips per step': 'batch'}.get(name, 'size')
    x = [getattr(row, quantity) for row in rows]
    for axis, field in zip(column, ('milliseconds_a_lane_step', 'peak_mib')):
      axis.plot(x, [getattr(row, field) for row in rows], 'o-', color='#1f77b4')
      axis.grid(alpha=0.3)
      axis.set_xscale('log', base=2)  # equal distances for doublings
      axis.set_xticks(x, [str(value) for value in x])
      axis.minorticks_off()
    column[1].set_xlabel(name)
  for axis in axes[:, 0]:  # the other columns share its y axis; after all points are drawn
    axis.set_ylim(bottom=0)
  axes[0, 0].set_ylabel('milliseconds per\nstep of one lane')
  axes[1, 0].set_ylabel('peak memory of\nthe process, MiB')
  size = 'x'.join(map(str, BASE.input_shape))
  figure.suptitle(
    f'One of three varies; the others are {BASE.lanes} lanes, {BASE.batch} clips and {size}'
  )
  with files.replacing(path) as fresh:
    figure.savefig(fresh, dpi=120, format='png')


if __name__ == '__main__':
  cli.run(main)
