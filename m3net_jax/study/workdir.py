"""The folder of one study: its settings, its results and its trained lanes.

splits.npz       the clips of every side of every split
noise.npz        windows of the noise that training mixes in, if it does
teacher.npz      answers of its teacher, if it has one
config.json      settings, features and store, written next: from then on the folder is a study
metrics.jsonl    one row per lane and epoch
checkpoints/     the lanes of each cohort after its last two epochs
predictions.npz  the class predicted for every test clip, one array per lane
figures/         pictures
report.html      the report, with report.md and tables/ as LaTeX and CSV
robustness.json  accuracy on changed copies of the test clips, if measured
detection.json   thresholds of the lanes for streams and what they find, if calibrated
tensorboard/     event files, if requested
results.json     the results, written before the report: if it exists, the study is finished
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.network import options
from m3net_jax.study import arrays_file, recorded_splits, splits
from m3net_jax.study.config import Config
from m3net_jax.study.splits import Split

DETECTION = 'detection.json'
_INCIDENTAL = ('lanes_at_once', 'margin')  # settings that decide no lane
_CONSTANTS = {
  'batch_norm_momentum': options.BATCH_NORM_MOMENTUM,
  'batch_norm_epsilon': options.BATCH_NORM_EPSILON,
}


class Workdir(NamedTuple):
  """A study on disk.

  Attributes:
    path: its folder.
    config: its settings.
    seed_ranges: consecutive ranges of seeds, in the order in which they were requested.
    features: features of its store.
    store: folder of the store when the study was made.
    store_sha256: SHA-256 of the store's mels.npy.
    constants: of the network, that decide its lanes too.
    environments: what computed it (`devices.environment`), in order.
  """

  path: Path
  config: Config
  seed_ranges: list[range]
  features: Features
  store: Path
  store_sha256: str
  constants: dict[str, float] = _CONSTANTS
  environments: tuple[dict[str, Any], ...] = ()

  @property
  def finished(self) -> bool:
    """Whether all lanes are trained and tested."""
    return (self.path / 'results.json').exists()

  def results(self) -> dict[str, Any]:
    """Reads results.json; UserError if the study is not finished."""
    if not self.finished:
      raise UserError(
        f'{self.path}: this study is not finished (no results.json): run its command again'
      )
    return json.loads((self.path / 'results.json').read_text())

  def splits(self, store: Store) -> list[Split]:
    """Reads splits.npz; UserError if it cannot be read or `store` has other clips."""
    return recorded_splits.read_for(self.path, store)

  def arenas(self) -> dict[str, int]:
    """{variant: bytes of its int8 arena} of the variants that were exported so far."""
    path = self.path / 'export.json'
    return json.loads(path.read_text()).get('arenas', {}) if path.exists() else {}

  def metrics(self) -> list[dict[str, Any]]:
    """Reads metrics.jsonl: one row per lane and epoch."""
    return files.read_rows(self.path / 'metrics.jsonl')

  def write_predictions(self, predicted: dict[str, np.ndarray]) -> None:
    """Writes predictions.npz: an array [test clips] of classes for each `prediction_key`."""
    arrays_file.write(self.path / 'predictions.npz', **predicted)

  def predictions(self) -> dict[str, np.ndarray]:
    """Reads predictions.npz: an array [test clips] of classes for each `prediction_key`."""
    with np.load(self.path / 'predictions.npz') as saved:
      return dict(saved)


def prediction_key(variant: str, split: str, seed: int) -> str:
  """The name of a lane's array in predictions.npz; the name of a variant contains no slash."""
  return f'{variant}/{split}/{seed}'


def read(path: str | os.PathLike[str]) -> Workdir:
  """Reads the folder of a study; UserError if it holds no study or cannot be read."""
  path = Path(path)
  try:
    content = json.loads((path / 'config.json').read_text())
    return Workdir(
      path,
      _config(content),
      [range(*ends) for ends in content['seeds']],
      Features.from_json(content['features']),
      Path(content['store']),
      content['store_sha256'],
      content['constants'],
      tuple(content['environments']),
    )
  except (FileNotFoundError, NotADirectoryError) as error:
    raise UserError(
      f'{path}: holds no study (no config.json): give the --workdir of a study'
    ) from error
  except KeyError as error:
    raise UserError(
      f'{path / "config.json"}: has no {error}: another version of this program made the study: '
      'train it again in another --workdir'
    ) from error
  except (ValueError, TypeError) as error:
    raise UserError(
      f'{path / "config.json"}: cannot be read ({error}): delete the folder or use another'
    ) from error


def open_for(path: Path, config: Config, store: Store) -> Workdir:
  """Makes the workdir of a study with its splits, or opens the one with the same settings.

  If `config` has more seeds than the existing study, they are added; finished lanes and existing
  splits stay as they are. Settings that decide no lane are those of the last command.

  Raises:
    UserError: the corpus has no such splits; or the folder holds a study with other settings (the
      message names the first one that differs), or something else.
  """
  requested = Workdir(
    path, config, [config.seeds], store.features, store.path.absolute(), store.sha256
  )
  if not (path / 'config.json').exists():
    if path.exists() and (
      not path.is_dir() or {file.name for file in path.iterdir()} - {recorded_splits.NAME}
    ):
      raise UserError(
        f'--workdir={path}: is not empty and holds no study (no config.json): use an empty folder'
      )
    made = splits.make(store, config.split, config.split_seeds_of(config.seeds))
    recorded_splits.write(path, made, store)
    _write(requested)
    return requested
  existing = read(path)
  if differing := _differing(existing, requested):
    name, old, new = differing[0]
    raise UserError(
      f'--workdir={path}: holds a study with {name}={_text(old)}, this one has {_text(new)}: '
      'give another --workdir, or the same settings'
    )
  end = existing.seed_ranges[-1].stop
  if config.seeds.stop < end:
    raise UserError(
      f'--num_seeds={config.num_seeds}: the study in --workdir={path} has '
      f'{end - config.first_seed}: give as many or more, or another --workdir'
    )
  if config.seeds.stop > end and config.sweep:
    raise UserError(
      f'--num_seeds={config.num_seeds}: the sweep in --workdir={path} was chosen with '
      f'{end - config.first_seed} seeds: give the chosen setting by its flags in another --workdir'
    )
  existing_splits = existing.splits(store)
  if config.seeds.stop == end:
    names = ('margin',) if existing.finished else _INCIDENTAL
    latest = {name: getattr(config, name) for name in names}
    updated = existing._replace(config=dataclasses.replace(existing.config, **latest))
    if updated != existing:
      _write(updated)
    return updated
  extended = existing._replace(
    config=config, seed_ranges=[*existing.seed_ranges, range(end, config.seeds.stop)]
  )
  if new := config.split_seeds_of(range(end, config.seeds.stop)):
    # A run that stopped between these two files has written them already.
    known = existing_splits[: end - config.first_seed]
    recorded_splits.write(path, known + splits.make(store, config.split, new), store)
  # Delete the results first: a study with untrained lanes is not finished.
  for name in (
    'results.json',
    'robustness.json',
    'figures/robustness.png',
    DETECTION,
    'figures/detection.png',
  ):
    (path / name).unlink(missing_ok=True)
  _write(extended)
  return extended


def compute_under(workdir: Workdir, environment: dict[str, Any]) -> tuple[Workdir, list[str]]:
  """Puts on record what computes the study from now on.

  Args:
    environment: of `devices.environment`.

  Returns:
    The workdir, and what differs from what computed it before, one text for each.
  """
  if workdir.environments and workdir.environments[-1] == environment:
    return workdir, []
  workdir = workdir._replace(environments=(*workdir.environments, environment))
  _write(workdir)
  if len(workdir.environments) == 1:
    return workdir, []
  before, now = map(_flat, workdir.environments[-2:])
  return workdir, [
    f'{name} {before.get(name)}, now {now.get(name)}'
    for name in dict.fromkeys((*before, *now))
    if before.get(name) != now.get(name)
  ]


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
  """An environment with its versions beside its other values."""
  others = {name: value for name, value in environment.items() if name != 'versions'}
  return {**environment['versions'], **others}


def lacking(path: Path, config: Config, features: Features, store_sha256: str) -> list[range]:
  """The ranges of seeds that a study with these settings would train in this folder.

  These are all its seeds, or those that a finished study in the folder lacks.
  """
  if (path / 'results.json').exists():
    existing = read(path)
    end = existing.seed_ranges[-1].stop
    requested = Workdir(path, config, [config.seeds], features, existing.store, store_sha256)
    if not _differing(existing, requested) and end < config.seeds.stop:
      return [range(end, config.seeds.stop)]
  return [config.seeds]


def _differing(existing: Workdir, requested: Workdir) -> list[tuple[str, Any, Any]]:
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
  pairs += [(name, existing.constants.get(name), value) for name, value in _CONSTANTS.items()]
  pairs += [('store_sha256', existing.store_sha256, requested.store_sha256)]
  return [pair for pair in pairs if pair[1] != pair[2]]


def _write(workdir: Workdir) -> None:
  files.write_json(
    workdir.path / 'config.json',
    {
      **workdir.config.to_json(),
      'seeds': [[seeds.start, seeds.stop] for seeds in workdir.seed_ranges],
      'features': workdir.features.to_json(),
      'store': str(workdir.store),
      'store_sha256': workdir.store_sha256,
      'constants': workdir.constants,
      'environments': list(workdir.environments),
    },
  )


def _config(content: dict[str, Any]) -> Config:
  values = {name: content[name] for name in Config.__dataclass_fields__}
  return Config(
    **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
  )


def _text(value: Any) -> str:
  return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
