"""Trains and kills: does a study that is killed again and again end as one that is left alone?

    python -m tests.benchmarks.soak STORE --minutes=60

Trains a small study once without disturbance. Then trains it again and again for the given time, in
processes that get SIGKILL at random times, every second one while a checkpoint is written, and
compares results.json without its times, predictions.npz, and metrics.jsonl without its seconds.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging

from data_prep import store as stores
from m3net_jax.study import devices, workdir
from m3net_jax.study.config import Config
from tests import small_study

_MINUTES = flags.DEFINE_float('minutes', 60.0, 'time to train and kill')
_VARIANT = flags.DEFINE_string('variant', 'full', 'variant of the study')
_SEEDS = flags.DEFINE_integer('seeds', 2, 'lanes of the study')
_EPOCHS = flags.DEFINE_integer('epochs', 6, 'epochs of the study')
_SIDE = flags.DEFINE_integer('side', 16, 'height and width of the input')
_BATCH = flags.DEFINE_integer('batch_size', 64, 'clips per step')
_LONGEST = flags.DEFINE_float('longest', 60.0, 'longest life of a process that is killed, s')
_TIMES = ('seconds', 'compilations', 'environments')


def _resident(process: int) -> float:
  """Memory of a process that is resident, MB."""
  try:
    pages = int(Path(f'/proc/{process}/statm').read_text().split()[1])
  except (FileNotFoundError, ProcessLookupError):
    return 0.0
  return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def _start(store_path: str, workdir: Path, config: Config, log: Path) -> int:
  """Trains in a process of its own; forked before jax starts, so that nothing is imported anew."""
  process = os.fork()
  if process:
    return process
  status = 1
  try:
    with open(log, 'a') as file:
      os.dup2(file.fileno(), 1)
      os.dup2(file.fileno(), 2)
    devices.use_all_cores(log.parent)
    small_study.train(stores.load(store_path), workdir, config, checkpoint_minutes=0.02)
    status = 0
  finally:
    os._exit(status)


def _ended(process: int) -> int | None:
  """The exit status of a process, or None if it is running."""
  done, status = os.waitpid(process, os.WNOHANG)
  return os.waitstatus_to_exitcode(status) if done else None


def _written(path: Path) -> tuple[dict, dict[str, np.ndarray], list[dict]]:
  study = workdir.read(path)
  content = {name: value for name, value in study.results().items() if name not in _TIMES}
  return content, study.predictions(), [{**row, 'seconds': 0} for row in study.metrics()]


def _same(one: Path, other: Path) -> bool:
  (content, predictions, rows), expected = _written(one), _written(other)
  return (
    content == expected[0]
    and rows == expected[2]
    and predictions.keys() == expected[1].keys()
    and all(np.array_equal(array, expected[1][key]) for key, array in predictions.items())
  )


def _saving(workdir: Path, since: float) -> bool:
  """Whether a checkpoint is being written, by a process that began at `since`."""
  try:
    return any(part.stat().st_mtime > since for part in workdir.glob('checkpoints/*/*tmp*'))
  except FileNotFoundError:
    return False


def main(argv: list[str]) -> None:
  """Trains and kills."""
  (_, store_path) = argv
  logging.set_verbosity(logging.ERROR)
  config = Config(
    variants=(_VARIANT.value,),
    num_seeds=_SEEDS.value,
    num_epochs=_EPOCHS.value,
    batch_size=_BATCH.value,
    input_shape=(_SIDE.value, _SIDE.value, 1),
  )
  chance = random.Random(0)
  with tempfile.TemporaryDirectory() as name:
    root = Path(name)
    jax.config.update('jax_compilation_cache_dir', str(root / 'compiled'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    calm, memory = root / 'calm', []
    process = _start(store_path, calm, config, root / 'log')
    while (status := _ended(process)) is None:
      if (calm / 'metrics.jsonl').exists() and not (calm / 'results.json').exists():
        memory.append(_resident(process))
      time.sleep(0.05)
    assert status == 0, (root / 'log').read_text()
    print(
      f'undisturbed: memory after the first epoch {memory[0]:.0f} MB, at the end '
      f'{memory[-1]:.0f} MB',
      flush=True,
    )
    end, kills, within, same, ages = time.monotonic() + 60 * _MINUTES.value, 0, 0, [], []
    while time.monotonic() < end:
      stormy = root / 'stormy'
      shutil.rmtree(stormy, ignore_errors=True)
      while not (stormy / 'results.json').exists():
        born = time.time()
        process = _start(store_path, stormy, config, root / 'log')
        # Every second process is killed in its first to fourth checkpoint, the others at any time.
        aims, life, saves = kills % 2 == 0, chance.uniform(0, _LONGEST.value), chance.randint(1, 4)
        was_saving = False
        while (status := _ended(process)) is None:
          saving = _saving(stormy, born)
          saves -= saving and not was_saving
          was_saving = saving
          due = saving and not saves if aims else time.time() - born > life
          if due and time.monotonic() < end:
            ages.append(_resident(process))
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            kills += 1
            within += _saving(stormy, born)
            break
          time.sleep(0.002 if aims else 0.02)
        assert status in (None, 0), (root / 'log').read_text()
      same.append(_same(stormy, calm))
      print(
        f'studies {len(same)}: {sum(same)} bit-identical; {kills} kills, {within} of them in the '
        f'writing of a checkpoint; memory when killed: first {ages[0] if ages else 0:.0f} MB, '
        f'last {ages[-1] if ages else 0:.0f} MB, most {max(ages, default=0):.0f} MB',
        flush=True,
      )


if __name__ == '__main__':
  app.run(main)
