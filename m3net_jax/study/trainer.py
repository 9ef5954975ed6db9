"""Trains every lane of a study, tests it on its test split, and writes its rows and checkpoints.

Cohorts are trained one after another, each in one jitted program.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep.store import Store
from m3net_jax.study import checkpoint, cohorts, lanes
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.input_pipeline import steps_per_epoch
from m3net_jax.study.lanes import Lane
from m3net_jax.study.progress import Progress
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import prediction_key

Rows = list[dict[str, Any]]


def ignore_rows(rows: Rows) -> None:
  """What is called after every epoch if nobody asked for it."""


class Finished(NamedTuple):
  """A trained cohort.

  Attributes:
    names: its lanes.
    rows: one row of results per lane.
    predictions: per lane the predicted classes of its test clips, in the order of `Split.test`.
    compilations: programs compiled.
  """

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
) -> list[Finished]:
  """Trains every lane of the study, from its last checkpoint if there is one.

  Writes `metrics.jsonl` and `checkpoints/` in `workdir`.

  Args:
    on_epoch: called with the metrics rows of a cohort: once with those up to its checkpoint, then after every epoch.
  """
  all_cohorts = cohorts.make(config, seed_ranges, len(splits))
  steps = steps_per_epoch(splits, config.batch_size) * config.num_epochs
  progress = Progress(sum(len(cohort.names) for cohort in all_cohorts) * steps)
  names = [split.name for split in splits]
  progress.note(
    f'{workdir}: {len(config.variants)} x {len(splits)} x {config.num_seeds} lanes (variants, splits, seeds), '
    f'{config.num_epochs} epochs'
  )
  try:
    return [
      _Trainer(
        Runner(config, store, splits, cohort), names, config.num_epochs, workdir, progress, on_epoch
      ).run()
      for cohort in all_cohorts
    ]
  finally:
    progress.close()


def predictions_by_key(finished: Sequence[Finished], splits: list[Split]) -> dict[str, np.ndarray]:
  """What `Workdir.write_predictions` takes: the test predictions of every lane by its key."""
  return {
    prediction_key(name.variant, splits[name.split].name, name.seed): predicted
    for cohort in finished
    for name, predicted in zip(cohort.names, cohort.predictions)
  }


class _Trainer:
  """One cohort from its first epoch, or its last checkpoint, to its tested lanes."""

  def __init__(
    self,
    runner: Runner,
    split_names: list[str],
    num_epochs: int,
    workdir: Path,
    progress: Progress,
    on_epoch: Callable[[Rows], None],
  ):
    self._runner, self._split_names, self._num_epochs = runner, split_names, num_epochs
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
    # Seconds of this run count on from those of the runs before.
    begun = time.monotonic() - max((row['seconds'] for row in rows), default=0.0)
    self._progress.skip(first * runner.steps * num_lanes)
    self._progress.start(f'epoch {first + 1}/{self._num_epochs}  {num_lanes} lanes')
    losses: list[np.ndarray] = []
    for block, taken in runner.training_blocks(first, self._num_epochs):
      state, loss = runner.programs.train_fn(state, block.clips, block.order)
      losses.append(np.asarray(loss, np.float64)[:, :taken])
      self._progress.advance(taken * num_lanes)
      if sum(each.shape[1] for each in losses) == runner.steps:
        state, new = self._end_epoch(state, np.concatenate(losses, 1).mean(1), begun)
        losses = []
        rows += new
        self._on_epoch(new)
        files.write_rows(self._metrics, rows)
        self._checkpoints.save(new[0]['epoch'], runner.without_fill(state))
    finished = self._test(state)
    self._checkpoints.close()
    return finished

  def _first_or_last(self) -> Lane:
    state = self._runner.initial()
    if not self._checkpoints.latest():
      return state
    return self._runner.with_fill(
      self._checkpoints.restore(self._runner.without_fill(state)), state
    )

  def _rows_until(self, epoch: int) -> Rows:
    """The rows of other cohorts, and of this one up to its checkpoint: later rows of a stopped run are dropped."""
    own = set(self._cohort.names)
    return [
      row
      for row in files.read_rows(self._metrics)
      if row['epoch'] <= epoch or self._name(row) not in own
    ]

  def _name(self, row: dict[str, Any]) -> LaneName:
    return LaneName(row['variant'], row['seed'], self._split_names.index(row['split']))

  def _row(self, name: LaneName) -> dict[str, Any]:
    return {'variant': name.variant, 'seed': name.seed, 'split': self._split_names[name.split]}

  def _end_epoch(self, state: Lane, train_loss: np.ndarray, begun: float) -> tuple[Lane, Rows]:
    runner, names = self._runner, self._cohort.names
    rate = np.asarray(lanes.learning_rate(runner.training, state))
    predicted, loss = runner.scores(state, state.variables, 'validation')
    accuracy = np.array([_accuracy(p, l) for p, l in zip(predicted, runner.labels('validation'))])
    mean_loss = np.array([each.mean() for each in loss])
    state = runner.programs.finish_fn(state, mean_loss, accuracy)
    seconds = round(time.monotonic() - begun, 2)
    status, epoch = np.asarray(state.status), int(state.epoch[0])
    rows = [
      {
        **self._row(name),
        'epoch': epoch,
        'train_loss': _finite(train_loss[i]),
        'validation_loss': _finite(mean_loss[i]),
        'validation_accuracy': accuracy[i],
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

  def _test(self, state: Lane) -> Finished:
    """Test accuracy of every lane with the parameters of its best validation epoch."""
    runner = self._runner
    predicted, _ = runner.scores(state, state.best.variables, 'test')
    best_accuracy, best_epoch, status = map(
      np.asarray, (state.best.accuracy, state.best.epoch, state.status)
    )
    sides = zip(self._cohort.names, predicted, runner.labels('test'), runner.labels('validation'))
    rows = []
    for i, (name, classes, labels, validation) in enumerate(sides):
      # The lane holds a float32; the fraction of clips is exact.
      correct = round(max(float(best_accuracy[i]), 0.0) * len(validation))
      rows.append(
        {
          **self._row(name),
          'status': 'diverged' if status[i] else 'finished',
          'test_accuracy': _accuracy(classes, labels),
          'validation_accuracy': correct / len(validation),
          'best_epoch': int(best_epoch[i]),
        }
      )
    return Finished(
      self._cohort.names, rows, predicted[: len(rows)], runner.programs.compilations()
    )


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
  return float((predicted == labels).mean())


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
