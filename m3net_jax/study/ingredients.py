"""What the lanes of a study share beside its clips: the noise that is mixed in, and the teacher.

Each is made when the study is made and kept in its workdir.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.store import Store
from m3net_jax.study import noise_bank, teacher
from m3net_jax.study.config import Config
from m3net_jax.study.noise_bank import NoiseBank
from m3net_jax.study.splits import Split


class Ingredients(NamedTuple):
  """Both are None if the study does not use them.

  Attributes:
    noise: of `noise_bank.of`.
    teacher: logits [clips, splits, classes] of `teacher.logits_of`.
  """

  noise: NoiseBank | None = None
  teacher: np.ndarray | None = None


NONE = Ingredients()


def obtain(
  workdir: Path, config: Config, store: Store, splits: Callable[[], list[Split]]
) -> Ingredients:
  """Reads the ingredients of a study from its workdir; makes those that are not there.

  Args:
    splits: makes or reads the splits of the study; called only for a teacher.

  Raises:
    UserError: see `noise_bank.of` and `teacher.logits_of`; or a file is damaged.
  """
  noise = logits = None
  if 'noise' in config.parts:
    recorded = (workdir / noise_bank.NAME).exists()
    noise = noise_bank.read(workdir) if recorded else noise_bank.of(store, config.noise_dir)
  if 'teacher' in config.parts:
    recorded = (workdir / teacher.NAME).exists()
    logits = (
      teacher.read(workdir) if recorded else teacher.logits_of(config.teacher, store, splits())
    )
  return Ingredients(noise, logits)


def write(workdir: Path, ingredients: Ingredients) -> None:
  """Writes those that are not in the workdir yet."""
  if ingredients.noise is not None and not (workdir / noise_bank.NAME).exists():
    noise_bank.write(workdir, ingredients.noise)
  if ingredients.teacher is not None and not (workdir / teacher.NAME).exists():
    teacher.write(workdir, ingredients.teacher)
