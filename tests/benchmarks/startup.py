"""How long a study takes from its command to its first step, without and with compiled programs.

    python -m tests.benchmarks.startup [--input_size=64] [--num_seeds=14] [--batch_size=64]
        [--rounds=3]

First a small corpus of sine tones is made and prepared in a temporary folder. Then the command
runs in its own terminal, and its progress line is drawn again when the first call of the training
program returns. The time ends then, so it includes the few steps of that call. A second study uses
the programs that the first one compiled.
"""

import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import numpy as np
import soundfile
from absl import flags

from data_prep import cli

_SIZE = flags.DEFINE_integer('input_size', 64, 'height and width of the input', lower_bound=8)
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 14, 'lanes', lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 64, 'clips per step of a lane', lower_bound=2)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 3, 'studies of each kind; medians are printed', lower_bound=1
)
RATE, CLASSES, TAKES = 16000, 4, 40
_PROGRESS = re.compile(rb' [1-9]\d*%\|')  # a bar after the first call


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  imports, cold, warm = [], [], []
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    _tones(root / 'tones')
    corpus = ['--corpus=folder', f'--raw_dir={root / "tones"}', f'--store_dir={root / "stores"}']
    subprocess.run(
      [sys.executable, '-m', 'data_prep.main', *corpus], check=True, stdout=subprocess.DEVNULL
    )
    for number in range(_ROUNDS.value):
      start = time.perf_counter()
      subprocess.run([sys.executable, '-c', 'import m3net_jax.api'], check=True)
      imports.append(time.perf_counter() - start)
      # Compiled programs are stored beside the workdir: a new folder has none.
      for seconds, name in ((cold, 'cold'), (warm, 'warm')):
        seconds.append(first_step([*corpus, f'--workdir={root / str(number) / name}']))
  print(
    f'{_NUM_SEEDS.value} lanes x {_BATCH_SIZE.value} clips at {_SIZE.value}x{_SIZE.value}x1: '
    f'seconds to the first training step, medians of {_ROUNDS.value}\n'
  )
  for name, seconds in (
    ('nothing compiled before', cold),
    ('compiled by an earlier study', warm),
    ('of these: Python and its imports', imports),
  ):
    print(f'{name:<36}{statistics.median(seconds):>8.1f}')


def first_step(arguments: list[str]) -> float:
  """Seconds from the command to the return of the first call of the training program.

  Returns after the study has ended.
  """
  command = [
    sys.executable,
    '-m',
    'm3net_jax.main',
    *arguments,
    f'--input_shape={_SIZE.value},{_SIZE.value},1',
    f'--num_seeds={_NUM_SEEDS.value}',
    f'--batch_size={_BATCH_SIZE.value}',
    '--num_epochs=1',
  ]
  controller, terminal = pty.openpty()
  termios.tcsetwinsize(terminal, (24, 80))
  start = time.perf_counter()
  with subprocess.Popen(
    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal
  ) as process:
    os.close(terminal)
    output, seconds = b'', None
    while block := _read(controller):
      output += block
      if seconds is None and _PROGRESS.search(output):
        seconds = time.perf_counter() - start
    process.communicate()
  os.close(controller)
  if process.returncode or seconds is None:
    raise SystemExit(
      f'error: {" ".join(command)} ended with {process.returncode}:\n'
      f'{output.decode(errors="replace")}'
    )
  return seconds


def _read(controller: int) -> bytes:
  """The next bytes; empty after the process has closed the terminal."""
  try:
    return os.read(controller, 4096)
  except OSError:  # Linux reports a closed terminal with an error
    return b''


def _tones(root: Path) -> None:
  """Writes recordings of one second in the `folder` layout, one class per pitch."""
  rng = np.random.default_rng(0)
  seconds = np.arange(RATE) / RATE
  for number in range(CLASSES):
    (root / f'tone_{number}').mkdir(parents=True)
    for take in range(TAKES):
      tone = np.sin(2 * np.pi * 300 * 2**number * rng.uniform(0.9, 1.1) * seconds)
      soundfile.write(
        root / f'tone_{number}' / f'{take}.wav', 0.3 * tone + 0.05 * rng.standard_normal(RATE), RATE
      )


if __name__ == '__main__':
  cli.run(main)
