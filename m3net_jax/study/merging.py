"""Joins finished studies, which trained some of the seeds each, into the study of all seeds.

The studies have the same settings and splits but for their seeds (`--first_seed`), and are only
read. Their lanes, rows and predictions are put together; results.json is computed from them anew,
as for lanes that were trained by one command.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_prep import files
from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.study import (
  checkpoint,
  cohorts,
  ingredients,
  metrics,
  noise_bank,
  opening,
  recorded_splits,
  results,
  teacher,
  workdir,
)
from m3net_jax.study.cohorts import Cohort
from m3net_jax.study.ingredients import Ingredients
from m3net_jax.study.splits import PARTS, Split
from m3net_jax.study.teacher import Answers
from m3net_jax.study.workdir import Workdir

Row = Mapping[str, Any]


def find(paths: Sequence[str | os.PathLike[str]], out: Path) -> list[Workdir]:
  """Reads the studies to merge, in the order of their seeds; writes nothing.

  Args:
    out: the folder to write, which is none of them.

  Raises:
    UserError: there are fewer than two; one is named twice, holds no study, is not finished or is a
      sweep; settings or stores differ; or their seeds overlap or have a gap.
  """
  if len(paths) < 2:
    raise UserError(
      f'{os.fspath(paths[0]) if paths else "no study"}: a merge needs two studies or more: '
      'python -m m3net_jax.merge WORKDIR WORKDIR ... --workdir=NEW'
    )
  places = [os.path.realpath(path) for path in paths]
  for path, place in zip(paths, places):
    if places.count(place) > 1:
      raise UserError(f'{os.fspath(path)}: is named twice: name each study once')
    if Path(os.path.realpath(out)).is_relative_to(place):
      raise UserError(
        f'--workdir={out}: is, or is in, one of the studies to merge, which are only read: give '
        'another folder'
      )
  studies = sorted(map(_finished, paths), key=lambda study: study.config.first_seed)
  for study in studies[1:]:
    _check_same(studies[0], study)
  for one, other in zip(studies, studies[1:]):
    _check_follows(one, other)
  return studies


def write(studies: Sequence[Workdir], out: Path) -> None:
  """Writes the study of all seeds, completely or not at all.

  It has everything but a report. Settings that decide no lane are those of the first study.

  Args:
    studies: of `find`.
    out: its folder, whose lock is held.

  Raises:
    UserError: `out` holds something; the store is not there; splits, noise or teachers differ; or a
      file is missing or damaged.
  """
  if not opening.is_free(out):
    raise UserError(f'--workdir={out}: is not empty: give a new folder')
  first = studies[0]
  there = (study for study in studies if study.store.is_dir())
  store = next(there, first).load_store()
  config = dataclasses.replace(
    first.config, num_seeds=sum(study.config.num_seeds for study in studies)
  )
  splits_of_each = [study.splits(store) for study in studies]
  splits = _merged_splits(studies, splits_of_each)
  shared = _merged_ingredients(studies, store, splits_of_each)
  # In the order of one command that trains them all.
  all_cohorts = [
    [metrics.lane_of(_row(name, splits)) for name in cohort.names]
    for cohort in cohorts.make(config, [config.seeds], len(splits))
  ]
  contents = [study.results() for study in studies]
  rows, predictions = _tested(studies, contents, splits)
  lanes = [lane for lanes in all_cohorts for lane in lanes]
  predictions = {_key(lane): predictions[_key(lane)] for lane in lanes}
  epochs = _epochs(studies, contents)
  content = results.build(
    config,
    store,
    splits,
    [rows[lane] for lane in lanes],
    predictions,
    environments=(environments := _environments(studies)),
    compilations=sum(content['compilations'] for content in contents),
    seconds=sum(content['seconds'] for content in contents),
  )
  folders = list(_checkpoints(studies, len(store.classes), splits_of_each))
  with files.replacing_folder(out) as folder:
    study = first._replace(
      path=folder,
      config=config,
      seed_ranges=[seeds for study in studies for seeds in study.seed_ranges],
      store=Path(os.path.realpath(store.path)),
      environments=tuple(environments),
    )
    recorded_splits.write(folder, splits, store)
    ingredients.write(folder, shared, begun=False)
    if epochs:
      ordered = [
        epochs[lane, epoch]
        for lanes in all_cohorts
        for epoch in range(1, config.num_epochs + 1)
        for lane in lanes
      ]
      files.write_rows(folder / metrics.NAME, ordered)
    for source, cohort in folders:
      _copy_checkpoints(source, checkpoint.folder_of(folder, cohort))
    study.write_predictions(predictions)
    files.write_json(folder / 'results.json', content)
    workdir.write(study)


def _finished(path: str | os.PathLike[str]) -> Workdir:
  """Reads a study; UserError if it is not finished or cannot be merged."""
  study = workdir.read(path)
  if study.config.sweep:
    raise UserError(
      f'{path}: is a sweep, whose setting its own seeds have chosen, so it cannot be merged: train '
      'the chosen setting by its flags'
    )
  done = study.finished_part().config
  if done != study.config:
    raise UserError(
      f'{path}: seeds {done.seeds.stop} to {study.config.seeds.stop - 1} are not finished: run its '
      f'command again, or with --num_seeds={done.num_seeds} to give them up'
    )
  return study


def _check_same(one: Workdir, other: Workdir) -> None:
  """Raises UserError if settings that decide the lanes, or stores, differ."""
  for name, old, new in opening.differing(one, other):
    if name == 'store_sha256':
      raise UserError(
        f'{other.path}: was trained on another store ({other.store}) than {one.path} '
        f'({one.store}): give studies of the same recordings'
      )
    if name != 'first_seed':
      raise UserError(
        f'{other.path}: has {name}={opening.as_text(new)}, {one.path} has '
        f'{opening.as_text(old)}: give studies with the same settings'
      )


def _check_follows(one: Workdir, other: Workdir) -> None:
  """Raises UserError if the seeds of a study do not begin where those of another end."""
  end, begin = one.config.seeds.stop, other.config.seeds.start
  if begin < end:
    last = min(end, other.config.seeds.stop) - 1
    raise UserError(
      f'{other.path}: has {_seeds(range(begin, last + 1))}, which {one.path} has too: give one of '
      'them alone'
    )
  if begin > end:
    missing = range(end, begin)
    raise UserError(
      f'{_seeds(missing)}: missing between {one.path} and {other.path}: give the study that has '
      f'them, or train it with --first_seed={end} --num_seeds={len(missing)}'
    )


def _seeds(seeds: range) -> str:
  """A range of seeds as text."""
  return f'seed {seeds[0]}' if len(seeds) == 1 else f'seeds {seeds[0]} to {seeds[-1]}'


def _merged_splits(
  studies: Sequence[Workdir], splits_of_each: Sequence[list[Split]]
) -> list[Split]:
  """The splits of all seeds; UserError if studies that share their splits have others."""
  if studies[0].config.split_seeds:
    return [split for splits in splits_of_each for split in splits]
  first = splits_of_each[0]
  for study, splits in zip(studies, splits_of_each):
    same = [split.name for split in splits] == [split.name for split in first] and all(
      np.array_equal(getattr(one, side), getattr(other, side))
      for one, other in zip(splits, first)
      for side in PARTS
    )
    if not same:
      raise UserError(
        f'{study.path / recorded_splits.NAME}: has other clips on its sides than '
        f'{studies[0].path / recorded_splits.NAME}: give studies with the same splits'
      )
  return first


def _merged_ingredients(
  studies: Sequence[Workdir], store: Store, splits_of_each: Sequence[list[Split]]
) -> Ingredients:
  """The noise and the teacher of all seeds; UserError if the studies have others."""
  noise, taught = None, []
  for study, splits in zip(studies, splits_of_each):
    shared = ingredients.obtain(study.path, study.config, store, splits)
    noise = shared.noise if noise is None else noise
    if noise is not None and not _equal(noise, shared.noise):
      raise _other(studies[0], study, noise_bank.NAME, '--noise_dir')
    if shared.teacher is not None:
      if taught and not study.config.split_seeds and not _equal(taught[0], shared.teacher):
        raise _other(studies[0], study, teacher.NAME, '--teacher')
      taught.append(shared.teacher)
  if not taught or not studies[0].config.split_seeds:
    return Ingredients(noise, taught[0] if taught else None)
  logits, names = zip(*taught)
  return Ingredients(noise, Answers(np.concatenate(logits, 1), np.concatenate(names)))


def _equal(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
  return all(map(np.array_equal, one, other))


def _other(first: Workdir, study: Workdir, name: str, flag: str) -> UserError:
  return UserError(
    f'{study.path / name}: is not that of {first.path}: give studies that were trained with the '
    f'same {flag}'
  )


def _tested(
  studies: Sequence[Workdir], contents: Sequence[Row], splits: Sequence[Split]
) -> tuple[dict[metrics.Lane, dict[str, Any]], dict[str, np.ndarray]]:
  """The rows of results.json by lane, and the predicted classes [test clips] by key.

  Raises:
    UserError: a study lacks some of its own.
  """
  sizes = {split.name: len(split.test) for split in splits}
  rows: dict[metrics.Lane, dict[str, Any]] = {}
  predictions: dict[str, np.ndarray] = {}
  for study, content in zip(studies, contents):
    own = [
      {'variant': name, **lane}
      for name, variant in content['variants'].items()
      for lane in variant['lanes']
      if lane['seed'] in study.config.seeds
    ]
    answers = study.predictions()
    for row in own:
      lane = metrics.lane_of(row)
      key = _key(lane)
      if key not in answers or len(answers[key]) != sizes.get(row['split']):
        raise UserError(
          f'{study.path / "predictions.npz"}: is not of the lanes of results.json: delete '
          'results.json and run the command of the study again: it tests the trained lanes again'
        )
      rows[lane], predictions[key] = row, answers[key]
  return rows, predictions


def _row(name: cohorts.LaneName, splits: Sequence[Split]) -> dict[str, Any]:
  return {'variant': name.variant, 'seed': name.seed, 'split': splits[name.split].name}


def _key(lane: metrics.Lane) -> str:
  variant, seed, split, _ = lane
  return workdir.prediction_key(variant, split, seed)


def _epochs(
  studies: Sequence[Workdir], contents: Sequence[Row]
) -> dict[tuple[metrics.Lane, int], dict[str, Any]]:
  """The rows of metrics.jsonl by lane and epoch, as if the studies ran one after another.

  If a study has none, so has the merged one, as a line says.
  """
  epochs, before = {}, 0.0
  for study, content in zip(studies, contents):
    rows = study.metrics()
    if not rows:
      print(
        f'{study.path}: has no {metrics.NAME}, so the merged study gets none: its report has no '
        'learning curves',
        file=sys.stderr,
      )
      return {}
    for row in rows:
      seconds = round(before + row['seconds'], 2)
      epochs[metrics.lane_of(row), row['epoch']] = {**row, 'seconds': seconds}
    before += content['seconds']
  return epochs


def _environments(studies: Sequence[Workdir]) -> list[dict[str, Any]]:
  """What computed the studies, each environment once, in order."""
  environments: list[dict[str, Any]] = []
  for study in studies:
    environments += [each for each in study.environments if each not in environments]
  return environments


def _checkpoints(
  studies: Sequence[Workdir], num_classes: int, splits_of_each: Sequence[list[Split]]
) -> Iterator[tuple[Path, Cohort]]:
  """Yields the checkpoint folder of every cohort, and the cohort, after reading its lanes.

  Raises:
    UserError: see `checkpoint.restore_cohort`.
  """
  jax.devices()  # if there is none as JAX_PLATFORMS wants, a checkpoint would seem to be damaged
  for study, splits in zip(studies, splits_of_each):
    for cohort in cohorts.make(study.config, study.seed_ranges, len(splits)):
      checkpoint.restore_cohort(study.config, cohort, num_classes, study.path)
      yield checkpoint.folder_of(study.path, cohort), cohort


def _copy_checkpoints(source: Path, target: Path) -> None:
  """Copies the complete checkpoints of a cohort; an error names the file that is written."""
  for number in checkpoint.numbers(source):
    for path in sorted((source / str(number)).rglob('*')):
      place = target / path.relative_to(source)
      if path.is_dir():
        place.mkdir(parents=True, exist_ok=True)
      else:
        files.write_bytes(place, path.read_bytes())
