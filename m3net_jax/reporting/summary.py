"""The summary of a finished study for a terminal. Pure functions on `results.json`."""

import textwrap
from typing import Any

from m3net_jax.reporting import tables
from m3net_jax.study import sweeps
from m3net_jax.study.results import baseline

_SETTINGS = 8  # of a sweep that the terminal shows


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


def cautions(results: dict[str, Any]) -> list[str]:
  """Lanes that answer one class, variants no better than that, classes without clips."""
  corpus = results['corpus']
  sentences = [
    f'{name}: {variant["one_answer"]} of {len(variant["lanes"])} lanes answer every test clip with '
    'one class.'
    for name, variant in results['variants'].items()
    if variant['one_answer']
  ]
  largest = corpus['largest_class']
  no_better = []
  for name, variant in results['variants'].items():
    widest = tables.widest(variant)
    low = widest['ci95'][0] if widest else variant['mean']
    if low <= largest['accuracy']:
      no_better.append(name)
  if no_better:
    sentences.append(
      f'{", ".join(no_better)}: not shown to be better than always answering {largest["name"]} '
      f'({tables.percent(largest["accuracy"])} %). Read the balanced accuracy; '
      '--class_weights=balanced may help.'
    )
  return sentences + [
    f'{split["name"]}: no {side} clips of {", ".join(classes)}, so '
    + (
      'the accuracy says nothing about them.'
      if side == 'test'
      else 'the best epoch was chosen without them.'
    )
    for split in corpus['splits']
    for side, classes in split['absent_classes'].items()
    if classes
  ]


def text(results: dict[str, Any]) -> str:
  """The study in lines of at most 79 columns: protocol, leakage, one row per variant, tests."""
  corpus = results['corpus']
  sizes = corpus['splits'][0]['sizes']
  synthetic = ' (synthetic speech)' if corpus['synthetic'] else ''
  lines = [
    f'{corpus["name"]}{synthetic}: {corpus["num_clips"]} clips, {corpus["num_classes"]} classes',
    f'split: {corpus["protocol"]}',
    f'       train {sizes["train"]}, validation {sizes["validation"]}, test {sizes["test"]}'
    + (
      f' (first of {len(corpus["splits"])} {"splits" if corpus["split_seeds"] else "folds"})'
      if len(corpus['splits']) > 1
      else ''
    ),
    f'leaks: {leaks(corpus)},',
    f'       {corpus["test_clips_in_shared_groups"]} test clips of those, '
    f'{corpus["test_clips_identical_to_train"]} test clips identical to a train clip',
  ]
  if corpus['skipped_recordings']:
    lines.append(
      f'skipped: {corpus["skipped_recordings"]} unreadable recordings '
      "(listed in the store's manifest)"
    )
  for sentence in cautions(results):
    lines += textwrap.wrap(sentence, 79, subsequent_indent='  ')
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
  lines += ['', *_intervals(results), '', *_measures(results)]
  if results['sweep']:
    lines += ['', *_sweep(results['sweep'])]
  if results['tests']:
    lines += ['', *tables.tests_text(results['tests'], 16)]
  lines += ['', f'{results["compilations"]} programs compiled']
  return '\n'.join(lines)


def _row(name: str, variant: dict[str, Any]) -> str:
  lanes = variant['lanes']
  best, worst = (choose(lanes, key=lambda lane: lane['test_accuracy']) for choose in (max, min))
  lane_text = lambda lane: f'{100 * lane["test_accuracy"]:.2f} (s{lane["seed"]})'
  std = f'{100 * variant["std"]:.2f}' if variant['std'] is not None else '-'
  widest = tables.widest(variant)
  interval = tables.accuracy_interval(widest and widest['ci95'])
  label = name if len(name) <= 13 else f'{name}\n{"":<13}'
  return (
    f'{label:<14}{len(lanes):>6}{100 * variant["mean"]:>8.2f}{std:>7}{interval:>17}'
    f'{lane_text(best):>13}{lane_text(worst):>14}'
  )


def _intervals(results: dict[str, Any]) -> list[str]:
  """The intervals of the baseline, the widest first, and what each speaks about."""
  name = baseline(results)
  rows = results['variants'][name]['intervals']
  if not rows:
    return ['one lane, or lanes of equal accuracy, so no interval']
  lines = [f'95 % intervals of {name}, the widest first (the table has the widest):']
  for row in rows:
    start = f'  {row["over"]:<18}{tables.accuracy_interval(row["ci95"]):>16}  '
    lines += textwrap.wrap(
      row['about'], 79, initial_indent=start, subsequent_indent=' ' * len(start)
    )
  return lines


def _sweep(content: dict[str, Any]) -> list[str]:
  """The best settings of a sweep by validation, the chosen ones marked."""
  percent = 1 if content['measure'] == 'validation_loss' else 100
  lines = [f'sweep, {content["measure"].replace("_", " ")}, mean over lanes; * chosen and tested']
  for variant, lanes in content['variants'].items():
    order = sweeps.ranked(content, variant)
    chosen = set(content['chosen'][variant].values())
    for place, setting in enumerate(order):
      if place < _SETTINGS or setting in chosen:
        values = [percent * value for value in lanes[setting] if value is not None]
        mean = f'{sum(values) / len(values):.2f}' if values else '-'
        text = f'{variant}: {sweeps.text_of(content["settings"][setting])}'
        lines += textwrap.wrap(
          text,
          79,
          initial_indent=f'{"*" if setting in chosen else " "}{mean:>7}  ',
          subsequent_indent=' ' * 10,
        )
    if len(order) > _SETTINGS:
      lines.append(f'  {variant}: {len(order)} settings in all, in the report')
  return lines


def _measures(results: dict[str, Any]) -> list[str]:
  """Balanced accuracy, macro F1 and the lowest recalls of every variant."""
  lines = [f'{"mean over lanes":<16}{"balanced":>9}{"macro F1":>10}  lowest recall']
  for name, variant in results['variants'].items():
    recalls = [item for item in variant['recall'].items() if item[1] is not None]
    lowest = ', '.join(
      f'{label} {100 * recall:.1f}' for label, recall in sorted(recalls, key=lambda x: x[1])[:3]
    )
    label = name if len(name) <= 15 else f'{name}\n{"":<15}'
    start = (
      f'{label:<16}{100 * variant["balanced_accuracy"]:>9.2f}{100 * variant["macro_f1"]:>10.2f}  '
    )
    lines += [start + textwrap.shorten(lowest, 79 - 37, placeholder=' ...')]
  largest = results['corpus']['largest_class']
  return lines + [
    f'{"always " + largest["name"]:<16}'
    f'{"":>9}{"":>10}  accuracy {100 * largest["accuracy"]:.2f} (the largest class)'
  ]
