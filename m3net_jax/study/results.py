"""The content of `results.json`, from the rows of a finished study. Pure functions."""

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from data_prep.store import Store
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.stats import holm, intervals
from m3net_jax.study.config import Config
from m3net_jax.study.splits import Split, leak

_PACKAGES = (
  'm3net_jax',
  'jax',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'librosa',
  'numpy',
  'scipy',
)
_PROTOCOLS = {
  'random': 'random 6:2:2 split of clips',
  'official': "the corpus's official lists",
  'grouped': 'about 6:2:2, no speaker or recording on two sides',
  'folds': 'each official fold tested in turn, the next one validates',
}


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
  """The versions of Python and of `packages`.

  'not installed' for one without metadata: this project, if it runs from its folder.
  """
  return {'python': platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return 'not installed'


def build(
  config: Config,
  store: Store,
  splits: list[Split],
  rows: list[dict[str, Any]],
  *,
  compilations: int,
  seconds: float,
) -> dict[str, Any]:
  """Makes the content of results.json.

  Args:
    splits: the splits of the study.
    rows: one row per lane, with 'variant', 'seed', 'split', 'status', 'test_accuracy',
      'validation_accuracy', 'best_epoch'; accuracies are fractions, at the best validation epoch.
    compilations: number of programs compiled.
    seconds: wall time of all runs of this study.
  """
  variants = {
    variant: _variant(config, store, variant, [row for row in rows if row['variant'] == variant])
    for variant in config.variants
  }
  accuracies = {
    variant: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in entry['lanes']}
    for variant, entry in variants.items()
  }
  baseline = 'full' if 'full' in variants else config.variants[0]
  return {
    'corpus': _corpus(config, store, splits),
    'variants': variants,
    'tests': holm.tests_table(accuracies, baseline=baseline) if len(variants) > 1 else [],
    'compilations': compilations,
    'versions': versions(),
    'seconds': round(seconds, 1),
  }


def _corpus(config: Config, store: Store, splits: list[Split]) -> dict[str, Any]:
  manifest = store.manifest
  leaks = [leak(store, split) for split in splits]
  rows = [
    {'name': split.name, 'sizes': split.sizes, **counts._asdict()}
    for split, counts in zip(splits, leaks)
  ]
  return {
    'name': manifest['corpus'],
    'synthetic': manifest['corpus'].startswith('synthetic'),
    'num_clips': len(store.labels),
    'num_classes': len(store.classes),
    'classes': list(store.classes),
    'skipped_recordings': len(manifest['skipped']),
    'num_groups': len(set(store.groups.tolist()) - {''}),
    'split': config.split,
    'protocol': _PROTOCOLS[config.split],
    'split_sizes': splits[0].sizes,
    'shared_groups': max(counts.shared_groups for counts in leaks),
    'test_clips_in_shared_groups': sum(counts.test_clips_in_shared_groups for counts in leaks),
    'test_clips_identical_to_train': sum(counts.test_clips_identical for counts in leaks),
    'splits': rows,
  }


def _variant(
  config: Config, store: Store, variant: str, lanes: list[dict[str, Any]]
) -> dict[str, Any]:
  architecture = architecture_of(variant)
  size = cost.size(architecture, len(store.classes), config.input_shape)
  interval = intervals.mean_interval([lane['test_accuracy'] for lane in lanes])
  entry = {
    'parameters': size._asdict(),
    'macs': sum(cost.block_macs(architecture, len(store.classes), config.input_shape).values()),
    'lanes': [{name: value for name, value in lane.items() if name != 'variant'} for lane in lanes],
    'mean': interval.mean,
    'std': interval.std,
    'ci95': list(interval.interval) if interval.interval else None,
  }
  if config.split == 'folds':
    names = list(dict.fromkeys(lane['split'] for lane in lanes))
    entry['folds'] = {
      name: intervals.mean_interval(
        [lane['test_accuracy'] for lane in lanes if lane['split'] == name]
      ).mean
      for name in names
    }
  return entry
