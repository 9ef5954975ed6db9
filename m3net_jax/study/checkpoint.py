"""Orbax checkpoints of a cohort's lanes: the whole state after every epoch, written atomically."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from orbax import checkpoint as ocp

from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches
from m3net_jax.study import cohorts, lanes
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.lanes import Lane


class Checkpoints:
  """The checkpoints of one cohort; a step is the number of epochs finished. The last two are kept."""

  def __init__(self, folder: Path):
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def latest(self) -> int:
    """Epochs finished in the last complete checkpoint; 0 if there is none."""
    return self._manager.latest_step() or 0

  def save(self, epoch: int, state: Lane) -> None:
    """Writes the state of all lanes."""
    self._manager.save(epoch, args=ocp.args.StandardSave(jax.tree.map(np.asarray, state)))

  def restore(self, like: Lane) -> Lane:
    """The last checkpoint, as numpy arrays of the shapes and types of `like`."""
    shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    return self._manager.restore(self.latest(), args=ocp.args.StandardRestore(shapes))

  def close(self) -> None:
    self._manager.close()


def folder_of(workdir: Path, cohort: Cohort) -> Path:
  """Where a cohort's checkpoints lie."""
  return workdir / 'checkpoints' / cohort.folder


def restore_cohort(config: Config, cohort: Cohort, num_classes: int, workdir: Path) -> Lane:
  """All lanes of a cohort as their last checkpoint has them, in the order of its names; numpy arrays."""
  model = M3Net(cohort.program, num_classes, 'conv')
  one = jax.eval_shape(
    lambda: lanes.init_lane(
      model,
      config.input_shape,
      lanes.Training(),
      0,
      Switches(*[np.bool_(True)] * 4),
      Scaling(np.float32(0), np.float32(1)),
    )
  )
  like = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((len(cohort.names), *leaf.shape), leaf.dtype), one
  )
  checkpoints = Checkpoints(folder_of(workdir, cohort))
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
  """One lane of a workdir as its last checkpoint has it; leaves without the lane axis, numpy arrays."""
  cohort = next(
    each for each in cohorts.make(config, seed_ranges, num_splits) if name in each.names
  )
  state = restore_cohort(config, cohort, num_classes, workdir)
  return jax.tree.map(lambda leaf: leaf[cohort.names.index(name)], state)
