"""Contents of results.json for the tests of tables, with lanes drawn about given accuracies."""

import numpy as np

from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.stats import resampled
from m3net_jax.study import results

SEEDS = 7
CLIPS = {'urbansound8k': 8732, 'speech_commands': 105829}


def study(means, corpus='fsdd', split='random', num_clips=None, folds=1, classes=10):
  """The content of a results.json, with seven lanes per variant and fold about `means`.

  `means` is {variant: accuracy}. The lanes of different variants have different accuracies.
  """
  rng = np.random.default_rng(5)
  splits = [
    {
      'name': f'fold {i + 1}' if folds > 1 else split,
      'sizes': {'train': 60, 'validation': 20, 'test': 20},
    }
    for i in range(folds)
  ]
  variants = {}
  for name, mean in means.items():
    lanes = [
      {
        'seed': seed,
        'split': fold['name'],
        'status': 'finished',
        'test_accuracy': mean + rng.normal(0, 0.002),
        'balanced_accuracy': mean,
        'macro_f1': mean,
      }
      for fold in splits
      for seed in range(SEEDS)
    ]
    ratio = resampled.ratio_of([split['sizes'] for split in splits])
    interval = resampled.over_lanes(results.accuracies({'lanes': lanes}), ratio)
    architecture = architecture_of(name)
    variants[name] = {
      'parameters': cost.size(architecture, classes, (32, 32, 1))._asdict(),
      'macs': sum(cost.block_macs(architecture, classes, (32, 32, 1)).values()),
      'lanes': lanes,
      'mean': interval.mean,
      'std': interval.std,
      'ci95': list(interval.interval),
      'intervals': [{'over': 'seeds', 'ci95': list(interval.interval), 'about': 'other seeds'}],
      'balanced_accuracy': mean,
      'macro_f1': mean,
      'recall': {f'class {i}': mean for i in range(classes)},
      'one_answer': 0,
    }
  content = {
    'corpus': {
      'name': corpus,
      'synthetic': corpus.startswith('synthetic'),
      'num_classes': classes,
      'largest_class': {'name': 'class 0', 'accuracy': 0.1},
      'shared_groups': 0,
      'split_seeds': False,
      'num_clips': CLIPS.get(corpus, 3000) if num_clips is None else num_clips,
      'split': split,
      'protocol': f'{split} split',
      'splits': splits,
    },
    'variants': variants,
  }
  return {**content, 'tests': results.tests(content, margin=1.0)}


def accuracies(content, variant):
  """Test accuracies of a variant, [lanes]."""
  return np.array([lane['test_accuracy'] for lane in content['variants'][variant]['lanes']])
