"""The teacher of a study: the mean of the logits of all lanes of a finished study (distillation).

`teacher.npz` in a workdir keeps them, so that a study continues without its teacher.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import image, ops
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Architecture
from m3net_jax.study import arrays_file, checkpoint, cohorts, workdir
from m3net_jax.study.config import Config
from m3net_jax.study.lanes import Lane
from m3net_jax.study.results import baseline, tested
from m3net_jax.study.splits import Split

NAME = 'teacher.npz'
_BLOCK = 64  # clips


class Answers(NamedTuple):
  """What a teacher says.

  Attributes:
    logits: [clips, splits, classes] float32; 0 for clips that are no training clips of a split.
    splits: [splits] str, their names.
  """

  logits: np.ndarray
  splits: np.ndarray


def answers(known: Answers | None, path: str, store: Store, splits: Sequence[Split]) -> Answers:
  """The answers for the splits of a study: those that are known, the others from the teacher.

  Raises:
    UserError: see `logits_of`.
  """
  by_name = {} if known is None else dict(zip(known.splits.tolist(), known.logits.swapaxes(0, 1)))
  if missing := [split for split in splits if split.name not in by_name]:
    made = logits_of(path, store, missing)
    by_name |= {split.name: made[:, i] for i, split in enumerate(missing)}
  names = [split.name for split in splits]
  return Answers(np.stack([by_name[name] for name in names], 1), np.array(names))


def logits_of(path: str, store: Store, splits: Sequence[Split]) -> np.ndarray:
  """The teacher's logits for the training clips of every split.

  A split is taught by all lanes of the teacher's baseline variant on the same split, each at its
  best validation epoch, so that no lane that answers has seen clips which the student must not see.

  Args:
    path: workdir of the finished study that teaches.
    splits: of the study that learns.

  Returns:
    [clips, splits, classes] float32; 0 for clips that are no training clips of a split.

  Raises:
    UserError: the study is not finished, has another store, or lacks one of the splits.
  """
  teacher = workdir.read(path).finished_part()
  results = teacher.results()
  if teacher.store_sha256 != store.sha256:
    raise UserError(
      f'--teacher={path}: was trained on another store ({teacher.store}): give a study on '
      f'{store.path}'
    )
  known = {split.name: split for split in teacher.splits(store)}
  for split in splits:
    same = known.get(split.name)
    if same is None or not all(
      np.array_equal(getattr(same, side), getattr(split, side)) for side in split.sizes
    ):
      raise UserError(
        f'--teacher={path}: was trained on other clips in split {split.name}: give a study with '
        f'the same --split and seeds of splits'
      )
  answers = np.zeros((len(store.labels), len(splits), len(store.classes)), np.float32)
  counts = np.zeros(len(splits), int)
  names = list(known)
  finished = {
    name
    for name, row in tested(results).items()
    if name.variant == baseline(results) and row['status'] == 'finished'
  }
  for cohort in cohorts.make(teacher.config, teacher.seed_ranges, len(names)):
    places = [i for i, name in enumerate(cohort.names) if name in finished]
    if not places:
      continue
    state = checkpoint.restore_cohort(teacher.config, cohort, len(store.classes), teacher.path)
    logits = _logits_function(teacher.config, cohort.program, len(store.classes))
    for place in places:
      lane = jax.tree.map(lambda leaf, place=place: leaf[place], state)
      for position, split in enumerate(splits):
        if split.name == names[cohort.names[place].split]:
          answers[split.train, position] += _all_logits(logits, lane, store.mels[split.train])
          counts[position] += 1
  if not counts.all():
    raise UserError(f'--teacher={path}: every lane of a split diverged: give another study')
  return answers / counts[:, None].astype(np.float32)


def write(folder: Path, answers: Answers) -> None:
  """Writes teacher.npz, completely or not at all."""
  arrays_file.write(folder / NAME, **answers._asdict())


def read(folder: Path) -> Answers:
  """Reads teacher.npz; UserError if it is missing or cannot be read."""
  return Answers(**arrays_file.read(folder / NAME))


def taught(folder: Path) -> list[str]:
  """The names of the splits of a teacher.npz that was read."""
  with np.load(folder / NAME) as saved:  # not its logits, which are large
    return saved['splits'].tolist()


def _logits_function(config: Config, program: Architecture, num_classes: int) -> Any:
  model = M3Net(program, num_classes, ops.lowering_for(jax.default_backend()))

  @jax.jit
  def logits(lane: Lane, mels: jax.Array) -> jax.Array:
    images = image.to_image(
      mels,
      config.input_shape,
      lane.scaling,
      channels=config.channels,
      normalisation=config.normalisation,
    )
    return model.apply(lane.best.variables, images, train=False, switches=lane.switches)[0]

  return logits


def _all_logits(logits: Any, lane: Lane, mels: np.ndarray) -> np.ndarray:
  """Logits [clips, classes] in blocks of one size, so that one program is compiled."""
  filled = np.pad(mels, ((0, -len(mels) % _BLOCK), (0, 0), (0, 0)))
  blocks = [logits(lane, filled[i : i + _BLOCK]) for i in range(0, len(filled), _BLOCK)]
  return np.concatenate(blocks)[: len(mels)]
