"""Trains every lane of a study, tests it on its test clips, and writes metrics and checkpoints.

Cohorts are trained one after another, each in one jitted program. A checkpoint is written at the
end of every epoch, within a long epoch every few minutes, and before Ctrl-C or SIGTERM ends it.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files, stopping
from data_prep.store import Store
from m3net_jax.stats import measures
from m3net_jax.study import checkpoint, cohorts, hosts, lanes, mapping, metrics, sweeps, tuning
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.input_pipeline import batch_size, steps_per_epoch
from m3net_jax.study.lanes import Lane
from m3net_jax.study.progress import Progress
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import prediction_key

Rows = list[dict[str, Any]]
CHECKPOINT_MINUTES = 10.0


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
  checkpoint_minutes: float = CHECKPOINT_MINUTES,
) -> list[Finished]:
  """Trains every lane of a study, from its last checkpoint that is whole if there is one.

  Writes `metrics.jsonl` and `checkpoints/` in `workdir`. The first Ctrl-C or SIGTERM waits for the
  steps that are being computed and for a checkpoint.

  Args:
    on_epoch: called with metrics rows of a cohort: once with the rows up to its checkpoint, then
      with the rows of each epoch.
    ingredients: noise and teacher, if the settings use them.
    checkpoint_minutes: time after which a checkpoint is written within an epoch.

  Raises:
    UserError: no checkpoint can be used.
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
  if (clips := batch_size(splits, config)) < config.batch_size:
    progress.note(
      f'--batch_size={config.batch_size}: a lane has {clips} training clips, a step takes them all'
    )

  def train_cohort(runner: Runner) -> Finished:
    return _Trainer(
      config,
      runner,
      len(store.classes),
      names,
      workdir,
      progress,
      on_epoch,
      60 * checkpoint_minutes,
    ).run()

  try:
    finished = []
    for cohort in all_cohorts:
      make_runner = lambda at_once, cohort=cohort: Runner(
        config, store, splits, cohort, ingredients, at_once
      )
      finished.append(tuning.fewer_until_it_fits(train_cohort, make_runner, progress.note))
    return finished
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
    checkpoint_seconds: float,
  ):
    self._runner, self._split_names, self._num_classes = runner, split_names, num_classes
    self._num_epochs, self._select = config.num_epochs, config.select
    self._sweeps = bool(config.sweep)
    self._folder = checkpoint.folder_of(workdir, runner.cohort)
    self._checkpoint_seconds = checkpoint_seconds
    self._workdir, self._metrics = workdir, workdir / metrics.NAME
    self._progress, self._on_epoch = progress, on_epoch
    self._done_before = progress.done  # lane-steps of other cohorts
    # How metrics.jsonl names the lanes of the cohort; it may have rows of others.
    self._lanes = [metrics.lane_of(self._row(name)) for name in runner.cohort.names]

  @property
  def _cohort(self) -> Cohort:
    return self._runner.cohort

  def run(self) -> Finished:
    rows = metrics.read(self._workdir)
    state, losses = self._first_or_last(rows)
    step, epoch = self._position(state)
    rows = self._cut(rows, epoch)
    self._on_epoch([row for row in rows if metrics.lane_of(row) in self._lanes])
    # The seconds of this run are added to those of earlier runs.
    start = time.monotonic() - max((row['seconds'] for row in rows), default=0.0)
    del rows  # many in a long study
    self._progress.go_to(self._done_before + step * len(self._cohort.names))
    self._show(epoch + 1)
    with contextlib.closing(checkpoint.Checkpoints(self._folder)) as checkpoints:
      state = self._train(state, losses, checkpoints, start)
    assert self._position(state)[1] == self._num_epochs, 'the last call of an epoch must end it'
    return self._test(state, metrics.read(self._workdir))

  def _train(
    self, state: Lane, losses: np.ndarray, checkpoints: checkpoint.Checkpoints, start: float
  ) -> Lane:
    """Trains to the end.

    Args:
      losses: training losses of the epoch that has begun, [lanes, steps].
      start: when training began, if it was never interrupted.
    """
    runner, none = self._runner, losses[:, :0]
    first_step, saved = self._position(state)[0], time.monotonic()

    def save(state: Lane, losses: np.ndarray) -> None:
      kept = runner.without_fill(state)
      checkpoints.save(int(kept.step[0]) + int(kept.epoch[0]), kept, losses)

    if losses.shape[1] == runner.steps:
      state, losses = self._end_epoch(state, losses.mean(1), start), none
      save(state, losses)  # of the last epoch, no step would follow that saves it
    with stopping.Deferred() as stop:
      asked = lambda: hosts.any_of(stop.asked is not None)

      def leave() -> None:
        hosts.leave_together()
        stop.act()

      for number, (block, steps) in enumerate(runner.training_blocks(first_step, self._num_epochs)):
        if number == 0:
          runner.check_memory(state, block)
        state, loss = runner.programs.train_fn(state, block.clips, block.order)
        loss = mapping.fetch(loss).astype(np.float64)[: len(losses), :steps]
        losses = np.concatenate([losses, loss], 1)
        self._progress.advance(loss.size)
        stop.begin()  # not before the first call, which compiles and may take long
        leaving, ends = asked(), losses.shape[1] == runner.steps
        if ends and not leaving:
          state, losses = self._end_epoch(state, losses.mean(1), start), none
          leaving = asked()
        if ends or leaving or hosts.any_of(time.monotonic() - saved >= self._checkpoint_seconds):
          save(state, losses)
          saved = time.monotonic()
          leaving = asked()
        if leaving:
          leave()
        if ends:
          self._show(self._position(state)[1] + 1)
      if asked():
        leave()
    return state

  def _position(self, state: Lane) -> tuple[int, int]:
    """Training steps and epochs that all lanes have finished."""
    step, epoch = mapping.fetch((state.step, state.epoch))
    return int(step[0]), int(epoch[0])

  def _show(self, epoch: int) -> None:
    """Shows which epoch is trained, or that the lanes are tested."""
    lanes_text = f'{len(self._cohort.names)} lanes'
    if epoch <= self._num_epochs:
      self._progress.start(f'epoch {epoch}/{self._num_epochs}  {lanes_text}')
    else:
      self._progress.start(f'testing  {lanes_text}')

  def _first_or_last(self, rows: Rows) -> tuple[Lane, np.ndarray]:
    """All lanes before their first step or from the last checkpoint, and losses of its epoch."""
    state = self._runner.initial()
    written = {(metrics.lane_of(row), row['epoch']) for row in rows}
    saved = checkpoint.last(
      self._folder,
      self._runner.without_fill(state),
      lambda lane: all(
        (name, epoch) in written
        for epoch in range(1, int(lane.epoch[0]) + 1)
        for name in self._lanes
      ),
      self._progress.note,
    )
    if saved is None:
      return state, np.zeros((len(self._lanes), 0))
    # A split has another position in a study that was merged of several.
    lanes = self._runner.with_fill(saved.state)._replace(split=state.split)
    return lanes, saved.losses

  def _cut(self, rows: Rows, epoch: int) -> Rows:
    """The rows of other cohorts, and those of this one up to `epoch`; the file keeps no others.

    Raises UserError if a row is missing.
    """
    own = set(self._lanes)
    rows = [row for row in rows if row['epoch'] <= epoch or metrics.lane_of(row) not in own]
    metrics.check(self._workdir, rows, self._lanes, epoch)
    if self._metrics.exists() and hosts.first():
      files.write_rows(self._metrics, rows)
    return rows

  def _row(self, name: LaneName) -> dict[str, Any]:
    row = {'variant': name.variant, 'seed': name.seed, 'split': self._split_names[name.split]}
    return {**row, 'setting': name.setting} if self._sweeps else row

  def _end_epoch(self, state: Lane, train_loss: np.ndarray, start: float) -> Lane:
    """Validates all lanes and writes their rows.

    Args:
      train_loss: mean of the epoch, [lanes].
    """
    runner, names = self._runner, self._cohort.names
    last_step = state._replace(step=state.step - 1)
    rate = mapping.fetch(lanes.learning_rate(runner.training, last_step))
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
    status, epochs = mapping.fetch((state.status, state.epoch))
    epoch = int(epochs[0])
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
        **self._diverged_at(int(status[i])),
        'seconds': seconds,
      }
      for i, name in enumerate(names)
    ]
    if hosts.first():
      files.append_rows(self._metrics, rows)
    self._on_epoch(rows)
    healthy = status[: len(names)] == lanes.RUNNING
    text = f'epoch {epoch}/{self._num_epochs}  {len(names)} lanes'
    if not healthy.all():
      text += f', {(~healthy).sum()} diverged'
    if healthy.any():
      loss, accuracy = train_loss[healthy].mean(), accuracy[: len(names)][healthy].mean()
      text += f'  loss {loss:.3f}  val {accuracy:.1%}'
    self._progress.end_epoch(text)
    return state

  def _diverged_at(self, status: int) -> dict[str, int]:
    """Epoch and training step of it, counted from 1, at which a lane diverged, if it did."""
    if status == lanes.RUNNING:
      return {}
    epoch, step = divmod(status - 1, self._runner.steps)
    return {'diverged_epoch': epoch + 1, 'diverged_step': step + 1}

  def _mean_loss(self, name: LaneName, losses: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the losses of clips [clips], weighted as in training."""
    weights = self._runner.class_weights(name.split)
    return float((losses if weights is None else losses * weights[labels]).mean())

  def _test(self, state: Lane, epochs: Rows) -> Finished:
    """Tests lanes with the parameters of their best validation epoch.

    These are all lanes, or those of the chosen settings of a sweep.
    """
    runner, names = self._runner, self._cohort.names
    best_epoch, status, score = mapping.fetch((state.best.epoch, state.status, state.best.score))
    chosen = sweeps.chosen(names, score[: len(names)])
    predicted, _ = runner.scores(state, state.best.variables, 'test', chosen)
    by_epoch = {(metrics.lane_of(row), row['epoch']): row for row in epochs}
    validated, rows = [], []
    for i, (name, labels) in enumerate(zip(names, runner.labels('test'))):
      # A lane that diverged in its first epoch has no best one.
      validation = by_epoch.get((self._lanes[i], int(best_epoch[i])), {})
      lane = {
        **self._row(name),
        'status': 'diverged' if status[i] else 'finished',
        **self._diverged_at(int(status[i])),
      }
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
