"""A sweep: which setting of its grid is chosen, and what results.json says of the others.

The choice sees validation clips alone, separately for each variant and each split, so that no split
is tested with a setting which another split's clips have chosen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.config import Config


def chosen(names: Sequence[LaneName], scores: Sequence[float]) -> list[bool]:
  """Which lanes have the setting with the highest mean score of their variant and split.

  Args:
    scores: of the lanes at their best validation epoch (`Config.select`, higher is better). Of
      equal settings the first is chosen.
  """
  by_setting: dict[tuple[str, int], dict[int, list[float]]] = {}
  for name, score in zip(names, scores, strict=True):
    settings = by_setting.setdefault((name.variant, name.split), {})
    settings.setdefault(name.setting, []).append(float(score))
  best = {
    place: max(sorted(settings), key=lambda setting: np.mean(settings[setting]))
    for place, settings in by_setting.items()
  }
  return [best[name.variant, name.split] == name.setting for name in names]


def section(
  config: Config, rows: Sequence[Mapping[str, Any]], tested: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
  """The "sweep" of results.json; None if the study has one setting.

  Args:
    rows: of every lane, with 'variant', 'split', 'seed', 'setting' and 'validation_...'.
    tested: rows of the lanes that were tested.
  """
  if not config.sweep:
    return None
  names = list(config.swept)
  measure = f'validation_{config.select}'
  lanes = {
    variant: [
      [
        row[measure] if row['best_epoch'] else None  # a lane without a best epoch has no value
        for row in rows
        if (row['variant'], row['setting']) == (variant, setting)
      ]
      for setting in range(len(config.settings))
    ]
    for variant in config.variants
  }
  return {
    'names': names,
    'settings': [{name: getattr(setting, name) for name in names} for setting in config.settings],
    'measure': measure,
    'variants': lanes,
    'chosen': {
      variant: {row['split']: row['setting'] for row in tested if row['variant'] == variant}
      for variant in config.variants
    },
  }


def of_tested(
  results: Mapping[str, Any], metrics: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
  """The rows of `metrics` that belong to tested lanes: all, or those of a sweep's choice."""
  if not results.get('sweep'):
    return list(metrics)
  chosen = results['sweep']['chosen']
  return [row for row in metrics if chosen[row['variant']][row['split']] == row['setting']]


def ranked(content: Mapping[str, Any], variant: str) -> list[int]:
  """The settings of a variant in a sweep of results.json, the best mean first, then as given.

  A lane without a value, which diverged before its first validation, is worse than all others.
  """
  sign = 1 if content['measure'] == 'validation_loss' else -1
  worst = float('inf')
  mean = lambda values: np.mean([worst if value is None else sign * value for value in values])
  lanes = content['variants'][variant]
  return sorted(range(len(lanes)), key=lambda setting: mean(lanes[setting]))


def text_of(setting: Mapping[str, float]) -> str:
  """A setting of a grid as flags without dashes."""
  return ', '.join(f'{name}={value:g}' for name, value in setting.items())
