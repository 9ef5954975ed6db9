"""Trains a study of M3Net: prepares the features, trains every lane, tests, writes the workdir.

    python -m m3net_jax.main --flagfile=launch/quick.flags

The same command continues a stopped study from its last epoch; a finished one says so and does nothing.
"""
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags

from data_prep import cli, files, mel, store
from data_prep import flags as data_flags
from m3net_jax.reporting import plan_text, summary
from m3net_jax.study import config as config_module
from m3net_jax.study import plan, results, splits, tensorboard, trainer, workdir

_WORKDIR = flags.DEFINE_string('workdir', None, 'checkpoints and results of this study (default: studies/CORPUS)')
_TENSORBOARD = flags.DEFINE_bool('tensorboard', False, 'also write WORKDIR/tensorboard: loss, accuracy and '
                                 'rate of every lane by epoch, and their mean, lowest and highest')
_PLAN = flags.DEFINE_bool('plan', False, 'train nothing: print memory and time that the study would take, from a few '
                          'timed steps, and the differences that its seeds can show')
for module in (data_flags, config_module):
  flags.adopt_module_key_flags(module)


def main(arguments: list[str]) -> None:
  cli.no_arguments(arguments)
  config, features = config_module.from_flags(), data_flags.features_from_flags()
  prepared = store.load(data_flags.prepare_from_flags(), features)
  made = splits.make(prepared, config.split)
  path = Path(_WORKDIR.value or f'studies/{prepared.manifest["corpus"]}')
  if _PLAN.value:
    _plan(path, config, features, prepared, made)
    return
  here = workdir.open_for(path, config, features, prepared.path, prepared.manifest['files']['mels.npy']['sha256'])
  if here.finished:
    print(f'{here.path}: this study is finished; give another --workdir to train it anew\n')
    if not (here.path / 'report.html').exists():
      _report(here)  # the command was stopped between its results and its report
    print(summary.text(here.results()))
    return
  _prepare_jax(here.path)
  print(f'{here.path}: {len(config.variants)} x {len(made)} x {config.num_seeds} lanes (variants, splits, seeds), '
        f'{config.num_epochs} epochs', flush=True)
  begun = time.monotonic()
  with _telling(here, len(made)) as tell:
    finished = trainer.train(config, here.seeds, prepared, made, here.path, tell)
  _write(here, prepared, made, finished, time.monotonic() - begun)


def _plan(path: Path, config: config_module.Config, features: mel.Features, prepared: store.Store,
          made: list[splits.Split]) -> None:
  # Read before anything is timed: a workdir that cannot be read is said at once.
  found = workdir.read(path).results() if (path / 'results.json').exists() else None
  _prepare_jax(path)
  seeds = workdir.lacking(path, config, features, prepared.manifest['files']['mels.npy']['sha256'])
  if seeds != [config.seeds]:
    print(f'{path}: seeds {seeds[0].start} to {seeds[0].stop - 1} are not trained yet')
  measured = plan.measure(config, seeds, prepared, made)
  print(plan_text.text(config, len(prepared.classes), len(made), measured, found))


@contextlib.contextmanager
def _telling(here: workdir.Workdir, num_splits: int) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
  """What is told the rows of every epoch: TensorBoard's files, where they are asked for."""
  if not _TENSORBOARD.value:
    yield lambda rows: None
    return
  with tensorboard.Board(here.path / 'tensorboard', sum(map(len, here.seeds)) * num_splits) as board:
    yield board.add


def _write(here: workdir.Workdir, prepared: store.Store, made: list[splits.Split], finished: list[trainer.Finished],
           seconds: float) -> None:
  from m3net_jax.reporting import figures
  metrics = here.metrics()
  here.write_predictions(trainer.predictions_by_key(finished, made))
  found = results.build(here.config, prepared, made, [row for cohort in finished for row in cohort.rows],
                        compilations=sum(cohort.compilations for cohort in finished),
                        seconds=max(seconds, *(row['seconds'] for row in metrics)))
  pictures = figures.write(here.path / 'figures', found, metrics)
  files.write_json(here.path / 'results.json', found)
  print(f'\n{summary.text(found)}\n')
  written = _report(here)
  print('\n'.join(f'wrote {path}' for path in (here.path / 'results.json', *written, *pictures)))


def _prepare_jax(path: Path) -> None:
  """Shares lanes out over the cores, and keeps compiled programs beside the workdir for the next study."""
  jax.config.update('jax_num_cpu_devices', len(os.sched_getaffinity(0)))
  jax.config.update('jax_compilation_cache_dir', str(path.absolute().parent / '.compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)


def _report(here: workdir.Workdir) -> list[Path]:
  from m3net_jax.reporting import report  # matplotlib is slow to import: not before training
  return report.write(here)


if __name__ == '__main__':
  cli.run(main)
