"""The names of a study's lanes, and cohorts: the lanes that share one compiled program."""

from collections.abc import Sequence
from typing import NamedTuple

from m3net_jax.network.variants import Architecture, architecture_of
from m3net_jax.study.config import Config


class LaneName(NamedTuple):
  """The identity of a lane.

  `split` is a position in the list of the study's splits, `setting` one in the grid of its sweep.
  """

  variant: str
  seed: int
  split: int
  setting: int = 0


class Cohort(NamedTuple):
  """Lanes of one architecture, trained together."""

  program: Architecture
  names: tuple[LaneName, ...]

  @property
  def folder(self) -> str:
    """The name of its checkpoint folder."""
    seeds = sorted({name.seed for name in self.names})
    variants = '+'.join(dict.fromkeys(name.variant.replace(':', '.') for name in self.names))
    return f'{variants}_seeds_{seeds[0]}-{seeds[-1]}'


def make(config: Config, seed_ranges: Sequence[range], num_splits: int) -> list[Cohort]:
  """Makes the cohorts of a study, in the order of `config.variants`.

  Args:
    seed_ranges: consecutive ranges of seeds; each range has its own cohorts.
    num_splits: number of splits; each variant, seed and setting has one lane per split, or with
      `config.split_seeds` one lane, on the split that its seed draws.
  """
  splits_of = lambda seed: [seed - config.first_seed] if config.split_seeds else range(num_splits)
  cohorts = []
  for seeds in seed_ranges:
    by_program: dict[Architecture, list[LaneName]] = {}
    for variant in config.variants:
      names = sorted(
        (
          LaneName(variant, seed, split, setting)
          for setting in range(len(config.settings))
          for seed in seeds
          for split in splits_of(seed)
        ),
        key=lambda name: name.split,
      )
      by_program.setdefault(architecture_of(variant).program, []).extend(names)
    cohorts += [Cohort(program, tuple(names)) for program, names in by_program.items()]
  return cohorts
