"""What the lanes of a study share beside its clips: the noise that is mixed in, and the teacher.

Each is made when the study is made and kept in its workdir.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_prep.store import Store
from m3net_jax.study import augment, noise_bank, teacher
from m3net_jax.study.config import Config
from m3net_jax.study.noise_bank import NoiseBank
from m3net_jax.study.splits import Split
from m3net_jax.study.teacher import Answers


class Ingredients(NamedTuple):
  """Both are None if the study does not use them.

  Attributes:
    noise: of `noise_bank.of`.
    teacher: its answers for every split of the study.
  """

  noise: NoiseBank | None = None
  teacher: Answers | None = None


NONE = Ingredients()


def obtain(
  workdir: Path, config: Config, store: Store, splits: Callable[[], list[Split]]
) -> Ingredients:
  """Reads the ingredients of a study from its workdir; makes those that are not there.

  Args:
    splits: makes or reads all splits of the study; called only if they are needed.

  Raises:
    UserError: see `augment.check`, `noise_bank.of`, `teacher.logits_of`; or a file is damaged.
  """
  augment.check(config.settings, store.features)
  noise = answers = None
  if 'noise' in config.parts:
    noise = noise_bank.read(workdir)
    if noise is None:
      # Seeds that are added later may draw any clip for their test.
      held_out = noise_bank.held_out(store, None if config.split_seeds else splits())
      noise = noise_bank.of(store, config.noise_dir, held_out)
  if 'teacher' in config.parts:
    answers = teacher.answers(teacher.read(workdir), config.teacher, store, splits())
  return Ingredients(noise, answers)


def write(workdir: Path, ingredients: Ingredients) -> None:
  """Writes those that are not in the workdir yet, and a teacher's answers for added splits."""
  if ingredients.noise is not None and not (workdir / noise_bank.NAME).exists():
    noise_bank.write(workdir, ingredients.noise)
  answers = ingredients.teacher
  if answers is not None and teacher.taught_splits(workdir) != answers.splits.tolist():
    teacher.write(workdir, answers)
