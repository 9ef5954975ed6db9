"""Studies are trained, planned, opened, merged and compared."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.store import Store
from m3net_jax.api.study import Study
from m3net_jax.reporting import plan_text
from m3net_jax.reporting.compare import Comparison
from m3net_jax.reporting.compare import compare as compare_workdirs
from m3net_jax.study import (
  complete,
  devices,
  hosts,
  ingredients,
  locks,
  merging,
  opening,
  splits,
  trainer,
)
from m3net_jax.study import workdir as workdirs
from m3net_jax.study.config import Config
from m3net_jax.study.plan import measure
from m3net_jax.study.workdir import Workdir

PathLike = str | os.PathLike[str]


def train(
  store: Store,
  *,
  workdir: PathLike,
  config: Config | None = None,
  tensorboard: bool = False,
  checkpoint_minutes: float = trainer.CHECKPOINT_MINUTES,
  **settings: Any,
) -> Study:
  """Trains a study, continues one that was stopped, or reads one that is finished.

  Args:
    store: from `prepare`, `prepare_arrays` or `load_store`.
    workdir: folder of the study; a folder holds one study.
    config: all settings; otherwise pass them one by one.
    tensorboard: also write event files for TensorBoard (extra `tensorboard`).
    checkpoint_minutes: time after which a checkpoint is written within an epoch.
    **settings: fields of `Config`, such as num_seeds, num_epochs, batch_size, input_shape (height,
      width, channels), split. `variants` may name variants and hold Flax classes, which take the
      place of Mirror Attention: maps [clips, height, width, channels] in and out.

  Raises:
    UserError: a setting is out of range, or `workdir` holds something else.
  """
  config = config or Config(**settings)
  with owned(workdir):
    study = create(store, Path(workdir), config)
    if not study.finished:
      study.train(store, tensorboard=tensorboard, checkpoint_minutes=checkpoint_minutes)
  return study


def owned(path: PathLike) -> contextlib.AbstractContextManager[None]:
  """Holds the lock of a study's folder for several calls; another command that writes waits."""
  return locks.owned(Path(path))


def create(store: Store, path: Path, config: Config) -> Study:
  """Makes the workdir of a study, or opens the one of the same settings; trains nothing.

  A finished study of which a part of the report is missing, or older than the results, gets it.
  """
  from m3net_jax.reporting import report  # imports matplotlib

  with owned(path), hosts.first_goes():
    found = opening.find(path, config, store)
    if not found.study.finished:
      # Before anything computes, as a new teacher does: then the devices cannot change.
      devices.use_all_cores(path.absolute().parent / '.compiled')
      shared = ingredients.obtain(found.begun, config, store, found.splits)
      opening.write(found, store, shared)
      return Study(path, shared)
    opening.write(found, store)
    complete.test_within(found.study, config.margin)
    study = Study(path)
    if not report.is_complete(path):
      study.report()
  return study


def plan(store: Store, path: Path, config: Config) -> str:
  """Memory and time that a study would need, and differences that its seeds can show.

  Times a few training steps and discards them.

  If `path` holds finished seeds of the same settings, only those that it lacks are planned.
  """
  # Read before anything is timed: a workdir that cannot be read is reported at once.
  finished = None
  if (path / 'results.json').exists():
    finished = workdirs.read(path).finished_part().results()
  study_splits = splits.make(store, config.split, config.split_seeds_of(config.seeds))
  begun = opening.begun(path, config, store)
  lacking = opening.lacking(begun, config)
  seed_ranges = lacking or [config.seeds]
  devices.use_all_cores(path.absolute().parent / '.compiled')
  shared = ingredients.obtain(begun and path, config, store, study_splits)
  measured = measure(config, seed_ranges, store, study_splits, shared)
  text = plan_text.text(config, len(store.classes), study_splits, measured, finished)
  if seed_ranges == [config.seeds]:
    return text
  return f'{path}: seeds {lacking[0].start} to {lacking[-1].stop - 1} are not trained yet\n{text}'


def open_study(path: PathLike) -> Study:
  """Reads a study; UserError if the folder holds none.

  If seeds are being added, a line says which ones are finished: all that is read is about these.
  """
  return Study(_read(path).path)


def _read(path: PathLike) -> Workdir:
  """Reads the folder of a study; if seeds are being added, without these, as a line says."""
  opened = workdirs.read(path)
  if not (opened.path / 'results.json').exists():
    return opened
  part = opened.finished_part()
  if part != opened:
    print(
      f'{path}: seeds {part.config.seeds.stop} to {opened.config.seeds.stop - 1} are not finished; '
      f'this is about seeds {part.config.first_seed} to {part.config.seeds.stop - 1}',
      file=sys.stderr,
    )
  return part


def merge_studies(paths: Sequence[Study | PathLike], workdir: PathLike) -> Study:
  """Joins finished studies of the same settings, whose seeds follow one another, into one study.

  It is as if it had trained all seeds itself: results and report are computed anew, and seeds can
  be added. The studies are only read. What was measured after training (`robustness`, `calibrate`,
  `export`) and event files of TensorBoard are not taken over.

  Args:
    paths: the studies or their folders, in any order.
    workdir: a new folder.

  Raises:
    UserError: see `study.merging.find` and `study.merging.write`. Nothing is written then.
  """
  given = [paths] if isinstance(paths, Study | str | os.PathLike) else paths
  out = Path(workdir)
  studies = merging.find(_paths(given), out)
  with owned(out):
    merging.write(studies, out)
  merged = Study(out)
  merged.report()
  return merged


def compare(*studies: Study | PathLike) -> Comparison:
  """Compares finished studies that tested the same clips, paired by seed and split.

  The first one's `full`, or its first variant, is the baseline. Print the result, or take its
  `rows` and `tests`.

  Raises:
    UserError: see `reporting.compare.compare`.
  """
  return compare_workdirs([_read(path) for path in _paths(studies)])


def _paths(studies: Sequence[Study | PathLike]) -> list[PathLike]:
  """The folders of studies."""
  return [study.path if isinstance(study, Study) else study for study in studies]
