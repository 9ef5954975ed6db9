"""The folder of one study: what it was asked to do, what it found, and its trained lanes.

config.json      settings, features and store, written first
metrics.jsonl    a row per lane and epoch
checkpoints/     the lanes of each cohort after its last two epochs
predictions.npz  the class predicted for every test clip, an array a lane
figures/         pictures
report.html      all of it to read, with report.md and tables/ as LaTeX and CSV
tensorboard/     event files, where asked for
results.json     the findings, written last: its presence says that the study is finished
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study.config import Config


class Workdir(NamedTuple):
  """A study on disk.

  Attributes:
    config: its settings.
    seed_ranges: the ranges of seeds it was asked for, one after another.
    features: of its store.
    store: the store's folder, where it was when the study ran.
    store_sha256: of the store's mels.npy.
  """

  path: Path
  config: Config
  seed_ranges: list[range]
  features: Features
  store: Path
  store_sha256: str

  @property
  def finished(self) -> bool:
    return (self.path / 'results.json').exists()

  def results(self) -> dict[str, Any]:
    """results.json; UserError where the study is not finished."""
    if not self.finished:
      raise UserError(
        f'{self.path}: this study is not finished (no results.json): run its command again'
      )
    return json.loads((self.path / 'results.json').read_text())

  def metrics(self) -> list[dict[str, Any]]:
    return files.read_rows(self.path / 'metrics.jsonl')

  def write_predictions(self, predicted: dict[str, np.ndarray]) -> None:
    """An array [test clips] of classes for each lane, by its `prediction_key`."""
    with files.replacing(self.path / 'predictions.npz') as fresh, open(fresh, 'wb') as file:
      np.savez_compressed(file, **predicted)

  def predictions(self) -> dict[str, np.ndarray]:
    with np.load(self.path / 'predictions.npz') as saved:
      return dict(saved)


def prediction_key(variant: str, split: str, seed: int) -> str:
  """The name of a lane's array in predictions.npz; a variant's own name may hold dots and colons, no slash."""
  return f'{variant}/{split}/{seed}'


def read(path: str | os.PathLike[str]) -> Workdir:
  """A study's folder; UserError where it holds none."""
  path = Path(path)
  try:
    there = json.loads((path / 'config.json').read_text())
    return Workdir(
      path,
      _config(there),
      [range(*ends) for ends in there['seeds']],
      Features.from_json(there['features']),
      Path(there['store']),
      there['store_sha256'],
    )
  except FileNotFoundError as error:
    raise UserError(
      f'{path}: holds no study (no config.json): give the --workdir of a study'
    ) from error
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'{path / "config.json"}: cannot be read ({error}): delete the folder or give another'
    ) from error


def open_for(
  path: Path, config: Config, features: Features, store: Path, store_sha256: str
) -> Workdir:
  """The workdir of these settings: a new one, or one that holds a study of the same.

  More seeds than the study there has are added to it; its finished lanes stay as they are.

  Raises:
    UserError: it holds a study of other settings (with the first that differs), or something else.
  """
  asked = Workdir(path, config, [config.seeds], features, store.absolute(), store_sha256)
  if not (path / 'config.json').exists():
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
      raise UserError(
        f'--workdir={path}: is not empty and holds no study (no config.json): give a new folder'
      )
    _write(asked)
    return asked
  there = read(path)
  if differing := _differing(there, asked):
    name, old, new = differing[0]
    raise UserError(
      f'--workdir={path}: holds a study with {name}={_shown(old)}, this one has {_shown(new)}: '
      'give another --workdir, or the same settings'
    )
  end = there.seed_ranges[-1].stop
  if config.seeds.stop < end:
    raise UserError(
      f'--num_seeds={config.num_seeds}: the study in --workdir={path} has {end - config.first_seed}: '
      'give as many or more, or another --workdir'
    )
  if config.seeds.stop == end:
    return there
  more = there._replace(
    config=config, seed_ranges=[*there.seed_ranges, range(end, config.seeds.stop)]
  )
  # Without its results first: a study whose lanes are being added is not finished.
  (path / 'results.json').unlink(missing_ok=True)
  _write(more)
  return more


def lacking(path: Path, config: Config, features: Features, store_sha256: str) -> list[range]:
  """The seeds that a study of these settings would train in this folder: all, or those that one there has not."""
  if (path / 'results.json').exists():
    there = read(path)
    end = there.seed_ranges[-1].stop
    asked = Workdir(path, config, [config.seeds], features, there.store, store_sha256)
    if not _differing(there, asked) and end < config.seeds.stop:
      return [range(end, config.seeds.stop)]
  return [config.seeds]


def _differing(there: Workdir, asked: Workdir) -> list[tuple[str, Any, Any]]:
  """(name, value there, value asked) of what makes two studies other ones: not more seeds, nor lanes at once."""
  pairs = [
    (name, getattr(there.config, name), value)
    for name, value in vars(asked.config).items()
    if name not in ('num_seeds', 'lanes_at_once')
  ]
  pairs += [
    (name, getattr(there.features, name), value) for name, value in vars(asked.features).items()
  ]
  pairs += [('store_sha256', there.store_sha256, asked.store_sha256)]
  return [pair for pair in pairs if pair[1] != pair[2]]


def _write(workdir: Workdir) -> None:
  files.write_json(
    workdir.path / 'config.json',
    {
      **workdir.config.to_json(),
      'seeds': [[each.start, each.stop] for each in workdir.seed_ranges],
      'features': workdir.features.to_json(),
      'store': str(workdir.store),
      'store_sha256': workdir.store_sha256,
    },
  )


def _config(there: dict[str, Any]) -> Config:
  values = {name: there[name] for name in Config.__dataclass_fields__}
  return Config(
    **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
  )


def _shown(value: Any) -> str:
  return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
