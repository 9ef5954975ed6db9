"""A study on disk, as an object with its results, lanes and report."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep import background, files, surroundings
from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.api import models
from m3net_jax.inference import best_lane, stream_study
from m3net_jax.inference.best_lane import TrainedLane
from m3net_jax.inference.classifier import Classifier
from m3net_jax.reporting import summary, tables
from m3net_jax.reporting.tables import Table
from m3net_jax.study import complete, devices, hosts, ingredients, locks, noise_bank, trainer
from m3net_jax.study import workdir as workdirs
from m3net_jax.study.config import Config
from m3net_jax.study.workdir import Workdir

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Study:
  """A study on disk; `path` is its workdir."""

  path: Path
  # What `create` read or made, so that `train` does not read it again.
  _ingredients: ingredients.Ingredients | None = dataclasses.field(
    default=None, repr=False, compare=False
  )

  @property
  def finished(self) -> bool:
    """Whether all of its lanes are trained and tested."""
    return self._workdir.finished

  @property
  def config(self) -> Config:
    """Its settings."""
    return self._workdir.config

  @property
  def _workdir(self) -> Workdir:
    return workdirs.read(self.path)

  @property
  def _finished_part(self) -> Workdir:
    return self._workdir.finished_part()

  def train(
    self,
    store: Store,
    *,
    tensorboard: bool = False,
    checkpoint_minutes: float = trainer.CHECKPOINT_MINUTES,
  ) -> list[Path]:
    """Trains and tests the remaining lanes; writes results, figures and report.

    Args:
      store: the store of the study.
      tensorboard: also write event files for TensorBoard (extra `tensorboard`).
      checkpoint_minutes: time after which a checkpoint is written within an epoch.

    Returns:
      The files written; of several processes, the first one writes them.

    Raises:
      UserError: `store` is not the store of the study.
    """
    with locks.owned(self.path):
      opened, shared = self._workdir, self._ingredients
      opened.check_store(store)
      if shared is None:
        devices.use_all_cores(self.path.absolute().parent / '.compiled')
        shared = ingredients.obtain(self.path, opened.config, store, opened.splits(store))
      complete.complete(
        opened, store, shared, tensorboard=tensorboard, checkpoint_minutes=checkpoint_minutes
      )
      written = [self.path / 'results.json', *self.report()] if hosts.first() else []
      hosts.wait()
      return written

  def robustness(
    self, noise_dir: Sequence[PathLike] = (), raw_dir: PathLike | None = None
  ) -> dict[str, Any]:
    """Tests all lanes on changed copies of the test clips: noise, other levels, other times.

    Writes robustness.json, figures/robustness.png and the report.

    Args:
      noise_dir: folders of noise recordings (default: the corpus's own, if it has any).
      raw_dir: folder of the recordings (default: where they were when the store was made).

    Returns:
      The content of robustness.json; accuracies are fractions.

    Raises:
      UserError: see `study.robustness.measure`.
    """
    from m3net_jax.study import robustness

    with locks.owned(self.path):
      opened = self._finished_part
      files.check_writable(self.path)  # before an hour of work
      store = opened.load_store()
      devices.use_all_cores(self.path.absolute().parent / '.compiled')
      measured = robustness.measure(opened, store, noise_dir, raw_dir)
      files.write_json(self.path / robustness.NAME, measured)
      self.report()
    return measured

  def make_streams(
    self,
    folder: PathLike,
    noise_dir: Sequence[PathLike],
    *,
    snr_db: Sequence[float] = (20.0, 10.0, 0.0),
    minutes: float = 60.0,
    raw_dir: PathLike | None = None,
  ) -> list[Path]:
    """Writes labelled streams of validation and of test clips over noise; returns the files.

    Args:
      folder: for the streams.
      noise_dir: folders of noise recordings, best of noise that training did not hear.
      snr_db: a stream of each side for every signal-to-noise ratio, dB.
      minutes: length of every stream.
      raw_dir: folder of the corpus (default: where it was when the store was made).

    Raises:
      UserError: see `inference.stream_study.make_streams`.
    """
    opened = self._workdir
    store = opened.load_store()
    if not noise_dir:
      raise UserError('--noise_dir: streams need noise: give a folder of noise recordings')
    noises = background.recordings(noise_dir, store.features)
    return stream_study.make_streams(
      opened, store, noises, Path(folder), snrs=snr_db, minutes=minutes, raw_dir=raw_dir
    )

  def calibrate(self, folder: PathLike, false_alarms: float = 6.0) -> dict[str, Any]:
    """Chooses every lane's detector on validation streams and measures it on test streams.

    Writes detection.json, figures/detection.png and the report.

    Args:
      folder: that `make_streams` wrote for this study.
      false_alarms: an hour, allowed in each validation stream.

    Returns:
      The content of detection.json.

    Raises:
      UserError: see `inference.stream_study.measure`.
    """
    with locks.owned(self.path):
      opened = self._finished_part
      files.check_writable(self.path)
      measured = stream_study.measure(opened, opened.load_store(), Path(folder), false_alarms)
      files.write_json(self.path / workdirs.DETECTION, measured)
      self.report()
    return measured

  def results(self) -> dict[str, Any]:
    """The content of results.json; accuracies are fractions. UserError if no seed is finished."""
    return self._finished_part.results()

  def metrics(self) -> list[dict[str, Any]]:
    """One row per lane and epoch: losses, validation accuracy, learning rate, status, seconds."""
    return self._workdir.metrics()

  def lanes(self) -> list[dict[str, Any]]:
    """One row per lane: variant, seed, split, status, test and validation accuracy, best epoch.

    `pandas.DataFrame(study.lanes())` makes a data frame of them.
    """
    return [
      {'variant': name, **lane}
      for name, variant in self.results()['variants'].items()
      for lane in variant['lanes']
    ]

  def table(self) -> Table:
    """Accuracy, parameters and multiply-adds of every variant; Markdown in a notebook."""
    return tables.variants_table(self.results())

  def tests(self) -> Table | None:
    """Every variant against the baseline, with p-values; None for a study of one variant."""
    tests = self.results()['tests']
    return tables.tests_table(tests) if tests else None

  def summary(self) -> str:
    """Protocol, leakage, one row per variant and the tests, for a terminal."""
    return summary.text(self.results())

  def report(self) -> list[Path]:
    """Writes report.html, report.md, tables/ and figures/; returns the paths."""
    from m3net_jax.reporting import report

    with locks.reporting(self.path):
      return report.write(self._finished_part)

  def best_lane(self, variant: str | None = None, seed: int | None = None) -> TrainedLane:
    """The lane with the best validation accuracy, among those of `variant` and `seed` if given."""
    return best_lane.load(self._finished_part, variant, seed)

  def classifier(self, variant: str | None = None, seed: int | None = None) -> Classifier:
    """The best lane as a model for `classify`."""
    return models.load_model(self.path, variant, seed)

  def export(
    self,
    out_dir: PathLike,
    lane: TrainedLane | None = None,
    *,
    calibration_clips: int = 300,
    max_drop: float = 0.005,
    int16x8: bool = True,
    mirrors: str = 'reverse',
  ) -> dict[str, Any]:
    """Writes the bundle of a lane for microcontrollers (extra `export`).

    Args:
      out_dir: the folder to write.
      lane: from `best_lane` (default: the one with the best validation accuracy).
      calibration_clips: training clips that set the ranges of the integer models.
      max_drop: largest allowed loss of accuracy of an integer model, as a fraction of the
        validation clips.
      int16x8: also make an int16x8 model.
      mirrors: 'slices' makes mirrors of slices, for runtimes without REVERSE_V2.

    Returns:
      The content of export.json.

    Raises:
      UserError: a converted file is worse than the trained network on the validation clips; nothing
        is written then.
    """
    from m3net_jax.deploy import convert, export
    from m3net_jax.reporting import detections, model_card, robustness

    opened = self._finished_part
    content = opened.results()
    noises = [name for name, _ in noise_bank.recorded(self.path, opened.config)]
    exported = export.write(
      Path(out_dir).absolute(),
      opened,
      lane or self.best_lane(),
      calibration_clips=calibration_clips,
      max_drop=max_drop,
      kinds=convert.KINDS if int16x8 else convert.KINDS[:2],
      mirrors=mirrors,
      card=lambda exported: model_card.text(
        exported, content, robustness.read(self.path), noises, detections.read(self.path)
      ),
    )
    if surroundings.can_write(self.path):
      self.report()
    return exported
