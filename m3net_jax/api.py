"""The functions for notebooks and programs; the commands are thin layers over them.

    import m3net_jax as m3

    store = m3.prepare('folder', 'my/recordings')
    study = m3.train(store, workdir='studies/mine', input_shape=(64, 64, 1), num_epochs=50)
    study.table()
    m3.classify(study.classifier(), 'clip.wav').top(3)

docs/api.md lists them with shapes and units.
"""

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import arrays, audio, background, corpora, files, surroundings
from data_prep import prepare as preparation
from data_prep import store as stores
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.inference import best_lane, classifier, detection, predictions, stream_study
from m3net_jax.inference.best_lane import TrainedLane
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.detection import Detection
from m3net_jax.inference.predictions import Prediction
from m3net_jax.reporting import plan_text, summary, tables
from m3net_jax.reporting.compare import Comparison
from m3net_jax.reporting.compare import compare as compare_workdirs
from m3net_jax.reporting.tables import Table
from m3net_jax.study import (
  cohorts,
  devices,
  ingredients,
  locks,
  noise_bank,
  opening,
  results,
  splits,
  streams,
  trainer,
  workdir,
)
from m3net_jax.study.config import Config
from m3net_jax.study.plan import measure
from m3net_jax.study.tensorboard import Board
from m3net_jax.study.trainer import ignore_rows

PathLike = str | os.PathLike[str]


def prepare(
  corpus: str,
  raw_dir: PathLike = 'corpora',
  *,
  store_dir: PathLike = 'stores',
  download: bool = False,
  skip_unreadable: bool = False,
  silence_clips: int | None = None,
  num_processes: int | None = None,
  **features: Any,
) -> Store:
  """Computes the features of a corpus, unless a store that fits its recordings is there.

  Args:
    corpus: one of `data_prep.corpora.NAMES`, such as 'folder' (your own, one folder per class).
    raw_dir: folder of the recordings.
    store_dir: folder of the stores.
    download: download the corpus if it is absent.
    skip_unreadable: leave out recordings that cannot be decoded, and list them in the manifest.
    silence_clips: number of clips of `_silence_` to cut from the recordings in `_noise_` of a
      'folder' corpus (default: up to as many as the mean class has; 0: none).
    num_processes: processes that compute (default: one per core).
    **features: fields of `Features`, such as sample_rate (Hz), clip_seconds, n_fft, n_mels.

  Returns:
    The store: `mels` [clips, n_mels, frames] float16 in dB, `labels` [clips], `classes`, ...

  Raises:
    UserError: see `data_prep.prepare.prepare`.
  """
  path = preparation.prepare(
    corpus,
    raw_dir,
    store_dir,
    corpora.features_of(corpus, **features),
    skip_unreadable=skip_unreadable,
    download=download,
    silence_clips=silence_clips,
    num_processes=num_processes,
  )
  return stores.load(path)


def prepare_arrays(
  clips: Sequence[np.ndarray],
  labels: Sequence[str],
  rate: int,
  *,
  groups: Sequence[str] | None = None,
  store_dir: PathLike = 'stores',
  **features: Any,
) -> Store:
  """Computes the features of clips that are already in memory.

  Args:
    clips: one mono array [samples] per clip, in -1..1, of any length.
    labels: the class of each clip.
    rate: of the clips, Hz; they are resampled to the sample rate of the features.
    groups: speaker or source recording of each clip, for splits that keep them apart.
    store_dir: folder of the stores.
    **features: fields of `Features`, such as sample_rate (Hz), clip_seconds, n_fft, n_mels.

  Raises:
    UserError: see `data_prep.arrays.prepare`.
  """
  return arrays.prepare(
    clips, labels, rate, Features(**features), groups=groups, store_dir=store_dir
  )


def load_store(path: PathLike) -> Store:
  """Reads a store that was prepared before; UserError if it is absent or was altered."""
  return stores.load(path)


def train(
  store: Store,
  *,
  workdir: PathLike,
  config: Config | None = None,
  tensorboard: bool = False,
  checkpoint_minutes: float = trainer.CHECKPOINT_MINUTES,
  **settings: Any,
) -> 'Study':
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


def create(store: Store, path: Path, config: Config) -> 'Study':
  """Makes the workdir of a study, or opens the one of the same settings; trains nothing.

  A finished study of which a part of the report is missing, or older than the results, gets it.
  """
  with owned(path):
    found = opening.find(path, config, store)
    if not found.study.finished:
      # Before anything computes, as a new teacher does: then the devices cannot change.
      devices.use_all_cores(path.absolute().parent / '.compiled')
      shared = ingredients.obtain(found.begun, config, store, found.splits)
      opening.write(found, store, shared)
      return Study(path, shared)
    opening.write(found, store)
    study = Study(path)
    study._test_within(config.margin)
    study._complete_report()
  return study


def plan(store: Store, path: Path, config: Config) -> str:
  """Memory and time that a study would need, and differences that its seeds can show.

  Times a few training steps and discards them.

  If `path` holds finished seeds of the same settings, only those that it lacks are planned.
  """
  # Read before anything is timed: a workdir that cannot be read is reported at once.
  finished = None
  if (path / 'results.json').exists():
    finished = workdir.read(path).finished_part().results()
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


def open_study(path: PathLike) -> 'Study':
  """Reads a study; UserError if the folder holds none.

  If seeds are being added, a line says which ones are finished: all that is read is about these.
  """
  return Study(_read(path).path)


def _read(path: PathLike) -> workdir.Workdir:
  """Reads the folder of a study; if seeds are being added, without these, as a line says."""
  opened = workdir.read(path)
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


def compare(*studies: 'Study | PathLike') -> Comparison:
  """Compares finished studies that tested the same clips, paired by seed and split.

  The first one's `full`, or its first variant, is the baseline. Print the result, or take its
  `rows` and `tests`.

  Raises:
    UserError: see `reporting.compare.compare`.
  """
  paths = [study.path if isinstance(study, Study) else study for study in studies]
  return compare_workdirs([_read(path) for path in paths])


def load_model(path: PathLike, variant: str | None = None, seed: int | None = None) -> Classifier:
  """A trained model: the best lane of a study's folder, a bundle's folder or its .tflite file.

  Args:
    variant, seed: choose a lane of a study.

  Raises:
    UserError: `path` is none of these, or the study has no such lane.
  """
  return classifier.load(os.fspath(path), variant, seed)


def classify(
  model: Classifier,
  recording: PathLike | np.ndarray,
  rate: int | None = None,
  hop_seconds: float | None = None,
) -> Prediction:
  """Classifies a file or an array.

  Args:
    recording: a file, or mono samples [samples] in -1..1. More than 1.1 clips are classified
      window by window; less is cut or padded as in training.
    rate: of the array, Hz (default: the model's).
    hop_seconds: from one window to the next (default: half a clip).

  Raises:
    data_prep.audio.Unreadable: the file cannot be decoded, with the reason.
    UserError: hop_seconds is not within a clip.
  """
  features = model.spec.features
  hop = predictions.hop_of(hop_seconds, features)
  if isinstance(recording, np.ndarray):
    samples = audio.resample(
      recording.astype(np.float32), rate or features.sample_rate, features.sample_rate
    )
    return predictions.classify(model, 'array', samples, hop)
  blocks = audio.blocks(recording, features.sample_rate)
  return predictions.classify(model, os.fspath(recording), blocks, hop)


def listen(
  model: Classifier,
  recording: PathLike | np.ndarray,
  rate: int | None = None,
  *,
  threshold: float | None = None,
  truth: PathLike | None = None,
  name: str | None = None,
) -> Detection:
  """Finds the words of a stream.

  Args:
    recording: a file, or mono samples [samples] in -1..1.
    rate: of the array, Hz (default: the model's).
    threshold: for all classes, 0 to 1 (default: those of the model).
    truth: what is said: a csv with the columns start, end (s) and label, or labels of Audacity.
    name: of the stream, for messages.

  Raises:
    data_prep.audio.Unreadable: the file cannot be decoded, with the reason.
    UserError: see `inference.detection.detect`; `truth` cannot be read.
  """
  sample_rate = model.spec.features.sample_rate
  if isinstance(recording, np.ndarray):
    samples = audio.resample(recording.astype(np.float32), rate or sample_rate, sample_rate)
  else:
    samples, name = audio.read(recording, sample_rate), name or os.fspath(recording)
  words = None if truth is None else streams.read_words(Path(truth))
  return detection.detect(model, samples, name or 'array', threshold=threshold, words=words)


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
  def _workdir(self) -> workdir.Workdir:
    return workdir.read(self.path)

  @property
  def _finished_part(self) -> workdir.Workdir:
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
      The files written.
    """
    with owned(self.path):
      return self._train(store, tensorboard, checkpoint_minutes)

  def _train(self, store: Store, tensorboard: bool, checkpoint_minutes: float) -> list[Path]:
    opened = self._workdir
    config = opened.config
    study_splits = opened.splits(store)
    if self._ingredients is None:
      devices.use_all_cores(self.path.absolute().parent / '.compiled')
    opened, changes = opening.compute_under(opened, devices.environment(config))
    if changes:
      print(
        f'{self.path}: begun under {"; ".join(changes)}: the lanes can differ in their last bits '
        'from those of one run; results.json names both',
        file=sys.stderr,
      )
    shared = self._ingredients or ingredients.obtain(self.path, config, store, study_splits)
    if shared.noise is not None:
      print(f'{self.path}: noise: {shared.noise.text()}', file=sys.stderr)
    start = time.monotonic()
    names = cohorts.make(config, opened.seed_ranges, len(study_splits))
    num_lanes = sum(len(cohort.names) for cohort in names) // len(config.variants)
    with contextlib.ExitStack() as stack:
      on_epoch = ignore_rows
      if tensorboard:
        on_epoch = stack.enter_context(Board(self.path / 'tensorboard', num_lanes)).add
      finished = trainer.train(
        config,
        opened.seed_ranges,
        store,
        study_splits,
        self.path,
        on_epoch,
        shared,
        checkpoint_minutes,
      )
    seconds = time.monotonic() - start
    predictions = trainer.predictions_by_key(finished, study_splits)
    metrics = opened.metrics()
    content = results.build(
      config,
      store,
      study_splits,
      [row for cohort in finished for row in cohort.rows],
      predictions,
      validated=[row for cohort in finished for row in cohort.validated],
      environments=opened.environments,
      compilations=sum(cohort.compilations for cohort in finished),
      seconds=max(seconds, *(row['seconds'] for row in metrics)),
    )
    with locks.reporting(self.path):  # a report is of one study
      opened.write_predictions(predictions)
      files.write_json(self.path / 'results.json', content)
    return [self.path / 'results.json', *self.report()]

  def _test_within(self, margin: float) -> None:
    """Tests a finished study anew if its margin, in points, was another one."""
    content = self.results()
    if any(test['margin'] != margin / 100 for test in content['tests']):
      content['tests'] = results.tests(content, margin)
      files.write_json(self.path / 'results.json', content)

  def _complete_report(self) -> None:
    """Writes the report if a part of it is missing or older than the results."""
    from m3net_jax.reporting import report

    if not report.is_complete(self.path):
      self.report()

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

    with owned(self.path):
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
    with owned(self.path):
      opened = self._finished_part
      files.check_writable(self.path)
      measured = stream_study.measure(opened, opened.load_store(), Path(folder), false_alarms)
      files.write_json(self.path / workdir.DETECTION, measured)
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
    return load_model(self.path, variant, seed)

  def export(
    self,
    out_dir: PathLike,
    lane: TrainedLane | None = None,
    *,
    calibration_clips: int = 300,
    max_drop: float = 0.005,
    int16x8: bool = True,
  ) -> dict[str, Any]:
    """Writes the bundle of a lane for microcontrollers (extra `export`).

    Args:
      out_dir: the folder to write.
      lane: from `best_lane` (default: the one with the best validation accuracy).
      calibration_clips: training clips that set the ranges of the integer models.
      max_drop: largest allowed loss of accuracy of an integer model, as a fraction of the
        validation clips.
      int16x8: also make an int16x8 model.

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
      card=lambda exported: model_card.text(
        exported, content, robustness.read(self.path), noises, detections.read(self.path)
      ),
    )
    if surroundings.can_write(self.path):
      self.report()
    return exported
