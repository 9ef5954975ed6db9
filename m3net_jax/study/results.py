"""The content of `results.json`, from the rows of a finished study. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.store import Store
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.stats import crossed, holm, intervals, measures, resampled
from m3net_jax.study import packages, sweeps
from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.config import Config
from m3net_jax.study.splits import Split, absent, groups_of, leak
from m3net_jax.study.workdir import prediction_key

_PROTOCOLS = {
  'random': 'random 6:2:2 split of clips',
  'official': "the corpus's official lists",
  'grouped': 'about 6:2:2, no speaker or recording on two sides',
  'folds': 'each official fold tested in turn, the next one validates',
}


# What an interval speaks about, by what it is over.
_ABOUT = {
  'seeds': 'other seeds, on this split and these test clips',
  'seeds and clips': 'other seeds, and other test clips like these',
  'seeds and groups': 'other seeds, and other speakers or recordings like those of the test clips',
  'splits': 'other recordings of the same kind, split anew',
}
_HEARD = 'other seeds, and other speakers or recordings that training has heard too'


def build(
  config: Config,
  store: Store,
  splits: list[Split],
  rows: list[dict[str, Any]],
  predictions: Mapping[str, np.ndarray],
  *,
  validated: Sequence[Mapping[str, Any]] = (),
  environments: Sequence[Mapping[str, Any]],
  compilations: int,
  seconds: float,
) -> dict[str, Any]:
  """Makes the content of results.json.

  Args:
    splits: the splits of the study.
    rows: one row per tested lane, with 'variant', 'seed', 'split', 'status', 'test_accuracy', other
      measures of the test and of validation, 'best_epoch'; accuracies are fractions, at the best
      validation epoch.
    predictions: the classes [test clips] of every lane by `prediction_key`.
    validated: one row per lane, as `rows` without what was tested; more than `rows` in a sweep.
    environments: what computed the study (`devices.environment`), more than one if it was continued
      under another.
    compilations: number of programs compiled.
    seconds: wall time of all runs of this study.
  """
  corpus = _corpus(config, store, splits)
  variants = {
    variant: _variant(
      config,
      store,
      splits,
      variant,
      [row for row in rows if row['variant'] == variant],
      predictions,
      corpus['shared_groups'] > 0,
    )
    for variant in config.variants
  }
  content = {
    'corpus': corpus,
    'select': config.select,
    'variants': variants,
    'sweep': sweeps.section(config, validated, rows),
    'tests': [],
    'compilations': compilations,
    'environments': list(environments),
    'versions': packages.versions(packages.TRAINING + packages.STATISTICS),
    'store_versions': store.manifest.get('versions', {}),
    'seconds': round(seconds, 1),
  }
  return {**content, 'tests': tests(content, config.margin)}


def baseline(content: Mapping[str, Any]) -> str:
  """The variant that the others are compared with; the headline shows its accuracy."""
  return 'full' if 'full' in content['variants'] else next(iter(content['variants']))


def ratio(content: Mapping[str, Any]) -> float | None:
  """Test clips / training clips if the study has several splits, None if it has one."""
  return resampled.ratio_of([split['sizes'] for split in content['corpus']['splits']])


def accuracies(variant: Mapping[str, Any]) -> dict[tuple[int, str], float]:
  """{(seed, split): test accuracy} of a variant of results.json."""
  return {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in variant['lanes']}


def tested(content: Mapping[str, Any]) -> dict[LaneName, dict[str, Any]]:
  """The lanes that were tested and their rows: all, or those of the chosen settings of a sweep."""
  splits = [split['name'] for split in content['corpus']['splits']]
  return {
    LaneName(name, row['seed'], splits.index(row['split']), row.get('setting', 0)): row
    for name, variant in content['variants'].items()
    for row in variant['lanes']
  }


def tests(content: Mapping[str, Any], margin: float) -> list[dict[str, Any]]:
  """The rows of "tests": every variant against the baseline.

  Args:
    content: of results.json, without its tests.
    margin: in points.
  """
  lanes = {name: accuracies(variant) for name, variant in content['variants'].items()}
  if len(lanes) < 2:
    return []
  return holm.tests_table(
    lanes, baseline=baseline(content), ratio=ratio(content), margin=margin / 100
  )


def _corpus(config: Config, store: Store, splits: list[Split]) -> dict[str, Any]:
  manifest = store.manifest
  leaks = [leak(store, split) for split in splits]
  rows = [
    {
      'name': split.name,
      'sizes': split.sizes,
      **counts._asdict(),
      'absent_classes': absent(store, split),
    }
    for split, counts in zip(splits, leaks)
  ]
  return {
    'name': manifest['corpus'],
    'synthetic': manifest['corpus'].startswith('synthetic'),
    'num_clips': len(store.labels),
    'num_classes': len(store.classes),
    'classes': list(store.classes),
    'largest_class': _largest_class(store, splits),
    'skipped_recordings': len(manifest['skipped']),
    'silence_clips': manifest.get('silence_clips'),  # absent in older stores
    'num_groups': len(set(store.groups.tolist()) - {''}),
    'split': config.split,
    'split_seeds': config.split_seeds,
    'protocol': _PROTOCOLS[config.split] + ', drawn by every seed' * config.split_seeds,
    'split_sizes': splits[0].sizes,
    'shared_groups': max(counts.shared_groups for counts in leaks),
    'test_clips_in_shared_groups': sum(counts.test_clips_in_shared_groups for counts in leaks),
    'test_clips_identical_to_train': sum(counts.test_clips_identical for counts in leaks),
    'splits': rows,
  }


def _largest_class(store: Store, splits: list[Split]) -> dict[str, Any]:
  """The class with most training clips, and the test accuracy of always answering it."""
  counts = sum(np.bincount(store.labels[s.train], minlength=len(store.classes)) for s in splits)
  largest = int(np.argmax(counts))
  shares = [(store.labels[split.test] == largest).mean() for split in splits]
  return {'name': store.classes[largest], 'accuracy': float(np.mean(shares))}


def _variant(
  config: Config,
  store: Store,
  splits: list[Split],
  variant: str,
  lanes: list[dict[str, Any]],
  predictions: Mapping[str, np.ndarray],
  heard: bool,
) -> dict[str, Any]:
  architecture = architecture_of(variant)
  size = cost.size(architecture, len(store.classes), config.input_shape)
  split_ratio = resampled.ratio_of([split.sizes for split in splits])
  lane_accuracies = accuracies({'lanes': lanes})
  summary = resampled.over_lanes(lane_accuracies, split_ratio)
  tested = {split.name: split.test for split in splits}
  clips = [tested[lane['split']] for lane in lanes]
  answers = [predictions[prediction_key(variant, lane['split'], lane['seed'])] for lane in lanes]
  mean_of = lambda measure: float(np.mean([lane[measure] for lane in lanes]))
  entry = {
    'parameters': size._asdict(),
    'macs': cost.macs(architecture, len(store.classes), config.input_shape),
    'lanes': [{name: value for name, value in lane.items() if name != 'variant'} for lane in lanes],
    'mean': summary.mean,
    'std': summary.std,
    'ci95': list(summary.interval) if summary.interval else None,
    'intervals': intervals_of(store, lanes, split_ratio, clips, answers, heard),
    'balanced_accuracy': mean_of('balanced_accuracy'),
    'macro_f1': mean_of('macro_f1'),
    'recall': _recall(store, clips, answers),
    'one_answer': sum(len(set(predicted.tolist())) == 1 for predicted in answers),
  }
  if config.split == 'folds':
    entry['folds'] = resampled.by_split(lane_accuracies)
  return entry


def _recall(
  store: Store, clips: list[np.ndarray], answers: list[np.ndarray]
) -> dict[str, float | None]:
  """{class: mean recall over the lanes whose test has it}; None if no test has it."""
  recalls = np.stack(
    [
      measures.recalls(predicted, store.labels[tested], len(store.classes))
      for predicted, tested in zip(answers, clips)
    ]
  )
  return {
    name: None if np.isnan(column).all() else float(np.nanmean(column))
    for name, column in zip(store.classes, recalls.T)
  }


def intervals_of(
  store: Store,
  lanes: list[dict[str, Any]],
  split_ratio: float | None,
  clips: list[np.ndarray],
  answers: list[np.ndarray],
  heard: bool,
) -> list[dict[str, Any]]:
  """The 95 % intervals of the mean, the widest first: over seeds, over seeds and clips, ...

  Args:
    lanes: rows with 'seed', 'split' and 'test_accuracy'.
    split_ratio: of `ratio`.
    clips: positions of the test clips of every lane.
    answers: the classes that it predicts for them.
    heard: whether training and test share speakers or recordings.
  """
  about = _ABOUT | ({'seeds and groups': _HEARD} if heard else {})
  lane_accuracies = accuracies({'lanes': lanes})
  seeds = [lane['seed'] for lane in lanes]
  right = [predicted == store.labels[tested] for predicted, tested in zip(answers, clips)]
  found: dict[str, tuple[float, float] | None] = {}
  if split_ratio is None:
    found['seeds'] = resampled.over_lanes(lane_accuracies, None).interval
  else:
    found['splits'] = resampled.over_lanes(lane_accuracies, split_ratio).interval
    by_seed = resampled.by_seed(lane_accuracies)
    if len(by_seed) < len(lanes):  # every split has every seed
      found['seeds'] = intervals.mean_interval(list(by_seed.values())).interval
  found['seeds and clips'] = crossed.interval(*crossed.by_group(right, clips), seeds)
  if (store.groups != '').any():
    group = np.unique(groups_of(store), return_inverse=True)[1]
    found['seeds and groups'] = crossed.interval(
      *crossed.by_group(right, [group[tested] for tested in clips]), seeds
    )
  rows = [
    {'over': over, 'ci95': list(ends), 'about': about[over]}
    for over, ends in found.items()
    if ends and ends[0] < ends[1]  # equal lanes say nothing about others
  ]
  return sorted(rows, key=lambda row: row['ci95'][0] - row['ci95'][1])
