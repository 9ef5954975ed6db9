"""What a finished study found, as `results.json` and as a table for the terminal. Pure functions on its rows."""
import platform
from importlib import metadata
from typing import Any

from data_prep.store import Store
from m3net_jax import models, splits, statistics, tables
from m3net_jax.config import Config
from m3net_jax.splits import Split

_PACKAGES = ('m3net_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'librosa', 'numpy', 'scipy')
_PROTOCOLS = {
    'random': 'random 6:2:2 split of clips',
    'official': "the corpus's official lists",
    'grouped': 'about 6:2:2, no speaker or recording on two sides',
    'folds': 'each official fold tested in turn, the next one validates',
}


def versions() -> dict[str, str]:
  return {'python': platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def build(config: Config, store: Store, made: list[Split], rows: list[dict[str, Any]], *, compilations: int,
          seconds: float) -> dict[str, Any]:
  """The content of results.json; accuracies are fractions, at the best validation epoch of each lane.

  Args:
    rows: one a lane, with 'variant', 'seed', 'split', 'status', 'test_accuracy', 'validation_accuracy', 'best_epoch'.
    compilations: programs compiled.
    seconds: wall time of all runs of this study.
  """
  variants = {variant: _variant(config, store, variant, [row for row in rows if row['variant'] == variant])
              for variant in config.variants}
  accuracies = {variant: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in found['lanes']}
                for variant, found in variants.items()}
  baseline = 'full' if 'full' in variants else config.variants[0]
  return {
      'corpus': _corpus(config, store, made),
      'variants': variants,
      'tests': statistics.tests_table(accuracies, baseline=baseline) if len(variants) > 1 else [],
      'compilations': compilations,
      'versions': versions(),
      'seconds': round(seconds, 1),
  }


def _corpus(config: Config, store: Store, made: list[Split]) -> dict[str, Any]:
  manifest = store.manifest
  leaks = [splits.leak(store, split) for split in made]
  each = [{'name': split.name, 'sizes': split.sizes, **leak._asdict()} for split, leak in zip(made, leaks)]
  return {
      'name': manifest['corpus'], 'synthetic': manifest['corpus'].startswith('synthetic'),
      'num_clips': len(store.labels), 'num_classes': len(store.classes), 'classes': list(store.classes),
      'skipped_recordings': len(manifest['skipped']), 'num_groups': len(set(store.groups.tolist()) - {''}),
      'split': config.split, 'protocol': _PROTOCOLS[config.split], 'split_sizes': made[0].sizes,
      'shared_groups': max(leak.shared_groups for leak in leaks),
      'test_clips_in_shared_groups': sum(leak.test_clips_in_shared_groups for leak in leaks),
      'test_clips_identical_to_train': sum(leak.test_clips_identical for leak in leaks),
      'splits': each,
  }


def _variant(config: Config, store: Store, variant: str, lanes: list[dict[str, Any]]) -> dict[str, Any]:
  architecture = models.architecture(variant)
  size = models.size(architecture, len(store.classes), config.input_shape)
  interval = statistics.mean_interval([lane['test_accuracy'] for lane in lanes])
  found = {
      'parameters': size._asdict(),
      'macs': sum(models.block_macs(architecture, len(store.classes), config.input_shape).values()),
      'lanes': [{name: value for name, value in lane.items() if name != 'variant'} for lane in lanes],
      'mean': interval.mean, 'std': interval.std, 'ci95': list(interval.interval) if interval.interval else None,
  }
  if config.split == 'folds':
    names = list(dict.fromkeys(lane['split'] for lane in lanes))
    found['folds'] = {name: statistics.mean_interval(
        [lane['test_accuracy'] for lane in lanes if lane['split'] == name]).mean for name in names}
  return found


def names_groups(corpus: dict[str, Any]) -> bool:
  return corpus.get('num_groups') != 0  # studies of the first version did not count them


def leaks(corpus: dict[str, Any]) -> str:
  """How many groups are on both sides; where the corpus names none, a recording cut in clips is one."""
  known = 'speakers or recordings' if names_groups(corpus) else 'recordings (speakers are not named)'
  return f'{corpus["shared_groups"]} {known} in both train and test'


def summary(results: dict[str, Any]) -> str:
  """The study in lines of at most 79 columns: protocol and leakage first, then a row a variant."""
  corpus = results['corpus']
  sizes = corpus['splits'][0]['sizes']
  lines = [
      f'{corpus["name"]}{" (synthetic speech)" if corpus["synthetic"] else ""}: {corpus["num_clips"]} clips, '
      f'{corpus["num_classes"]} classes',
      f'split: {corpus["protocol"]}',
      f'       train {sizes["train"]}, validation {sizes["validation"]}, test {sizes["test"]}'
      + (f', {len(corpus["splits"])} folds' if len(corpus['splits']) > 1 else ''),
      f'leaks: {leaks(corpus)},',
      f'       {corpus["test_clips_in_shared_groups"]} test clips of those, '
      f'{corpus["test_clips_identical_to_train"]} test clips identical to a train clip',
  ]
  if corpus['skipped_recordings']:
    lines.append(f'skipped: {corpus["skipped_recordings"]} unreadable recordings (listed in the store\'s manifest)')
  lines += ['', 'test accuracy at the best validation epoch, per cent', '',
            f'{"variant":<14}{"lanes":>6}{"mean":>8}{"std":>7}{"95 % interval":>17}{"best lane":>13}{"worst lane":>14}']
  for name, variant in results['variants'].items():
    lines.append(_row(name, variant))
    if 'folds' in variant:
      lines += [f'  {fold:<18}{100 * mean:8.2f}' for fold, mean in variant['folds'].items()]
    diverged = sum(lane['status'] == 'diverged' for lane in variant['lanes'])
    if diverged:
      lines.append(f'  {diverged} of these lanes diverged and are counted as they were before')
  if corpus['split'] == 'folds':
    lines += ['', 'lanes of different folds share training clips: the interval, and tests, are',
              'narrower than new recordings would make them']
  if results['tests']:
    lines += ['', *tables.tests_text(results['tests'], 16)]
  lines += ['', f'{results["compilations"]} programs compiled']
  return '\n'.join(lines)


def _row(name: str, variant: dict[str, Any]) -> str:
  lanes = variant['lanes']
  best, worst = (choose(lanes, key=lambda lane: lane['test_accuracy']) for choose in (max, min))
  of = lambda lane: f'{100 * lane["test_accuracy"]:.2f} (s{lane["seed"]})'
  std = f'{100 * variant["std"]:.2f}' if variant['std'] is not None else '-'
  interval = '{:.2f} to {:.2f}'.format(*(100 * end for end in variant['ci95'])) if variant['ci95'] else '-'
  label = name if len(name) <= 13 else f'{name}\n{"":<13}'
  return (f'{label:<14}{len(lanes):>6}{100 * variant["mean"]:>8.2f}{std:>7}{interval:>17}{of(best):>13}'
          f'{of(worst):>14}')

