"""Orbax checkpoints of a cohort's lanes, written atomically and checked when they are read.

The number of a checkpoint counts training steps and ends of epochs, so it rises within an epoch
too.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax import checkpoint as ocp

from data_prep import files, surroundings
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches
from m3net_jax.study import cohorts, hosts, lanes
from m3net_jax.study.augment import Rule
from m3net_jax.study.cohorts import Cohort, LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.hyper import Hyper
from m3net_jax.study.lanes import Lane

_LANES, _POSITION = 'default', 'position'  # items of a checkpoint


class Saved(NamedTuple):
  """A checkpoint.

  Attributes:
    number: of the checkpoint.
    state: all lanes, numpy arrays.
    losses: training losses of the epoch that has begun, float64 [lanes, steps].
  """

  number: int
  state: Any
  losses: np.ndarray


class Damaged(Exception):
  """A checkpoint cannot be read, or is not what was written; the message is the reason."""


class Checkpoints:
  """Writes the last two checkpoints of one cohort; deletes what a killed run left half written."""

  def __init__(self, folder: Path):
    options = ocp.CheckpointManagerOptions(
      max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    self._folder = folder
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def save(self, number: int, state: Any, losses: np.ndarray) -> None:
    """Writes all lanes and the training losses [lanes, steps] of the epoch that has begun.

    Raises:
      OSError: it cannot be written, because the disk is full for example.
    """
    surroundings.ignore_closed_loops()
    state = jax.tree.map(np.asarray, state)
    losses = np.where(np.isnan(losses), np.nan, losses)  # JSON has one of the many NaN
    position = {'losses': losses.tolist(), 'sha256': _digest(state, losses)}
    items = {_LANES: ocp.args.StandardSave(state), _POSITION: ocp.args.JsonSave(position)}
    with files.naming(self._folder):
      self._manager.save(number, args=ocp.args.Composite(**items))

  def close(self) -> None:
    """Releases the checkpoint folder."""
    self._manager.close()


def numbers(folder: Path) -> list[int]:
  """The numbers of the complete checkpoints in a folder, the last one first."""
  if not folder.is_dir():
    return []
  names = [path.name for path in folder.iterdir()]
  return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def read(folder: Path, number: int, like: Any) -> Saved:
  """Reads a checkpoint as numpy arrays with the shapes and types of `like`; writes nothing.

  Raises:
    Damaged: it cannot be read, or its content is not what was written.
  """
  surroundings.ignore_closed_loops()
  path = folder.absolute() / str(number)
  shapes = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
  try:
    with _alone(ocp.StandardCheckpointHandler) as reader:
      state = reader.restore(path / _LANES, args=ocp.args.StandardRestore(shapes))
    if not (path / _POSITION).exists():
      raise Damaged(f'{_POSITION} is missing')
    with _alone(ocp.JsonCheckpointHandler) as reader:
      position = reader.restore(path / _POSITION, args=ocp.args.JsonRestore())
    losses = np.array(position['losses'], np.float64).reshape(state.epoch.shape[0], -1)
    digest = position['sha256']
  except MemoryError:
    raise
  except Exception as error:  # orbax and tensorstore raise many kinds
    raise Damaged(_one_line(error)) from error
  if digest != _digest(state, losses):
    raise Damaged('its content is not what was written')
  return Saved(number, state, losses)


def _alone(handler: Callable[..., Any]) -> ocp.Checkpointer:
  """A reader that waits for no other process, such as one that writes the report."""
  if not hosts.several():
    return ocp.Checkpointer(handler())
  options = ocp.options.MultiprocessingOptions(
    primary_host=None, active_processes={jax.process_index()}
  )
  return ocp.Checkpointer(handler(multiprocessing_options=options), multiprocessing_options=options)


def last(
  folder: Path, like: Any, fits: Callable[[Any], bool], note: Callable[[str], None]
) -> Saved | None:
  """Reads the last checkpoint that is whole and fits; deletes those after it, which are not.

  Args:
    fits: whether a study can go on from a state of all lanes: its earlier rows are there.
    note: gets one line for each checkpoint that is not used.

  Returns:
    The checkpoint, or None if the folder holds none.

  Raises:
    UserError: no checkpoint can be used. Nothing is deleted.
  """
  refused = []
  for number in numbers(folder):
    try:
      saved = read(folder, number, like)
      if not fits(saved.state):
        raise Damaged('metrics.jsonl lacks rows before it')
    except Damaged as error:
      refused.append((number, error))
      continue
    for damaged, reason in refused:
      note(f'{folder / str(damaged)}: is damaged ({reason}): going on from the one before')
      if hosts.first():
        shutil.rmtree(folder / str(damaged))
    return saved
  if refused:
    reasons = '; '.join(f'{number}: {reason}' for number, reason in refused)
    raise UserError(
      f'{folder}: no checkpoint can be used ({reasons}): restore it from a copy, or delete it: '
      'the same command then trains these lanes from the start'
    )
  return None


def _digest(state: Any, losses: np.ndarray) -> str:
  """SHA-256, hexadecimal, of names, types, shapes and values."""
  total = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path((state, losses)):
    total.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} '.encode())
    total.update(np.ascontiguousarray(leaf).data)
  return total.hexdigest()


def _one_line(error: Exception) -> str:
  text = files.one_line(error) or type(error).__name__
  return text if len(text) <= 120 else f'{text[:117]}...'


def folder_of(workdir: Path, cohort: Cohort) -> Path:
  """The folder of a cohort's checkpoints."""
  return workdir / 'checkpoints' / cohort.folder


def restore_cohort(config: Config, cohort: Cohort, num_classes: int, workdir: Path) -> Lane:
  """Reads the last checkpoint of a cohort: numpy arrays [lanes, ...] in the order of its names.

  Raises:
    UserError: there is none, it is damaged, or not of the last epoch. Nothing is written.
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
  found = numbers(folder)
  if not found:
    raise UserError(
      f'{folder}: holds no checkpoint: restore it from a copy, or train the study again in another '
      '--workdir'
    )
  # An earlier one knows nothing of the last epoch, which may be a lane's best.
  try:
    state = read(folder, found[0], like).state
  except Damaged as error:
    raise UserError(
      f'{folder / str(found[0])}: is damaged ({error}): restore it from a copy, or delete it and '
      f'{workdir / "results.json"} and run the command of the study again'
    ) from error
  if state.epoch.min() < config.num_epochs:
    raise UserError(
      f'{folder}: lacks the checkpoint of the last epoch: restore it from a copy, or delete '
      f'{workdir / "results.json"} and run the command of the study again'
    )
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
