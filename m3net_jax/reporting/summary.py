"""The summary of a finished study for a terminal. Pure functions on `results.json`."""

from typing import Any

from m3net_jax.reporting import tables


def names_groups(corpus: dict[str, Any]) -> bool:
  """Whether the corpus names speakers or recordings."""
  return corpus.get('num_groups') != 0  # studies of the first version have no such entry


def leaks(corpus: dict[str, Any]) -> str:
  """The number of groups in both train and test, in words.

  If the corpus names no groups, the clips of one recording are a group.
  """
  known = (
    'speakers or recordings' if names_groups(corpus) else 'recordings (speakers are not named)'
  )
  return f'{corpus["shared_groups"]} {known} in both train and test'


def text(results: dict[str, Any]) -> str:
  """The study in lines of at most 79 columns: protocol, leakage, one row per variant, tests."""
  corpus = results['corpus']
  sizes = corpus['splits'][0]['sizes']
  synthetic = ' (synthetic speech)' if corpus['synthetic'] else ''
  lines = [
    f'{corpus["name"]}{synthetic}: {corpus["num_clips"]} clips, {corpus["num_classes"]} classes',
    f'split: {corpus["protocol"]}',
    f'       train {sizes["train"]}, validation {sizes["validation"]}, test {sizes["test"]}'
    + (f', {len(corpus["splits"])} folds' if len(corpus['splits']) > 1 else ''),
    f'leaks: {leaks(corpus)},',
    f'       {corpus["test_clips_in_shared_groups"]} test clips of those, '
    f'{corpus["test_clips_identical_to_train"]} test clips identical to a train clip',
  ]
  if corpus['skipped_recordings']:
    lines.append(
      f'skipped: {corpus["skipped_recordings"]} unreadable recordings '
      "(listed in the store's manifest)"
    )
  lines += [
    '',
    'test accuracy at the best validation epoch, per cent',
    '',
    f'{"variant":<14}{"lanes":>6}{"mean":>8}{"std":>7}{"95 % interval":>17}{"best lane":>13}'
    f'{"worst lane":>14}',
  ]
  for name, variant in results['variants'].items():
    lines.append(_row(name, variant))
    if 'folds' in variant:
      lines += [f'  {fold:<18}{100 * mean:8.2f}' for fold, mean in variant['folds'].items()]
    if diverged := sum(lane['status'] == 'diverged' for lane in variant['lanes']):
      lines.append(
        f'  {diverged} of these lanes diverged; each counts with its best epoch before that'
      )
  if corpus['split'] == 'folds':
    lines += [
      '',
      'folds share training clips, so the intervals are too narrow and the p-values',
      'too small for new recordings',
    ]
  if results['tests']:
    lines += ['', *tables.tests_text(results['tests'], 16)]
  lines += ['', f'{results["compilations"]} programs compiled']
  return '\n'.join(lines)


def _row(name: str, variant: dict[str, Any]) -> str:
  lanes = variant['lanes']
  best, worst = (choose(lanes, key=lambda lane: lane['test_accuracy']) for choose in (max, min))
  lane_text = lambda lane: f'{100 * lane["test_accuracy"]:.2f} (s{lane["seed"]})'
  std = f'{100 * variant["std"]:.2f}' if variant['std'] is not None else '-'
  interval = (
    '{:.2f} to {:.2f}'.format(*(100 * end for end in variant['ci95'])) if variant['ci95'] else '-'
  )
  label = name if len(name) <= 13 else f'{name}\n{"":<13}'
  return (
    f'{label:<14}{len(lanes):>6}{100 * variant["mean"]:>8.2f}{std:>7}{interval:>17}'
    f'{lane_text(best):>13}{lane_text(worst):>14}'
  )
