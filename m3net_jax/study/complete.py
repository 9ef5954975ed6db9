"""Completes a study: trains and tests its lanes and writes predictions.npz and results.json."""

import contextlib
import sys
import time

from data_prep import files
from data_prep.store import Store
from m3net_jax.study import cohorts, devices, hosts, locks, opening, results, trainer, tuning
from m3net_jax.study.ingredients import Ingredients
from m3net_jax.study.tensorboard import Board
from m3net_jax.study.workdir import Workdir


def complete(
  study: Workdir,
  store: Store,
  shared: Ingredients,
  *,
  tensorboard: bool = False,
  checkpoint_minutes: float = trainer.CHECKPOINT_MINUTES,
) -> None:
  """Trains the lanes that are not finished, tests all and writes what was found.

  Args:
    study: its folder, whose lock is held.
    store: of the study.
    shared: its noise and its teacher.
    tensorboard: also write event files for TensorBoard.
    checkpoint_minutes: time after which a checkpoint is written within an epoch.
  """
  path, config, study_splits = study.path, study.config, study.splits(store)
  note = lambda line: print(line, file=sys.stderr)
  computed = tuning.settled(
    config, study.seed_ranges, store, study_splits, shared, study.environments, note
  )
  with hosts.first_goes():
    study, changes = opening.compute_under(study, devices.environment(computed))
  if changes:
    print(
      f'{path}: begun under {"; ".join(changes)}: the lanes can differ in their last bits from '
      'those of one run; results.json names both',
      file=sys.stderr,
    )
  if shared.noise is not None:
    print(f'{path}: noise: {shared.noise.text()}', file=sys.stderr)
  start = time.monotonic()
  names = cohorts.make(config, study.seed_ranges, len(study_splits))
  num_lanes = sum(len(cohort.names) for cohort in names) // len(config.variants)
  with contextlib.ExitStack() as stack:
    on_epoch = trainer.ignore_rows
    if tensorboard and hosts.first():
      on_epoch = stack.enter_context(Board(path / 'tensorboard', num_lanes)).add
    finished = trainer.train(
      computed,
      study.seed_ranges,
      store,
      study_splits,
      path,
      on_epoch,
      shared,
      checkpoint_minutes,
    )
  seconds = time.monotonic() - start
  predictions = trainer.predictions_by_key(finished, study_splits)
  content = results.build(
    config,
    store,
    study_splits,
    [row for cohort in finished for row in cohort.rows],
    predictions,
    validated=[row for cohort in finished for row in cohort.validated],
    environments=study.environments,
    compilations=sum(cohort.compilations for cohort in finished),
    seconds=max(seconds, *(row['seconds'] for row in study.metrics())),
  )
  if not hosts.first():
    return
  with locks.reporting(path):  # a report is of one study
    study.write_predictions(predictions)
    files.write_json(path / 'results.json', content)


def test_within(study: Workdir, margin: float) -> None:
  """Tests a finished study anew if its margin, in points, was another one."""
  content = study.results()
  if any(test['margin'] != margin / 100 for test in content['tests']):
    content['tests'] = results.tests(content, margin)
    files.write_json(study.path / 'results.json', content)
