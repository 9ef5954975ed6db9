"""The time of a sweep against one study for each of its settings.

    python -m tests.benchmarks.sweep STORE [--seeds=2] [--epochs=3]

Both train the same lanes from an empty folder, each with its own empty cache of compiled programs;
the studies one after another as commands would, sharing theirs.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from data_prep import cli
from data_prep.errors import UserError

_SEEDS = flags.DEFINE_integer('seeds', 2, 'seeds of every setting', lower_bound=1)
_EPOCHS = flags.DEFINE_integer('epochs', 3, 'epochs', lower_bound=1)
RATES, MASKS = (1e-3, 3e-3), (0.5, 1.0)
_PROGRAM = """
import sys
import m3net_jax as m3
store, folder, seeds, epochs, *settings = sys.argv[1:]
settings = [text.split('=', 1) for text in settings]
sweep = tuple(value for name, value in settings if name == 'sweep')
numbers = {name: float(value) for name, value in settings if name != 'sweep'}
m3.train(
  m3.load_store(store), workdir=folder, num_seeds=int(seeds), num_epochs=int(epochs),
  batch_size=32, input_shape=(64, 64, 1), schedule='cosine', sweep=sweep, **numbers,
)
"""


def main(arguments: list[str], _: flags.FlagValues) -> None:
  if len(arguments) != 1:
    raise UserError('which store? give its folder')
  with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:
    start = time.monotonic()
    texts = [
      f'learning_rate={",".join(map(str, RATES))}',
      f'spec_augment={",".join(map(str, MASKS))}',
    ]
    _train(arguments[0], Path(one) / 'sweep', *(f'sweep={text}' for text in texts))
    swept = time.monotonic() - start
    start = time.monotonic()
    for rate in RATES:
      for mask in MASKS:
        folder = Path(several) / f'{rate}_{mask}'
        _train(arguments[0], folder, f'learning_rate={rate}', f'spec_augment={mask}')
    apart = time.monotonic() - start
  settings = len(RATES) * len(MASKS)
  print(f'{settings} settings x {_SEEDS.value} seeds, {_EPOCHS.value} epochs')
  print(f'sweep {swept:.1f} s, {settings} studies {apart:.1f} s, ratio {swept / apart:.2f}')


def _train(store: str, folder: Path, *settings: str) -> None:
  subprocess.run(
    [
      sys.executable,
      '-c',
      _PROGRAM,
      store,
      str(folder),
      str(_SEEDS.value),
      str(_EPOCHS.value),
      *settings,
    ],
    check=True,
    capture_output=True,
  )


if __name__ == '__main__':
  cli.run(main)
