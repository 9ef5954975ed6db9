"""A study: every lane of one command trained, tested on its test split, and its rows and checkpoints written.

Lanes of variants that share a program are one cohort: a cohort is trained in one jitted program, one after another.
"""
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from data_prep.store import Store
from m3net_jax import files, image, lanes, models, ops
from m3net_jax.checkpoint import Checkpoints
from m3net_jax.config import Config
from m3net_jax.input_pipeline import Feeder, in_batches, order_of
from m3net_jax.lanes import Lane, Programs, Training
from m3net_jax.models import Architecture, M3Net, Switches
from m3net_jax.progress import Progress
from m3net_jax.splits import Split
from m3net_jax.workdir import prediction_key

_TIMED_CALLS = 2


class LaneName(NamedTuple):
  """What a lane is; `split` is a position in the study's splits."""
  variant: str
  seed: int
  split: int


class Cohort(NamedTuple):
  """Lanes of one architecture, trained together."""
  program: Architecture
  names: tuple[LaneName, ...]

  @property
  def folder(self) -> str:
    """The name of its folder of checkpoints."""
    seeds = sorted({name.seed for name in self.names})
    variants = '+'.join(dict.fromkeys(name.variant.replace(':', '.') for name in self.names))
    return f'{variants}_seeds_{seeds[0]}-{seeds[-1]}'


class Finished(NamedTuple):
  """A trained cohort: a row of results and the test predictions (classes, as `Split.test` orders them) a lane."""
  names: tuple[LaneName, ...]
  rows: list[dict[str, Any]]
  predicted: list[np.ndarray]
  compilations: int


class Measured(NamedTuple):
  """What training a cohort takes, from a few steps of it.

  Attributes:
    at_once: lanes that a device works on together.
    devices: that share the lanes out.
    device_bytes: that each of them holds, as the compiler plans them.
    step_seconds: of a step of all lanes.
    seconds: of all epochs, each with its validation; without compiling, checkpoints and the test.
  """
  cohort: Cohort
  at_once: int
  devices: int
  device_bytes: int
  step_seconds: float
  seconds: float


def predictions(finished: Sequence[Finished], made: list[Split]) -> dict[str, np.ndarray]:
  """What `Workdir.write_predictions` takes: the test predictions of every lane by its key."""
  return {prediction_key(name.variant, made[name.split].name, name.seed): predicted
          for cohort in finished for name, predicted in zip(cohort.names, cohort.predicted)}


def cohorts(config: Config, seeds: Sequence[range], num_splits: int) -> list[Cohort]:
  """The lanes of a study, grouped by the program that trains them, in the order of --variants.

  Args:
    seeds: ranges of seeds asked for one after another; lanes of different ranges are different cohorts.
  """
  made = []
  for some in seeds:
    groups: dict[Architecture, list[LaneName]] = {}
    for variant in config.variants:
      names = [LaneName(variant, seed, split) for split in range(num_splits) for seed in some]
      groups.setdefault(models.architecture(variant).program, []).extend(names)
    made += [Cohort(program, tuple(names)) for program, names in groups.items()]
  return made


def restore(config: Config, seeds: Sequence[range], num_classes: int, num_splits: int, workdir: Path,
            name: LaneName) -> Lane:
  """One lane of a workdir as its last checkpoint has it; leaves without the lane axis, numpy arrays."""
  cohort = next(each for each in cohorts(config, seeds, num_splits) if name in each.names)
  saved = restore_cohort(config, cohort, num_classes, workdir)
  return jax.tree.map(lambda leaf: leaf[cohort.names.index(name)], saved)


def restore_cohort(config: Config, cohort: Cohort, num_classes: int, workdir: Path) -> Lane:
  """All lanes of a cohort as their last checkpoint has them, in the order of its names; numpy arrays."""
  model = M3Net(cohort.program, num_classes, 'conv')
  one = jax.eval_shape(lambda: lanes.init_lane(model, config.input_shape, Training(), 0, Switches(*[np.bool_(True)] * 4),
                                               image.Scaling(np.float32(0), np.float32(1))))
  like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(cohort.names), *leaf.shape), leaf.dtype), one)
  checkpoints = Checkpoints(workdir / 'checkpoints' / cohort.folder)
  saved = checkpoints.restore(like)
  checkpoints.close()
  return saved


def steps_an_epoch(made: list[Split], batch_size: int) -> int:
  """Steps in which a lane sees every training clip; the same for every lane, also where folds differ by a few clips."""
  return -(-max(len(split.train) for split in made) // batch_size)


def train(config: Config, seeds: Sequence[range], store: Store, made: list[Split], workdir: Path,
          tell: Callable[[list[dict[str, Any]]], None] = lambda rows: None) -> list[Finished]:
  """Trains every lane of the study, from its last checkpoint where there is one.

  Writes `metrics.jsonl` and `checkpoints/` in `workdir`.

  Args:
    tell: called with the rows of a cohort's lanes, once with those of its checkpoint and then after every epoch.
  """
  all_cohorts = cohorts(config, seeds, len(made))
  steps = steps_an_epoch(made, config.batch_size) * config.num_epochs
  progress = Progress(sum(len(cohort.names) for cohort in all_cohorts) * steps)
  return [_Trainer(config, store, made, workdir, cohort, progress, tell).run() for cohort in all_cohorts]


def measure(config: Config, seeds: Sequence[range], store: Store, made: list[Split]) -> list[Measured]:
  """Takes a few steps of every cohort and says what the study takes; keeps nothing."""
  with tempfile.TemporaryDirectory() as folder:
    return [_Trainer(config, store, made, Path(folder), cohort, Progress(0), lambda rows: None).measure()
            for cohort in cohorts(config, seeds, len(made))]


class _Trainer:
  """One cohort from its first epoch, or its last checkpoint, to its tested lanes."""

  def __init__(self, config: Config, store: Store, made: list[Split], workdir: Path, cohort: Cohort,
               progress: Progress, tell: Callable[[list[dict[str, Any]]], None]):
    self._tell = tell
    self._config, self._store, self._splits, self._cohort, self._progress = config, store, made, cohort, progress
    self._metrics = workdir / 'metrics.jsonl'
    self._checkpoints = Checkpoints(workdir / 'checkpoints' / cohort.folder)
    self._training = Training(config.learning_rate, config.min_learning_rate, config.plateau_factor,
                              config.plateau_patience)
    self._mesh = lanes.lane_mesh(len(cohort.names))
    # Lanes that only fill devices up repeat the first ones.
    self._filled = [cohort.names[i % len(cohort.names)]
                    for i in range(lanes.padded(len(cohort.names), self._mesh))]
    whole = NamedSharding(self._mesh, PartitionSpec())
    self._feeder = Feeder(store, lambda tree: jax.device_put(tree, whole))
    self._programs = self._make_programs()
    self._steps = steps_an_epoch(made, config.batch_size)
    self._call_steps = self._feeder.steps_a_block(len(self._filled), config.batch_size,
                                                  min(self._steps, lanes.STEPS_A_CALL))

  def _make_programs(self) -> Programs:
    config = self._config
    lowering = ops.lowering_for(jax.default_backend()) if config.lowering == 'auto' else config.lowering
    model = M3Net(self._cohort.program, len(self._store.classes), lowering)
    return lanes.make_programs(model, config.input_shape, self._training, channels=config.channels,
                               normalisation=config.normalisation, lanes_at_once=self._at_once, mesh=self._mesh)

  @property
  def _at_once(self) -> int:
    return self._config.lanes_at_once or (1 if jax.default_backend() == 'cpu' else len(self._filled))

  def run(self) -> Finished:
    state = self._first_or_last()
    first = int(state.epoch[0])
    rows = self._rows_until(first)
    self._tell([row for row in rows if self._name(row) in self._cohort.names])
    self._begun, self._seconds_before = time.monotonic(), max((row['seconds'] for row in rows), default=0.0)
    self._progress.skip(first * self._steps * len(self._cohort.names))
    self._progress.show(f'epoch {first + 1}/{self._config.num_epochs}  {len(self._cohort.names)} lanes')
    losses: list[np.ndarray] = []
    for block, taken in self._training_blocks(first):
      state, loss = self._programs.train(state, block.clips, block.order)
      losses.append(np.asarray(loss, np.float64)[:, :taken])
      self._progress.advance(taken * len(self._cohort.names))
      if sum(each.shape[1] for each in losses) == self._steps:
        state, new = self._end_epoch(state, np.concatenate(losses, 1).mean(1))
        losses = []
        rows += new
        self._tell(new)
        files.write_rows(self._metrics, rows)
        self._checkpoints.save(new[0]['epoch'], self._without_fill(state))
    finished = self._test(state)
    self._checkpoints.close()
    return finished

  def measure(self) -> Measured:
    state = self._first_or_last()
    block = next(self._feeder.blocks([lambda: self._order(0, self._call_steps)]))
    device_bytes = self._programs.memory(state, block.clips, block.order)
    seconds = []
    for _ in range(1 + _TIMED_CALLS):  # the first one compiles
      begun = time.monotonic()
      state, loss = self._programs.train(state, block.clips, block.order)
      jax.block_until_ready(loss)
      seconds.append(time.monotonic() - begun)
    step = min(seconds[1:]) / self._call_steps
    self._scores(state, state.variables, 'validation')
    begun = time.monotonic()
    self._scores(state, state.variables, 'validation')
    epoch = step * self._steps + time.monotonic() - begun
    self._checkpoints.close()
    devices = self._mesh.size
    return Measured(self._cohort, min(self._at_once, len(self._filled) // devices), devices, device_bytes, step,
                    epoch * self._config.num_epochs)

  def _first_or_last(self) -> Lane:
    names = self._filled
    scaling = [image.scaling_of(self._store.mels, split.train) for split in self._splits]
    switches = [models.architecture(name.variant).switches for name in names]
    state = self._programs.init(
        np.array([name.seed for name in names], np.int32), Switches(*map(np.array, zip(*switches))),
        image.Scaling(*map(np.array, zip(*(scaling[name.split] for name in names)))))
    if not self._checkpoints.latest():
      return state
    saved = self._checkpoints.restore(self._without_fill(state))
    filled = jax.tree.map(lambda leaf: leaf[np.arange(len(names)) % len(self._cohort.names)], saved)
    return jax.device_put(filled, jax.tree.map(lambda leaf: leaf.sharding, state))

  def _without_fill(self, state: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:len(self._cohort.names)], state)

  def _rows_until(self, epoch: int) -> list[dict[str, Any]]:
    """The rows of other cohorts, and of this one up to its checkpoint: what a stopped run wrote after it goes."""
    mine = set(self._cohort.names)
    return [row for row in files.read_rows(self._metrics) if row['epoch'] <= epoch or self._name(row) not in mine]

  def _name(self, row: dict[str, Any]) -> LaneName:
    return LaneName(row['variant'], row['seed'], [split.name for split in self._splits].index(row['split']))

  def _training_blocks(self, first_epoch: int) -> Iterator[tuple[Any, int]]:
    """Blocks of all epochs from `first_epoch` on, each with the number of steps taken in it."""
    calls = [(epoch, start) for epoch in range(first_epoch, self._config.num_epochs)
             for start in range(0, self._steps, self._call_steps)]
    taken = [min(self._call_steps, self._steps - start) for _, start in calls]
    orders = [lambda epoch=epoch, start=start, count=count: self._order(epoch * self._steps + start, count)
              for (epoch, start), count in zip(calls, taken)]
    return zip(self._feeder.blocks(orders), taken)

  def _order(self, first_step: int, steps: int) -> np.ndarray:
    order = np.full((len(self._filled), self._call_steps, self._config.batch_size), -1, np.int32)
    for row, name in zip(order, self._filled):
      row[:steps] = order_of(self._splits[name.split].train, name.seed, first_step, steps, self._config.batch_size)
    return order

  def _end_epoch(self, state: Lane, train_loss: np.ndarray) -> tuple[Lane, list[dict[str, Any]]]:
    rate = np.asarray(lanes.learning_rate(self._training, state))
    predicted, loss = self._scores(state, state.variables, 'validation')
    accuracy = np.array([_accuracy(p, l) for p, l in zip(predicted, self._labels('validation'))])
    mean_loss = np.array([each.mean() for each in loss])
    state = self._programs.finish_epoch(state, mean_loss, accuracy)
    seconds = self._seconds_before + time.monotonic() - self._begun
    status, epoch = np.asarray(state.status), int(state.epoch[0])
    rows = [{'variant': name.variant, 'seed': name.seed, 'split': self._splits[name.split].name, 'epoch': epoch,
             'train_loss': _finite(train_loss[i]), 'validation_loss': _finite(mean_loss[i]),
             'validation_accuracy': accuracy[i], 'learning_rate': float(rate[i]),
             'status': 'diverged' if status[i] else 'running', 'seconds': round(seconds, 2)}
            for i, name in enumerate(self._cohort.names)]
    count = len(self._cohort.names)
    self._progress.show(f'epoch {epoch}/{self._config.num_epochs}  {count} lanes  loss {train_loss[:count].mean():.3f}'
                        f'  val {accuracy[:count].mean():.1%}', keep=True)
    return state, rows

  def _labels(self, side: str) -> list[np.ndarray]:
    return [self._store.labels[getattr(self._splits[name.split], side)] for name in self._filled]

  def _scores(self, state: Lane, variables: lanes.Variables, side: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predicted classes and cross-entropies of every lane on every clip of a side."""
    indices = [getattr(self._splits[name.split], side) for name in self._filled]
    batches = in_batches(indices, self._config.batch_size)
    size = self._feeder.steps_a_block(len(indices), self._config.batch_size, batches.shape[1])
    orders = [lambda start=start: batches[:, start:start + size] for start in range(0, batches.shape[1], size)]
    scores = [jax.tree.map(np.asarray, self._programs.evaluate(variables, state.switches, state.scaling, *block))
              for block in self._feeder.blocks(orders)]
    whole = [np.concatenate([getattr(score, field) for score in scores], 1).reshape(len(indices), -1)
             for field in ('predicted', 'loss')]
    predicted, loss = ([row[:len(clips)] for row, clips in zip(each, indices)] for each in whole)
    return predicted, [each.astype(np.float64) for each in loss]

  def _test(self, state: Lane) -> Finished:
    """Test accuracy of every lane with the parameters of its best validation epoch."""
    predicted, _ = self._scores(state, state.best.variables, 'test')
    best, status = jax.tree.map(np.asarray, (state.best, state.status))
    rows = [{'variant': name.variant, 'seed': name.seed, 'split': self._splits[name.split].name,
             'status': 'diverged' if status[i] else 'finished', 'test_accuracy': _accuracy(predicted[i], labels),
             'validation_accuracy': max(float(best.accuracy[i]), 0.0), 'best_epoch': int(best.epoch[i])}
            for i, (name, labels) in enumerate(zip(self._cohort.names, self._labels('test')))]
    for i, (row, labels) in enumerate(zip(rows, self._labels('validation'))):
      row['validation_accuracy'] = round(row['validation_accuracy'] * len(labels)) / len(labels)  # of its float32
    return Finished(self._cohort.names, rows, predicted[:len(rows)], self._programs.compilations())


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
  return float((predicted == labels).mean())


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
