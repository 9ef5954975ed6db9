"""How long a study takes from its command to its first training step, with nothing compiled before and again.

    python -m tests.benchmarks.startup [--input_size=64] [--num_seeds=14] [--batch_size=64] [--rounds=3]

A small folder of sine tones is made and its features are prepared first, in a temporary folder. The
command is then run in a terminal of its own, where its line of progress is drawn anew when the first call
of the training program returns: that moment ends the time, so it holds the few steps of that call too.
"""

import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from absl import flags

from data_prep import cli

_SIZE = flags.DEFINE_integer('input_size', 64, 'height and width of the input', lower_bound=8)
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 14, 'lanes', lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 64, 'clips in a step of a lane', lower_bound=2)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 3, 'studies of each kind; medians are printed', lower_bound=1
)
RATE, CLASSES, TAKES = 16000, 4, 40
_DRAWN = b'\r\x1b[2K'  # what progress draws its line anew with


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  imports, cold, warm = [], [], []
  with tempfile.TemporaryDirectory() as folder:
    here = Path(folder)
    _tones(here / 'tones')
    corpus = ['--corpus=folder', f'--raw_dir={here / "tones"}', f'--store_dir={here / "stores"}']
    subprocess.run(
      [sys.executable, '-m', 'data_prep.main', *corpus], check=True, stdout=subprocess.DEVNULL
    )
    for number in range(_ROUNDS.value):
      begun = time.perf_counter()
      subprocess.run([sys.executable, '-c', 'import m3net_jax.main'], check=True)
      imports.append(time.perf_counter() - begun)
      # Compiled programs are kept beside the workdir: a new folder has none.
      for seconds, name in ((cold, 'cold'), (warm, 'warm')):
        seconds.append(first_step([*corpus, f'--workdir={here / str(number) / name}']))
  print(
    f'{_NUM_SEEDS.value} lanes x {_BATCH_SIZE.value} clips at {_SIZE.value}x{_SIZE.value}x1: seconds to the '
    f'first training step, medians of {_ROUNDS.value}\n'
  )
  for name, seconds in (
    ('nothing compiled before', cold),
    ('compiled by an earlier study', warm),
    ('of these: Python and its imports', imports),
  ):
    print(f'{name:<36}{statistics.median(seconds):>8.1f}')


def first_step(arguments: list[str]) -> float:
  """Seconds from the command to the return of the first call of the training program; lets the study end."""
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
  ours, theirs = pty.openpty()
  begun = time.perf_counter()
  with subprocess.Popen(
    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
  ) as process:
    os.close(theirs)
    shown, found = b'', None
    while block := _read(ours):
      shown += block
      if found is None and shown.count(_DRAWN) >= 2:  # the first time before any step
        found = time.perf_counter() - begun
    process.communicate()
  os.close(ours)
  if process.returncode or found is None:
    raise SystemExit(
      f'error: {" ".join(command)} ended with {process.returncode}:\n{shown.decode(errors="replace")}'
    )
  return found


def _read(terminal: int) -> bytes:
  """What came next; nothing once the other side has closed."""
  try:
    return os.read(terminal, 4096)
  except OSError:  # how Linux reports it
    return b''


def _tones(root: Path) -> None:
  """Recordings of a second in the `folder` layout, a class a pitch."""
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
