"""The folder of one study: its settings, its results and its trained lanes.

splits.npz       the clips of every side of every split
noise.npz        windows of the noise that training mixes in, if it does
teacher.npz      answers of its teacher, if it has one
config.json      settings, features and store, written after these: then the folder is a study
metrics.jsonl    one row per lane and epoch
checkpoints/     the last two checkpoints of each cohort: its lanes, within an epoch or at its end
predictions.npz  the class predicted for every test clip, one array per lane
figures/         pictures
report.html      the report, with report.md and tables/ as LaTeX and CSV
robustness.json  accuracy on changed copies of the test clips, if measured
detection.json   thresholds of the lanes for streams and what they find, if calibrated
tensorboard/     event files, if requested
results.json     the results, written before the report: if it has all lanes, the study is finished
.study.lock      held by the command that trains or measures lanes, with its process
.report.lock     held for a moment by the command that writes the report or export.json

While seeds are added, results.json and all that was made of it stay as they were, and every command
that reads a study reads the seeds that are finished (`Workdir.finished_part`).

Every file of these that is read again holds a checksum, so that a changed digit is never reported.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep import store as stores
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.network import options
from m3net_jax.study import arrays_file, metrics, recorded_splits
from m3net_jax.study.config import Config
from m3net_jax.study.splits import Split

DETECTION = 'detection.json'
# What to do if a file is damaged.
_TEST_AGAIN = (
  'delete results.json and run the command of the study again: it tests the trained lanes again'
)
_ANOTHER = 'restore it from a copy, or train again in another --workdir'
_CONSTANTS: dict[str, float | str] = {
  'batch_norm_momentum': options.BATCH_NORM_MOMENTUM,
  'batch_norm_epsilon': options.BATCH_NORM_EPSILON,
  'order_of_clips': 'grain index shuffle',  # `input_pipeline.order_of`
}


class Workdir(NamedTuple):
  """A study on disk.

  Attributes:
    path: its folder.
    config: its settings.
    seed_ranges: consecutive ranges of seeds, in the order in which they were requested.
    features: features of its store.
    store: folder of its store: that at the recorded place relative to the study's folder if both
      have moved, else that at the recorded path.
    store_sha256: SHA-256 of the store's mels.npy.
    constants: of the network and the order of clips, that decide its lanes too.
    environments: what computed it (`devices.environment`), in order.
  """

  path: Path
  config: Config
  seed_ranges: list[range]
  features: Features
  store: Path
  store_sha256: str
  constants: dict[str, float | str] = _CONSTANTS
  environments: tuple[dict[str, Any], ...] = ()

  @property
  def finished(self) -> bool:
    """Whether all lanes are trained and tested: each has its row in results.json."""
    return self.finished_seeds == self.config.num_seeds

  @property
  def finished_seeds(self) -> int:
    """Number of seeds in the leading ranges all of whose lanes have a row in results.json."""
    return self._seeds_in(self.results()) if (self.path / 'results.json').exists() else 0

  def results(self) -> dict[str, Any]:
    """Reads results.json; UserError if no seed is finished."""
    path = self.path / 'results.json'
    if not path.exists():
      raise UserError(
        f'{self.path}: this study is not finished (no results.json): run its command again'
      )
    return files.read_json(path, _TEST_AGAIN)

  def finished_part(self) -> 'Workdir':
    """The study without seeds that are being added; UserError if no seed is finished."""
    num_seeds = self.finished_seeds
    if not num_seeds:
      self.results()  # raises if it is absent
      raise UserError(
        f'{self.path / "results.json"}: lacks lanes of config.json: run the command of the study '
        'again'
      )
    config = dataclasses.replace(self.config, num_seeds=num_seeds)
    ranges = [seeds for seeds in self.seed_ranges if seeds.stop <= config.seeds.stop]
    return self._replace(config=config, seed_ranges=ranges)

  def _seeds_in(self, content: dict[str, Any]) -> int:
    config = self.config
    splits_of: dict[tuple[str, int], set[str]] = {}
    for name, variant in content['variants'].items():
      for row in variant['lanes']:  # of a sweep, those of the chosen settings
        splits_of.setdefault((name, row['seed']), set()).add(row['split'])
    needed = 1 if config.split_seeds else len(content['corpus']['splits'])
    num_seeds = 0
    for seeds in self.seed_ranges:
      if any(
        len(splits_of.get((variant, seed), ())) < needed
        for variant in config.variants
        for seed in seeds
      ):
        break
      num_seeds += len(seeds)
    return num_seeds

  def load_store(self) -> Store:
    """Reads the store of the study.

    Raises:
      UserError: it is not there, or not the one that the study was trained on.
    """
    if not self.store.is_dir():
      raise UserError(
        f'{self.store}: the store of {self.path} is not there: run the command of the study again, '
        'with its recordings or with --store_dir, which also records the new place'
      )
    loaded = stores.load(self.store, self.features)
    self.check_store(loaded)
    return loaded

  def check_store(self, store: Store) -> None:
    """Raises UserError if a store has other arrays than the one of the study."""
    if store.sha256 != self.store_sha256:
      raise UserError(
        f'{store.path}: is not the store that {self.path} was trained on (other arrays): run the '
        'command of the study again with the same recordings and another --store_dir'
      )

  def splits(self, store: Store) -> list[Split]:
    """Reads splits.npz; UserError if it cannot be read or `store` has other clips."""
    known = recorded_splits.read_for(self.path, store)
    return known[: self.config.num_seeds] if self.config.split_seeds else known

  def arenas(self) -> dict[str, int]:
    """{variant: bytes of its int8 arena} of the variants that were exported so far."""
    path = self.path / 'export.json'
    return read_exported(self.path).get('arenas', {}) if path.exists() else {}

  def metrics(self) -> list[dict[str, Any]]:
    """Reads metrics.jsonl: one row per lane and epoch; UserError if it was altered."""
    rows = [row for row in metrics.read(self.path) if row['seed'] in self.config.seeds]
    if (self.path / 'results.json').exists() and (self.path / metrics.NAME).exists():
      results = self.results()
      if self._seeds_in(results) == self.config.num_seeds:
        metrics.check_finished(self.path, rows, results, self.config.num_epochs)
    return rows

  def write_predictions(self, predicted: dict[str, np.ndarray]) -> None:
    """Writes predictions.npz: an array [test clips] of classes for each `prediction_key`."""
    arrays_file.write(self.path / 'predictions.npz', **predicted)

  def predictions(self) -> dict[str, np.ndarray]:
    """Reads predictions.npz: an array [test clips] of classes for each `prediction_key`.

    Raises UserError if it is absent or was altered.
    """
    saved = arrays_file.read(self.path / 'predictions.npz', _TEST_AGAIN)
    return {
      key: answers
      for key, answers in saved.items()
      if int(key.rpartition('/')[2]) in self.config.seeds
    }


def read_detection(path: Path) -> dict[str, Any] | None:
  """The content of detection.json in the folder of a study.

  None if there is none; UserError if it was altered.
  """
  if not (path / DETECTION).exists():
    return None
  return files.read_json(path / DETECTION, 'delete it and calibrate again')


def read_exported(path: Path) -> dict[str, Any]:
  """The content of export.json in the folder of a study; UserError if it was altered."""
  return files.read_json(path / 'export.json', 'export the study again, or delete the file')


def prediction_key(variant: str, split: str, seed: int) -> str:
  """The name of a lane's array in predictions.npz; the name of a variant contains no slash."""
  return f'{variant}/{split}/{seed}'


def read(path: str | os.PathLike[str]) -> Workdir:
  """Reads the folder of a study; UserError if it holds no study or cannot be read."""
  path = Path(path)
  try:
    content = files.read_json(path / 'config.json', _ANOTHER)
    return Workdir(
      path,
      _config(content),
      [range(*ends) for ends in content['seeds']],
      Features.from_json(content['features']),
      _store_of(path, content),
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


def write(workdir: Workdir) -> None:
  """Writes config.json, if it changes."""
  path, content = workdir.path / 'config.json', _content(workdir)
  if not path.exists() or path.read_bytes() != files.json_bytes(content):
    files.write_json(path, content)


def _content(workdir: Workdir) -> dict[str, Any]:
  return {
    **workdir.config.to_json(),
    'seeds': [[seeds.start, seeds.stop] for seeds in workdir.seed_ranges],
    'features': workdir.features.to_json(),
    'store': str(workdir.store),
    'store_from_here': _relative(workdir.store, workdir.path),
    'store_sha256': workdir.store_sha256,
    'constants': workdir.constants,
    'environments': list(workdir.environments),
  }


def _relative(store: Path, workdir: Path) -> str:
  try:
    return os.path.relpath(os.path.realpath(store), os.path.realpath(workdir))
  except ValueError:  # on another drive of Windows
    return str(store)


def _store_of(path: Path, content: dict[str, Any]) -> Path:
  """The folder of a study's store: the recorded one that holds it, relative to the study first."""
  recorded = Path(content['store'])
  near = os.path.join(os.path.realpath(path), content['store_from_here'])
  for place in (Path(os.path.normpath(near)), recorded):
    if stores.claims(place)['sha256'] == content['store_sha256']:
      return place
  return recorded


def _config(content: dict[str, Any]) -> Config:
  values = {name: content[name] for name in Config.__dataclass_fields__}
  return Config(
    **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
  )
