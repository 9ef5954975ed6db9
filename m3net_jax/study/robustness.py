"""The accuracy of a finished study on changed copies of its test clips: noise, level, time.

The samples of every test clip are read again from the recordings, changed, and turned into features
as in training. All lanes hear the same copies; a copy follows from the clip and the condition.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from data_prep import background, mel, workers
from data_prep import store as stores
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import DTYPE, ClipRow, Store
from m3net_jax.stats import resampled
from m3net_jax.study import checkpoint, cohorts, noise_bank, results, streams
from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.input_pipeline import Clips, in_batches
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import Workdir

NAME = 'robustness.json'
SNRS = (20.0, 10.0, 5.0, 0.0)  # dB
GAINS = (-30.0, -20.0, -10.0, 0.0, 6.0)  # dB; what leaves -1..1 is clipped
SHIFTS = (-200.0, -100.0, -50.0, 50.0, 100.0, 200.0)  # milliseconds, negative for earlier
GENERATED = ('white', 'pink')
BLOCK = 512  # clips whose copies are in memory at once
_CHUNK = 16  # clips per call of a worker


class Condition(NamedTuple):
  """One kind of copy.

  Attributes:
    kind: 'clean', 'noise', 'gain' or 'shift'.
    noise: 'white', 'pink' or 'recorded'; '' for other kinds.
    level: signal-to-noise ratio in dB, gain in dB, or shift in milliseconds.
  """

  kind: str
  noise: str
  level: float

  def text(self) -> str:
    """The condition in words."""
    if self.kind == 'noise':
      return f'{self.noise} noise, {self.level:g} dB'
    if self.kind == 'gain':
      return f'level {self.level:+g} dB'
    if self.kind == 'shift':
      return f'{abs(self.level):g} ms {"earlier" if self.level < 0 else "later"}'
    return 'clean'


def conditions(recorded: bool, clip_seconds: float = 1.0) -> list[Condition]:
  """All conditions, the clean one first.

  Args:
    recorded: with recorded noise.
    clip_seconds: shifts of a clip or more are left out.
  """
  kinds = (*GENERATED, *(['recorded'] if recorded else []))
  return [
    Condition('clean', '', 0.0),
    *(Condition('noise', kind, snr) for kind in kinds for snr in SNRS),
    *(Condition('gain', '', gain) for gain in GAINS),
    *(Condition('shift', '', shift) for shift in SHIFTS if abs(shift) < 1000 * clip_seconds),
  ]


def changed(
  samples: np.ndarray, condition: Condition, noise: Mapping[str, np.ndarray], features: Features
) -> np.ndarray:
  """A changed copy of a clip.

  Args:
    samples: [num_samples] float32, as `mel.fit_length` returns them.
    noise: [num_samples] of each kind.
  """
  if condition.kind == 'noise':
    return background.mixed(samples, noise[condition.noise], condition.level)
  if condition.kind == 'gain':
    return np.clip(samples * np.float32(10.0 ** (condition.level / 20)), -1.0, 1.0)
  if condition.kind == 'shift':
    frames = round(condition.level / 1000 * features.sample_rate)
    moved = np.roll(samples, frames)
    if features.fit == 'pad':
      moved[slice(frames) if frames > 0 else slice(max(0, len(moved) + frames), None)] = 0.0
    return moved
  return samples


def measure(
  workdir: Workdir,
  store: Store,
  noise_dirs: Sequence[str | os.PathLike[str]] = (),
  raw_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
  """Tests every lane of a finished study on every condition; writes nothing.

  Args:
    store: of the study.
    noise_dirs: folders of noise recordings (default: the corpus's own, if it has any).
    raw_dir: folder of the corpus (default: where it was when the store was made).

  Returns:
    The content of robustness.json; accuracies are fractions.

  Raises:
    UserError: the study is not finished; recordings of test clips are absent or have changed; a
      folder of noise cannot be used.
  """
  content, splits = workdir.results(), workdir.splits(store)
  trained = {sha256 for _, sha256 in noise_bank.recorded(workdir.path, workdir.config)}
  if not (raw_dir or store.manifest['raw_dir']):
    raise UserError(f'{store.path}: was made of arrays, so there are no recordings to change')
  root = Path(raw_dir or store.manifest['raw_dir'])
  clips = stores.read_clips(store.path)
  tested = np.unique(np.concatenate([split.test for split in splits]))
  _check_present(root, [clips[i].path for i in tested])
  recorded = (
    background.recordings(noise_dirs, store.features)
    if noise_dirs
    else background.of_corpus(root, store.features)
  )
  tried = conditions(bool(recorded), store.features.clip_seconds)
  lanes = _lanes(workdir, store, splits)
  # A byte for every lane, condition and test clip, if there are at most 256 classes.
  predicted = np.empty(
    (len(tried), len(lanes.names), len(tested)), np.min_scalar_type(len(store.classes) - 1)
  )
  with tqdm(total=len(tested), desc='clips', unit='', ncols=79, disable=None) as bar:
    for start in range(0, len(tested), BLOCK):
      block = tested[start : start + BLOCK]
      copies = np.empty((len(tried), len(block), *store.features.shape), DTYPE)
      for place, arrays in _copies(root, block, clips, store.features, recorded, tried):
        copies[:, place] = arrays
        bar.update(len(place))
      for i, mels in enumerate(copies):
        predicted[i, :, start : start + len(block)] = lanes.answers(mels)
  rows = _rows(content, store, splits, tried, lanes.names, tested, predicted)
  _say_if_clean_differs(content, rows[0])
  return {
    'conditions': rows,
    'noise': [noise.name for noise in recorded],
    'noise_heard_in_training': [noise.name for noise in recorded if noise.sha256 in trained],
    'generated_noise_heard_in_training': 'noise' in workdir.config.parts and not trained,
    'clips': len(tested),
  }


class _Lanes:
  """All tested lanes of a study, ready to answer."""

  def __init__(self, names: list[LaneName], parts: list[tuple[Runner, Any, list[int]]]):
    self.names, self._parts = names, parts

  def answers(self, mels: np.ndarray) -> np.ndarray:
    """The classes of clips [clips, n_mels, frames], [lanes, clips]; at most BLOCK clips."""
    filled = np.pad(mels, ((0, BLOCK - len(mels)), (0, 0), (0, 0)))
    clips = Clips(filled, np.zeros(BLOCK, np.int32))
    answers = []
    for runner, state, places in self._parts:
      order = in_batches([np.arange(BLOCK)] * len(runner.names), 32)
      scores = runner.programs.eval_fn(
        state.best.variables, state.switches, state.scaling, clips, order
      )
      every = np.asarray(scores.predicted).reshape(len(runner.names), -1)
      answers.append(every[places, : len(mels)])
    return np.concatenate(answers)


def _lanes(workdir: Workdir, store: Store, splits: list[Split]) -> _Lanes:
  """Reads the lanes that were tested, from the checkpoints."""
  tested = results.tested(workdir.results())
  names, parts = [], []
  for cohort in cohorts.make(workdir.config, workdir.seed_ranges, len(splits)):
    places = [i for i, name in enumerate(cohort.names) if name in tested]
    runner = Runner(workdir.config, store, splits, cohort)
    state = checkpoint.restore_cohort(workdir.config, cohort, len(store.classes), workdir.path)
    parts.append((runner, runner.with_fill(state), places))
    names += [cohort.names[i] for i in places]
  return _Lanes(names, parts)


def _check_present(root: Path, paths: Sequence[str]) -> None:
  absent = [path for path in dict.fromkeys(paths) if not (root / path).is_file()]
  if absent:
    raise UserError(
      f'--raw_dir: {root} lacks {len(absent)} recordings of test clips, such as {absent[0]}: give '
      'the folder of the recordings'
    )


def _copies(
  root: Path,
  block: np.ndarray,
  clips: Sequence[ClipRow],
  features: Features,
  recorded: Sequence[Noise],
  tried: Sequence[Condition],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields positions in `block` and their copies [conditions, clips, n_mels, frames]."""
  tables = mel.tables(features)
  generated = {noise.name: [noise] for noise in background.coloured(features, GENERATED)}
  kinds = generated | ({'recorded': list(recorded)} if recorded else {})
  calls = []
  for places in np.split(np.arange(len(block)), range(_CHUNK, len(block), _CHUNK)):
    noise = [
      {
        kind: _window(noises, int(block[place]), number, features)
        for number, (kind, noises) in enumerate(kinds.items())
      }
      for place in places
    ]
    rows = [clips[block[place]] for place in places]
    calls.append(joblib.delayed(_chunk)(root, places, rows, noise, features, tables, tried))
  yield from workers.parallel(workers.num_cores() if len(calls) > 1 else 1)(calls)


def _window(noises: Sequence[Noise], clip: int, kind: int, features: Features) -> np.ndarray:
  """The noise [num_samples] of a clip: the same in every study and at every ratio."""
  rng = np.random.default_rng([clip, kind])
  for _ in range(1000):
    samples = noises[rng.integers(len(noises))].samples
    start = int(rng.integers(len(samples) - features.num_samples + 1))
    window = samples[start : start + features.num_samples]
    if background.level(window) > background.SILENT:
      return window
  raise UserError('--noise_dir: the recordings are silent but for a moment: give others')


def _chunk(
  root: Path,
  places: np.ndarray,
  rows: Sequence[ClipRow],
  noise: Sequence[Mapping[str, np.ndarray]],
  features: Features,
  tables: mel.Tables,
  tried: Sequence[Condition],
) -> tuple[np.ndarray, np.ndarray]:
  """The work of one call of a worker."""
  made = np.empty((len(tried), len(rows), *features.shape), DTYPE)
  for i, (row, of_clip) in enumerate(zip(rows, noise)):
    samples = mel.fit_length(streams.samples_of(root, row, features), features)
    for j, condition in enumerate(tried):
      made[j, i] = mel.log_mel(changed(samples, condition, of_clip, features), features, tables)
  return places, made


def _rows(
  content: Mapping[str, Any],
  store: Store,
  splits: list[Split],
  tried: Sequence[Condition],
  names: Sequence[LaneName],
  tested: np.ndarray,
  predicted: np.ndarray,
) -> list[dict[str, Any]]:
  """The accuracy of every variant and lane on every condition.

  Args:
    tested: ascending positions of the clips that any lane tests.
    predicted: the classes of these clips [conditions, lanes, tested clips].
  """
  ratio = resampled.ratio_of([split.sizes for split in splits])
  heard_speakers = content['corpus']['shared_groups'] > 0
  rows = []
  for condition, answers in zip(tried, predicted):
    row: dict[str, Any] = {**condition._asdict(), 'text': condition.text(), 'variants': {}}
    for variant in content['variants']:
      places = [i for i, name in enumerate(names) if name.variant == variant]
      clips = [splits[names[i].split].test for i in places]
      of_lanes = [answers[i][np.searchsorted(tested, own)] for i, own in zip(places, clips)]
      lanes = [
        {
          'seed': names[i].seed,
          'split': splits[names[i].split].name,
          'test_accuracy': float((answer == store.labels[own]).mean()),
        }
        for i, answer, own in zip(places, of_lanes, clips)
      ]
      intervals = results.intervals_of(store, lanes, ratio, clips, of_lanes, heard_speakers)
      row['variants'][variant] = {
        'mean': resampled.over_lanes(results.accuracies({'lanes': lanes}), ratio).mean,
        'ci95': intervals[0]['ci95'] if intervals else None,
        'over': intervals[0]['over'] if intervals else None,
        'lanes': lanes,
      }
    rows.append(row)
  return rows


def _say_if_clean_differs(content: Mapping[str, Any], clean: Mapping[str, Any]) -> None:
  """One line if the clean copies do not give the accuracy of results.json."""
  for variant, row in clean['variants'].items():
    before = results.accuracies(content['variants'][variant])
    now = results.accuracies(row)
    if differing := [lane for lane in now if now[lane] != before[lane]]:
      largest = max(abs(now[lane] - before[lane]) for lane in differing)
      print(
        f'{variant}: {len(differing)} lanes differ on clean clips from results.json, by up to '
        f'{100 * largest:.2f} points: another machine or another version of a library',
        file=sys.stderr,
      )
