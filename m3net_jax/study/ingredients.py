"""What the lanes of a study share beside its clips: the noise that is mixed in, and the teacher.

Each is made when the study is made and kept in its workdir: from then on it is read from there, and
the folder of noise and the teacher are needed no more.
"""

from collections.abc import Sequence
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
  begun: Path | None, config: Config, store: Store, splits: Sequence[Split]
) -> Ingredients:
  """Reads the ingredients of a study, or makes those of a new one.

  The teacher of a study that was begun is asked for splits that are added.

  Args:
    begun: the workdir of the study; None if it is new.
    splits: all splits of the study.

  Raises:
    UserError: see `augment.check`, `noise_bank.of`, `teacher.logits_of`; or a file is missing or
      damaged.
  """
  augment.check(config.settings, store.features)
  noise = answers = None
  if 'noise' in config.parts:
    if begun:
      noise = noise_bank.read(begun)
    else:
      # Seeds that are added later may draw any clip for their test.
      held_out = noise_bank.held_out(store, None if config.split_seeds else splits)
      noise = noise_bank.of(store, config.noise_dir, held_out)
  if 'teacher' in config.parts:
    known = teacher.read(begun) if begun else None
    answers = teacher.answers(known, config.teacher, store, splits)
  return Ingredients(noise, answers)


def write(workdir: Path, ingredients: Ingredients, begun: bool) -> None:
  """Writes the ingredients of a new study, or a teacher's answers for added splits."""
  noise, answers = ingredients
  if noise is not None and not begun:
    noise_bank.write(workdir, noise)
  if answers is not None and not (begun and teacher.taught(workdir) == answers.splits.tolist()):
    teacher.write(workdir, answers)
