"""One script for a card: is the engine right there, and how fast is it? Eight minutes by default.

    python -m tests.benchmarks.accelerator --json=card.json [--raw_dir=FOLDER_OF_THE_DIGITS]

For an image that has Python 3.12, jax[cuda] 0.11, flax 0.12, optax and orbax-checkpoint, and
nothing else, this installs what the script needs (librosa only for --raw_dir; torch, if it is
there, is compared too):

    pip install absl-py av filelock grain jinja2 joblib lazy_loader librosa matplotlib pooch \
      requests scipy soundfile soxr tqdm

Sections, each in a process of its own with a share of the time:

device    published and measured rates of the card
equality  all lowerings in values and gradients, in every precision (`card_equality`)
speed     seconds of a step and share of the peak, for two inputs and 1 to 126 lanes (`card_speed`)
resume    a study that is killed and goes on, against one that is not (`card_studies`)
digits    the study of 14 seeds of the spoken digits from --raw_dir, or from the store in
          --store_dir, from end to end (`card_studies`)
memory    planned against used (`card_speed`)
paper     hours of the paper's whole study, from the measured steps (`card_speed`)
pytorch   one model after another, and all of them by `torch.func.vmap` (`card_torch`)

What fails, or finds no time, is listed with its reason, and the others go on. The file is written
again with every row, so a run that is cut off has left its results.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from data_prep import cli, files
from tests.benchmarks import card_table
from tests.benchmarks.card_sections import TINY, LeftOut, Log, Settings, content, one_line, read

ROOT = Path(__file__).parents[2]
# Name: module, function, share of the time.
SECTIONS = {
  'device': ('card_speed', 'device', 4),
  'equality': ('card_equality', 'run', 12),
  'speed': ('card_speed', 'speed', 40),
  'resume': ('card_studies', 'resume', 10),
  'digits': ('card_studies', 'digits', 12),
  'memory': ('card_speed', 'memory', 7),
  'paper': ('card_speed', 'paper', 4),
  'pytorch': ('card_torch', 'run', 11),
}
_LAST = 2.0  # seconds for the end of a section that was told to end
# Sections whose programs other sections compile too.
_SHARE_PROGRAMS = ('speed', 'memory', 'paper')

Events = list[dict[str, Any]]
Run = Callable[[str, float, dict[str, Any], Callable[[Events], None]], Events]


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command; the last four are for the processes that it starts."""
  cli.define_path('json', 'accelerator.json', 'file of the results', values)
  cli.define_path('raw_dir', None, 'folder of the spoken digits', values)
  cli.define_path('store_dir', None, 'folder of a prepared store of the digits', values)
  cli.define_path('rows', None, 'rows of one section', values)
  cli.define_path('known', None, 'results of earlier sections', values)
  flags.DEFINE_float('minutes', 8.0, 'time for all', 0.1, flag_values=values)
  flags.DEFINE_bool('tiny', False, 'tiny sizes, to see on a CPU that it runs', flag_values=values)
  flags.DEFINE_enum('section', None, [*SECTIONS], 'measure this one here', flag_values=values)
  flags.DEFINE_float('limit', 60.0, 'seconds for this section', flag_values=values)


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Measures all sections, or in a process that it has started, one."""
  cli.no_arguments(arguments)
  settings = (TINY if values.tiny else Settings())._replace(
    raw_dir=values.raw_dir, store_dir=values.store_dir
  )
  if values.section:
    _prepare_process(values.section, Path(values.rows).parent)
    known = json.loads(Path(values.known).read_text())
    run_section(values.section, settings, Log(Path(values.rows)), values.limit, known)
    return
  with tempfile.TemporaryDirectory() as folder:
    own = [
      f'--{name}={values[name].value}' for name in ('raw_dir', 'store_dir') if values[name].value
    ]
    own += ['--tiny'] if values.tiny else []
    measured = measure(values.minutes, Path(values.json), _starter(Path(folder), own))
  print(card_table.text(measured))
  print(f'\nwrote {values.json}')


def measure(minutes: float, path: Path, run: Run) -> dict[str, Any]:
  """Runs all sections and writes what they measure to a JSON file, again after every row.

  Args:
    minutes: time for all. A section gets its share of what is left.
    path: of the file.
    run: (name of a section, its seconds, results of the earlier ones, a function to call with
      the events so far) -> its events.
  """
  begin = time.monotonic()
  results: dict[str, Any] = {'minutes': minutes, 'seconds': 0.0, 'sections': {}}

  def write(name: str, start: float, events: Events) -> None:
    now = time.monotonic()
    results['seconds'] = round(now - begin, 1)
    results['sections'][name] = {'seconds': round(now - start, 1), **content(events)}
    text = json.dumps(results, indent=1, allow_nan=False)
    files.write_bytes(path, f'{text}\n'.encode())

  shares = {name: share for name, (_, _, share) in SECTIONS.items()}
  for name in SECTIONS:
    start = time.monotonic()
    limit = (60 * minutes - (start - begin)) * shares[name] / sum(shares.values())
    del shares[name]
    events = run(name, limit, results['sections'], lambda so_far: write(name, start, so_far))
    write(name, start, events)
  return results


def run_section(
  name: str, settings: Settings, log: Log, limit: float, known: dict[str, Any]
) -> None:
  """Measures a section in this process; an error is the end of the section alone."""
  import importlib

  module, function, _ = SECTIONS[name]
  try:
    measured = importlib.import_module(f'tests.benchmarks.{module}')
    getattr(measured, function)(settings, log, time.monotonic() + limit, known)
  except LeftOut as reason:
    log.end(skipped=str(reason))
  except Exception as error:
    log.end(error=one_line(error))


def here(settings: Settings) -> Run:
  """Runs the sections in this process, for tests."""

  def run(name, limit, known, on_events):
    log = Log()
    run_section(name, settings, log, limit, known)
    return log.events

  return run


def _starter(folder: Path, arguments: list[str]) -> Run:
  """Runs every section in a process of its own.

  So none takes the memory of another, and one that crashes or hangs does not end the others.
  """

  def run(name, limit, known, on_events):
    print(f'{name}: at most {limit:.0f} s', file=sys.stderr, flush=True)
    rows, earlier, output = (folder / f'{name}.{kind}' for kind in ('rows', 'known', 'log'))
    earlier.write_text(json.dumps(known))
    until = time.monotonic() + limit
    with open(output, 'w') as log:
      process = subprocess.Popen(
        [
          *(sys.executable, '-m', 'tests.benchmarks.accelerator', *arguments),
          *(f'--section={name}', f'--rows={rows}', f'--known={earlier}'),
          f'--limit={limit - _LAST}',
        ],
        cwd=ROOT,
        stdout=log,
        stderr=log,
        start_new_session=True,
      )
    count = 0
    try:
      while process.poll() is None and time.monotonic() < until + _LAST:
        if len(events := read(rows)) > count:
          count = len(events)
          on_events(events)
        time.sleep(0.2)
    finally:
      stopped = process.poll() is None
      if stopped:
        os.killpg(process.pid, signal.SIGKILL)  # with the studies that it has started
      status = process.wait()
    events = read(rows)
    if stopped:
      events.append({'end': {'error': f'was ended after {limit:.0f} s'}})
    elif status:
      last = ' '.join(output.read_text().strip().splitlines()[-1:])
      events.append({'end': {'error': f'ended with status {status}: {last[:200]}'}})
    return events

  return run


def _prepare_process(section: str, folder: Path) -> None:
  """Sets up jax in the process of a section, before it computes."""
  import jax

  from data_prep import workers

  if section == 'pytorch':
    jax.config.update('jax_platforms', 'cpu')  # leaves the card's memory to torch
  jax.config.update('jax_num_cpu_devices', workers.num_cores())
  if section in _SHARE_PROGRAMS and not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


if __name__ == '__main__':
  cli.run(main, define)
