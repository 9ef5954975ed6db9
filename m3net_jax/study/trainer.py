"""Trains every lane of a study, tests it on its test clips, and writes metrics and checkpoints.

Cohorts are trained one after another, each in one jitted program.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep.store import Store
from m3net_jax.stats import measures
from m3net_jax.study import checkpoint, cohorts, lanes, sweeps
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.input_pipeline import steps_per_epoch
from m3net_jax.study.lanes import Lane
from m3net_jax.study.progress import Progress
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import prediction_key

Rows = list[dict[str, Any]]


def ignore_rows(rows: Rows) -> None:
  """Does nothing; the default `on_epoch` of `train`."""


class Finished(NamedTuple):
  """A trained cohort.

  Attributes:
    validated: one row per lane with its best validation epoch.
    names: names of the lanes that were tested: all, or those of the chosen settings of a sweep.
    rows: one row of results per tested lane.
    predictions: predicted classes of the test clips, in the order of `Split.test`; one array
      [test clips] per tested lane.
    compilations: number of programs compiled.
  """

  validated: Rows
  names: tuple[LaneName, ...]
  rows: Rows
  predictions: list[np.ndarray]
  compilations: int


def train(
  config: Config,
  seed_ranges: Sequence[range],
  store: Store,
  splits: list[Split],
  workdir: Path,
  on_epoch: Callable[[Rows], None] = ignore_rows,
  ingredients: Ingredients = NONE,
) -> list[Finished]:
  """Trains every lane of a study, from its last checkpoint if there is one.

  Writes `metrics.jsonl` and `checkpoints/` in `workdir`.

  Args:
    on_epoch: called with metrics rows of a cohort: once with the rows up to its checkpoint, then
      with the rows of each epoch.
    ingredients: noise and teacher, if the settings use them.
  """
  all_cohorts = cohorts.make(config, seed_ranges, len(splits))
  steps = steps_per_epoch(splits, config) * config.num_epochs
  progress = Progress(sum(len(cohort.names) for cohort in all_cohorts) * steps)
  names = [split.name for split in splits]
  progress.note(
    f'{workdir}: {len(config.variants)} x {len(splits)} x {config.num_seeds}'
    + (f' x {len(config.settings)}' if config.sweep else '')
    + f' lanes (variants, splits, seeds{", settings" if config.sweep else ""}), '
    f'{config.num_epochs} epochs'
  )
  try:
    return [
      _Trainer(
        config,
        Runner(config, store, splits, cohort, ingredients),
        len(store.classes),
        names,
        workdir,
        progress,
        on_epoch,
      ).run()
      for cohort in all_cohorts
    ]
  finally:
    progress.close()


def predictions_by_key(finished: Sequence[Finished], splits: list[Split]) -> dict[str, np.ndarray]:
  """The test predictions of every lane by its key, for `Workdir.write_predictions`."""
  return {
    prediction_key(name.variant, splits[name.split].name, name.seed): predicted
    for cohort in finished
    for name, predicted in zip(cohort.names, cohort.predictions)
  }


class _Trainer:
  """Trains one cohort from its first epoch or its last checkpoint, and tests it."""

  def __init__(
    self,
    config: Config,
    runner: Runner,
    num_classes: int,
    split_names: list[str],
    workdir: Path,
    progress: Progress,
    on_epoch: Callable[[Rows], None],
  ):
    self._runner, self._split_names, self._num_classes = runner, split_names, num_classes
    self._num_epochs, self._select = config.num_epochs, config.select
    self._sweeps = bool(config.sweep)
    self._checkpoints = checkpoint.Checkpoints(checkpoint.folder_of(workdir, runner.cohort))
    self._metrics = workdir / 'metrics.jsonl'
    self._progress, self._on_epoch = progress, on_epoch

  @property
  def _cohort(self) -> Cohort:
    return self._runner.cohort

  def run(self) -> Finished:
    runner, num_lanes = self._runner, len(self._cohort.names)
    state = self._first_or_last()
    first = int(state.epoch[0])
    rows = self._rows_until(first)
    self._on_epoch([row for row in rows if self._name(row) in self._cohort.names])
    # The seconds of this run are added to those of earlier runs.
    start = time.monotonic() - max((row['seconds'] for row in rows), default=0.0)
    self._progress.skip(first * runner.steps * num_lanes)
    self._show(first + 1)
    losses: list[np.ndarray] = []
    for block, steps in runner.training_blocks(first, self._num_epochs):
      state, loss = runner.programs.train_fn(state, block.clips, block.order)
      losses.append(np.asarray(loss, np.float64)[:, :steps])
      self._progress.advance(steps * num_lanes)
      if sum(part.shape[1] for part in losses) == runner.steps:
        state, epoch_rows = self._end_epoch(state, np.concatenate(losses, 1).mean(1), start)
        losses = []
        rows += epoch_rows
        self._on_epoch(epoch_rows)
        files.write_rows(self._metrics, rows)
        epoch = epoch_rows[0]['epoch']
        self._checkpoints.save(epoch, runner.without_fill(state))
        self._show(epoch + 1)
    assert int(state.epoch[0]) == self._num_epochs, 'the last call of an epoch must end it'
    finished = self._test(state, rows)
    self._checkpoints.close()
    return finished

  def _show(self, epoch: int) -> None:
    """Shows which epoch is trained, or that the lanes are tested."""
    lanes_text = f'{len(self._cohort.names)} lanes'
    if epoch <= self._num_epochs:
      self._progress.start(f'epoch {epoch}/{self._num_epochs}  {lanes_text}')
    else:
      self._progress.start(f'testing  {lanes_text}')

  def _first_or_last(self) -> Lane:
    state = self._runner.initial()
    if not self._checkpoints.latest():
      return state
    return self._runner.with_fill(
      self._checkpoints.restore(self._runner.without_fill(state)), state
    )

  def _rows_until(self, epoch: int) -> Rows:
    """The rows of other cohorts, and those of this one up to `epoch`."""
    names = set(self._cohort.names)
    return [
      row
      for row in files.read_rows(self._metrics)
      if row['epoch'] <= epoch or self._name(row) not in names
    ]

  def _name(self, row: dict[str, Any]) -> LaneName:
    split = self._split_names.index(row['split'])
    return LaneName(row['variant'], row['seed'], split, row.get('setting', 0))

  def _row(self, name: LaneName) -> dict[str, Any]:
    row = {'variant': name.variant, 'seed': name.seed, 'split': self._split_names[name.split]}
    return {**row, 'setting': name.setting} if self._sweeps else row

  def _end_epoch(self, state: Lane, train_loss: np.ndarray, start: float) -> tuple[Lane, Rows]:
    runner, names = self._runner, self._cohort.names
    last_step = state._replace(step=state.step - 1)
    rate = np.asarray(lanes.learning_rate(runner.training, last_step))
    predicted, losses = runner.scores(state, lanes.evaluated(state), 'validation')
    labels = runner.labels('validation')
    accuracy = np.array([_accuracy(*answers) for answers in zip(predicted, labels)])
    balanced = np.array(
      [
        measures.balanced_accuracy(*answers, self._num_classes)
        for answers in zip(predicted, labels)
      ]
    )
    mean_loss = np.array([self._mean_loss(*lane) for lane in zip(runner.names, losses, labels)])
    score = {'accuracy': accuracy, 'balanced_accuracy': balanced, 'loss': -mean_loss}[self._select]
    state = runner.programs.finish_fn(state, mean_loss, score)
    seconds = round(time.monotonic() - start, 2)
    status, epoch = np.asarray(state.status), int(state.epoch[0])
    rows = [
      {
        **self._row(name),
        'epoch': epoch,
        'train_loss': _finite(train_loss[i]),
        'validation_loss': _finite(mean_loss[i]),
        'validation_accuracy': accuracy[i],
        'validation_balanced_accuracy': balanced[i],
        'learning_rate': float(rate[i]),
        'status': 'diverged' if status[i] else 'running',
        'seconds': seconds,
      }
      for i, name in enumerate(names)
    ]
    self._progress.end_epoch(
      f'epoch {epoch}/{self._num_epochs}  {len(names)} lanes  '
      f'loss {train_loss[: len(names)].mean():.3f}  val {accuracy[: len(names)].mean():.1%}'
    )
    return state, rows

  def _mean_loss(self, name: LaneName, losses: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the losses of clips [clips], weighted as in training."""
    weights = self._runner.class_weights(name.split)
    return float((losses if weights is None else losses * weights[labels]).mean())

  def _test(self, state: Lane, metrics: Rows) -> Finished:
    """Tests lanes with the parameters of their best validation epoch.

    These are all lanes, or those of the chosen settings of a sweep.
    """
    runner, names = self._runner, self._cohort.names
    best_epoch, status, score = map(np.asarray, (state.best.epoch, state.status, state.best.score))
    chosen = sweeps.chosen(names, score[: len(names)])
    predicted, _ = runner.scores(state, state.best.variables, 'test', chosen)
    by_epoch = {(self._name(row), row['epoch']): row for row in metrics}
    validated, rows = [], []
    for i, (name, labels) in enumerate(zip(names, runner.labels('test'))):
      # A lane that diverged in its first epoch has no best one.
      validation = by_epoch.get((name, int(best_epoch[i])), {})
      lane = {**self._row(name), 'status': 'diverged' if status[i] else 'finished'}
      best = {
        'validation_accuracy': validation.get('validation_accuracy', 0.0),
        'validation_balanced_accuracy': validation.get('validation_balanced_accuracy', 0.0),
        'validation_loss': validation.get('validation_loss'),
        'best_epoch': int(best_epoch[i]),
      }
      validated.append(lane | best)
      if chosen[i]:
        answers = (predicted[i], labels, self._num_classes)
        test = {
          'test_accuracy': _accuracy(predicted[i], labels),
          'balanced_accuracy': measures.balanced_accuracy(*answers),
          'macro_f1': measures.macro_f1(*answers),
        }
        rows.append(lane | test | best)
    return Finished(
      validated,
      tuple(name for name, tested in zip(names, chosen) if tested),
      rows,
      [answers for answers, tested in zip(predicted, chosen) if tested],
      runner.programs.compilations(),
    )


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
  return float((predicted == labels).mean())


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
