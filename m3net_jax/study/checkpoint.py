"""Orbax checkpoints of a cohort's lanes: the state after each epoch, written atomically."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from orbax import checkpoint as ocp

from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches
from m3net_jax.study import cohorts, lanes
from m3net_jax.study.augment import Rule
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.hyper import Hyper
from m3net_jax.study.lanes import Lane


class Checkpoints:
  """The last two checkpoints of one cohort; the step of a checkpoint is its number of epochs."""

  def __init__(self, folder: Path):
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def latest(self) -> int:
    """Number of epochs finished in the last complete checkpoint; 0 if there is no checkpoint."""
    return self._manager.latest_step() or 0

  def save(self, epoch: int, state: Lane) -> None:
    """Writes the state of all lanes after `epoch` epochs."""
    self._manager.save(epoch, args=ocp.args.StandardSave(jax.tree.map(np.asarray, state)))

  def restore(self, like: Lane) -> Lane:
    """Reads the last checkpoint as numpy arrays with the shapes and types of `like`."""
    shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    return self._manager.restore(self.latest(), args=ocp.args.StandardRestore(shapes))

  def close(self) -> None:
    """Releases the checkpoint folder."""
    self._manager.close()


def folder_of(workdir: Path, cohort: Cohort) -> Path:
  """The folder of a cohort's checkpoints."""
  return workdir / 'checkpoints' / cohort.folder


def restore_cohort(config: Config, cohort: Cohort, num_classes: int, workdir: Path) -> Lane:
  """Reads the last checkpoint of a cohort: numpy arrays [lanes, ...] in the order of its names.

  Raises:
    UserError: there is none. Nothing is written.
  """
  model = M3Net(cohort.program, num_classes, 'conv')
  rule = Rule(config.parts, Features(), None) if config.parts else None
  lane = jax.eval_shape(
    lambda: lanes.init_lane(
      model,
      config.input_shape,
      lanes.Training(rule=rule),
      0,
      Switches(*[np.bool_(True)] * 4),
      Scaling(np.float32(0), np.float32(1)),
      None if config.class_weights == 'none' else np.ones(num_classes, np.float32),
      Hyper(*(np.float32(value) for value in Hyper())),
    )
  )
  like = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((len(cohort.names), *leaf.shape), leaf.dtype), lane
  )
  folder = folder_of(workdir, cohort)
  if not folder.is_dir() or not any(step.name.isdigit() for step in folder.iterdir()):
    raise UserError(
      f'{folder}: holds no checkpoint: restore it from a copy, or train the study again in another '
      '--workdir'
    )
  checkpoints = Checkpoints(folder)
  state = checkpoints.restore(like)
  checkpoints.close()
  return state


def restore_lane(
  config: Config,
  seed_ranges: Sequence[range],
  num_classes: int,
  num_splits: int,
  workdir: Path,
  name: LaneName,
) -> Lane:
  """Reads one lane from the last checkpoint of its cohort: numpy arrays without the lane axis."""
  all_cohorts = cohorts.make(config, seed_ranges, num_splits)
  cohort = next(cohort for cohort in all_cohorts if name in cohort.names)
  state = restore_cohort(config, cohort, num_classes, workdir)
  return jax.tree.map(lambda leaf: leaf[cohort.names.index(name)], state)
