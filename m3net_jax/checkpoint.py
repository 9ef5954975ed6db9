"""Orbax checkpoints of a cohort's lanes: the whole state after every epoch, written atomically."""
from pathlib import Path

import jax
import numpy as np
from orbax import checkpoint as ocp

from m3net_jax.lanes import Lane


class Checkpoints:
  """The checkpoints of one cohort; a step is the number of epochs finished. The last two are kept."""

  def __init__(self, folder: Path):
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def latest(self) -> int:
    """Epochs finished in the last whole checkpoint; 0 where there is none."""
    return self._manager.latest_step() or 0

  def save(self, epoch: int, lanes: Lane) -> None:
    """Writes lanes, without those that only fill devices up."""
    self._manager.save(epoch, args=ocp.args.StandardSave(jax.tree.map(np.asarray, lanes)))

  def restore(self, like: Lane) -> Lane:
    """The last checkpoint, as numpy arrays of the shapes and types of `like`."""
    shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    return self._manager.restore(self.latest(), args=ocp.args.StandardRestore(shapes))

  def close(self) -> None:
    self._manager.close()
