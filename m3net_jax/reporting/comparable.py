"""Published results that are comparable with a study. Pure functions on `results.json`.

A published result is comparable if corpus, number of classes and protocol are those of the study,
and the study has all clips of the corpus.
"""

from collections.abc import Mapping
from typing import Any

from m3net_jax.stats import published, resampled
from m3net_jax.study.results import accuracies

# Clips of the complete corpus; a part of it is another task. Speech Commands: Warden 2018, arXiv
# 1804.03209; its 12 classes as its recipe draws them, 36,923 + 4,445 + 4,890; UrbanSound8K:
# Salamon, Jacoby, Bello, ACM MM 2014; ESC: Piczak, ACM MM 2015.
_CLIPS = {
  'speech_commands': 105829,
  'speech_commands_12': 46258,
  'urbansound8k': 8732,
  'esc10': 400,
  'esc50': 2000,
}
_PROTOCOLS = {'random': 'random_622'}


def protocol(results: Mapping[str, Any]) -> str:
  """The study's protocol, with its name in `published.PROTOCOLS` if it is one of those."""
  corpus = results['corpus']
  if corpus['split'] == 'folds':
    return f'folds{len(corpus["splits"])}'
  return _PROTOCOLS.get(corpus['split'], corpus['split'])


def comparable(results: Mapping[str, Any]) -> tuple[list[published.Result], str]:
  """Published results that are comparable with this study, and a sentence for the report.

  The sentence says which results these are, or why there are none.
  """
  corpus = results['corpus']
  complete = _CLIPS.get(corpus['name'], corpus['num_clips'])
  if corpus['num_clips'] != complete:
    return [], (
      f'No published result is comparable: this study has {corpus["num_clips"]:,} clips of '
      f'{corpus["name"]}, the complete corpus has {complete:,}.'
    )
  task = published.Task(corpus['name'], corpus['num_classes'])
  return (
    published.comparable(task, protocol(results)),
    published.comparison_note(task, protocol(results)),
  )


def complete_networks(results: Mapping[str, Any]) -> list[published.Result]:
  """The comparable results without the paper's own ablations."""
  return [result for result in comparable(results)[0] if result.variant in (None, 'full')]


def seed_accuracies(variant: Mapping[str, Any]) -> list[float]:
  """One accuracy per seed, the mean over its folds if there are any.

  A published single figure is one of these.
  """
  return list(resampled.by_seed(accuracies(variant)).values())
