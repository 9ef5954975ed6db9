"""Makes the folder of a study, opens it, adds seeds or gives them up.

`find` reads and checks, `write` writes. config.json is written last: without it a folder holds no
study, and with it all that the lanes are trained on is there.
"""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.study import (
  ingredients,
  locks,
  noise_bank,
  recorded_splits,
  splits,
  teacher,
  workdir,
)
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import Workdir

# Settings that decide no lane.
_INCIDENTAL = ('lanes_at_once', 'devices_per_lane', 'memory_gib', 'margin')
_BEFORE_CONFIG = (recorded_splits.NAME, noise_bank.NAME, teacher.NAME, 'config.json')
# What a command that was killed may leave in a folder that is no study yet.
_LEFT = {
  locks.STUDY,
  locks.REPORT,
  *_BEFORE_CONFIG,
  *(f'.{name}.new' for name in _BEFORE_CONFIG),
}


class Opening(NamedTuple):
  """A study as a command asks for it, before anything is written.

  Attributes:
    study: with the settings and seeds of the command.
    splits: of all its seeds.
    draws: whether some of them are new.
    existing: the study in the folder; None if there is none.
  """

  study: Workdir
  splits: list[Split]
  draws: bool
  existing: Workdir | None

  @property
  def begun(self) -> Path | None:
    """The folder of the study if it was begun by an earlier command."""
    return self.existing.path if self.existing else None


def find(path: Path, config: Config, store: Store) -> Opening:
  """Opens the study of the same settings in a folder, or decides on a new one; writes nothing.

  If `config` has more seeds than the existing study, they are added; finished lanes and existing
  splits stay as they are. If it has as many as are finished, an addition that was stopped is given
  up. Settings that decide no lane, and the place of the store, are those of the last command.

  Raises:
    UserError: the corpus has no such splits; or the folder holds a study with other settings (the
      message names the first one that differs), or something else.
  """
  requested = _requested(path, config, store)
  if not (path / 'config.json').exists():
    if not is_free(path):
      raise UserError(
        f'--workdir={path}: is not empty and holds no study (no config.json): use an empty folder'
      )
    made = splits.make(store, config.split, config.split_seeds_of(config.seeds))
    return Opening(requested, made, True, None)
  existing = workdir.read(path)
  if pairs := differing(existing, requested):
    name, old, new = pairs[0]
    raise UserError(
      f'--workdir={path}: holds a study with {name}={as_text(old)}, this one has {as_text(new)}: '
      'give another --workdir, or the same settings'
    )
  opened = _without_addition(existing, config.num_seeds)
  end = opened.seed_ranges[-1].stop
  known = opened.splits(store)
  opened = opened._replace(store=requested.store)
  if config.seeds.stop == end:
    names = ('margin',) if opened.finished else _INCIDENTAL
    latest = {name: getattr(config, name) for name in names}
    opened = opened._replace(config=dataclasses.replace(opened.config, **latest))
    return Opening(opened, known, False, existing)
  if config.sweep:
    raise UserError(
      f'--num_seeds={config.num_seeds}: the sweep in --workdir={path} was chosen with '
      f'{end - config.first_seed} seeds: give the chosen setting by its flags in another --workdir'
    )
  added = range(end, config.seeds.stop)
  opened = opened._replace(config=config, seed_ranges=[*opened.seed_ranges, added])
  new = config.split_seeds_of(added)
  drawn = splits.make(store, config.split, new) if new else []
  return Opening(opened, known + drawn, bool(drawn), existing)


def is_free(path: Path) -> bool:
  """Whether a folder can become one of a study.

  It is absent or empty, or holds only what a command that was killed leaves before its study is
  made.
  """
  if (path / 'config.json').exists():
    return False
  return not path.exists() or (path.is_dir() and {file.name for file in path.iterdir()} <= _LEFT)


def write(opening: Opening, store: Store, shared: Ingredients = NONE) -> None:
  """Writes what has changed.

  Args:
    shared: the noise and the teacher of the study, if lanes are to be trained.
  """
  study = opening.study
  if opening.draws:
    recorded_splits.write(study.path, opening.splits, store)
  ingredients.write(study.path, shared, opening.begun is not None)
  if study != opening.existing:
    workdir.write(study)
  else:
    with contextlib.suppress(OSError):  # such as that a study which has moved is read-only
      workdir.write(study)


def begun(path: Path, config: Config, store: Store) -> Workdir | None:
  """The study in a folder if it has these settings, but for its seeds."""
  if not (path / 'config.json').exists():
    return None
  existing = workdir.read(path)
  return None if differing(existing, _requested(path, config, store)) else existing


def lacking(existing: Workdir | None, config: Config) -> list[range]:
  """The ranges of seeds that a command with these settings would train.

  Args:
    existing: of `begun`.

  Returns:
    All its seeds, or if some are finished, those that are not.
  """
  done = existing.finished_seeds if existing else 0
  if existing is None or not done:
    return [config.seeds]
  ranges = [*existing.seed_ranges, range(existing.seed_ranges[-1].stop, config.seeds.stop)]
  first = config.first_seed + done
  return [seeds for seeds in ranges if seeds and first <= seeds.start < config.seeds.stop]


def compute_under(study: Workdir, environment: dict[str, Any]) -> tuple[Workdir, list[str]]:
  """Puts on record what computes the study from now on.

  Args:
    environment: of `devices.environment`.

  Returns:
    The study, and what differs from what computed it before, one text for each.
  """
  if study.environments and study.environments[-1] == environment:
    return study, []
  study = study._replace(environments=(*study.environments, environment))
  workdir.write(study)
  if len(study.environments) == 1:
    return study, []
  before, now = map(_flat, study.environments[-2:])
  return study, [
    f'{name} {before.get(name)}, now {now.get(name)}'
    for name in dict.fromkeys((*before, *now))
    if before.get(name) != now.get(name)
  ]


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
  """An environment with its versions beside its other values."""
  others = {name: value for name, value in environment.items() if name != 'versions'}
  return {**environment['versions'], **others}


def _requested(path: Path, config: Config, store: Store) -> Workdir:
  place = Path(os.path.realpath(store.path))
  return Workdir(path, config, [config.seeds], store.features, place, store.sha256)


def _without_addition(existing: Workdir, num_seeds: int) -> Workdir:
  """The study without seeds that are not finished, if it has `num_seeds` then.

  Raises:
    UserError: fewer seeds are asked for than are finished or begun.
  """
  if num_seeds >= existing.config.num_seeds:
    return existing
  done = existing.finished_seeds
  if num_seeds == done:
    return existing.finished_part()
  unfinished = 0 < done < existing.config.num_seeds
  raise UserError(
    f'--num_seeds={num_seeds}: the study in --workdir={existing.path} has '
    f'{existing.config.num_seeds}: give as many or more, '
    + (f'or {done} to give up those that are not finished, ' if unfinished else '')
    + 'or another --workdir'
  )


def differing(existing: Workdir, requested: Workdir) -> list[tuple[str, Any, Any]]:
  """(name, existing value, requested value) of every setting that differs and affects results."""
  pairs = [
    (name, getattr(existing.config, name), value)
    for name, value in vars(requested.config).items()
    if name not in ('num_seeds', *_INCIDENTAL)
  ]
  pairs += [
    (name, getattr(existing.features, name), value)
    for name, value in vars(requested.features).items()
  ]
  pairs += [
    (name, existing.constants.get(name), value) for name, value in requested.constants.items()
  ]
  pairs += [('store_sha256', existing.store_sha256, requested.store_sha256)]
  return [pair for pair in pairs if pair[1] != pair[2]]


def as_text(value: Any) -> str:
  """A setting for a message."""
  return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
