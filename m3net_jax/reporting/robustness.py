"""Robustness of a study in tables and pictures. Pure functions on robustness.json."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep import background, files
from m3net_jax.network.variants import short_name
from m3net_jax.reporting import tables
from m3net_jax.reporting.tables import Table
from m3net_jax.study.robustness import NAME

_PANELS = {
  'noise': ('signal-to-noise ratio (dB)', 'noise'),
  'gain': ('level of the recording (dB)', 'level'),
  'shift': ('position in the window (ms, negative: earlier)', 'time'),
}
_STYLES = {'white': ':', 'pink': '--', 'recorded': '-'}


def read(workdir: Path) -> dict[str, Any] | None:
  """The content of robustness.json; None if the study has none, UserError if it was altered."""
  path = workdir / NAME
  fix = 'delete it and run python -m m3net_jax.robustness again'
  return files.read_json(path, fix) if path.exists() else None


def seeds(content: Mapping[str, Any]) -> set[int]:
  """The seeds of the lanes that were measured."""
  variants = content['conditions'][0]['variants'].values()
  return {lane['seed'] for variant in variants for lane in variant['lanes']}


def notes(content: Mapping[str, Any]) -> list[str]:
  """What must be known beside the figures, as sentences."""
  sentences = []
  if content['noise']:
    sentences.append(f'Recorded noise: {background.some(content["noise"])}.')
  if heard := content['noise_heard_in_training']:
    sentences.append(
      f'{len(heard)} of these recordings were mixed into training clips, so the accuracy in '
      'recorded noise is that in noise heard before.'
    )
  if content['generated_noise_heard_in_training']:
    sentences.append('White and pink noise were mixed into training clips.')
  return sentences


def table(content: Mapping[str, Any], caption: str) -> Table:
  """Accuracy of every variant on every condition, with its widest interval."""
  variants = list(content['conditions'][0]['variants'])
  rows = []
  for row in content['conditions']:
    cells = [row['text']]
    for variant in variants:
      entry = row['variants'][variant]
      cells += [tables.percent(entry['mean']), tables.accuracy_interval(entry['ci95'])]
    rows.append(cells)
  columns = [
    'Test clips',
    *((variant, head) for variant in variants for head in ('mean (%)', '95 % interval')),
  ]
  return tables.make(
    'robustness',
    caption,
    columns,
    rows,
    (
      f'Mean over lanes on {content["clips"]:,} test clips, changed; the interval is the widest '
      'of those that apply. Signal-to-noise ratio: energy of the clip over that of the noise in '
      'the same window. At other levels, samples beyond full scale are clipped.',
      *notes(content),
    ),
  )


def text(content: Mapping[str, Any]) -> str:
  """The table for a terminal, at most 79 columns; one table for every two variants."""
  variants = list(content['conditions'][0]['variants'])
  lines = []
  for first in range(0, len(variants), 2):
    some = variants[first : first + 2]
    lines.append(
      f'{"test accuracy, %":<26}' + ''.join(f'{short_name(name)[-25:]:>26}' for name in some)
    )
    for row in content['conditions']:
      cells = ''
      for variant in some:
        entry = row['variants'][variant]
        cells += f'{tables.percent(entry["mean"]):>8}{tables.accuracy_interval(entry["ci95"]):>18}'
      lines.append(f'{row["text"]:<26}{cells}')
    lines.append('')
  for note in notes(content):
    lines += textwrap.wrap(note, 79, subsequent_indent='  ', break_long_words=False)
  return '\n'.join(lines).rstrip()


def figure(content: Mapping[str, Any], title: str) -> Figure:
  """Three panels: accuracy against noise, level and time; a line a variant, a band its interval.

  In noise the band is that of the last kind of noise.
  """
  made = Figure(figsize=(13, 4.4), layout='constrained')
  axes = made.subplots(1, 3, sharey=True)
  draw(axes, content)
  axes[0].set(ylabel='test accuracy (%)')
  made.suptitle(title)
  return made


def draw(axes, content: Mapping[str, Any]) -> None:
  """Draws `figure` on three axes."""
  variants = list(content['conditions'][0]['variants'])
  clean = content['conditions'][0]
  for panel, (kind, (label, name)) in zip(axes, _PANELS.items()):
    rows = [row for row in content['conditions'] if row['kind'] == kind]
    if kind == 'shift':
      rows = sorted([*rows, {**clean, 'level': 0.0}], key=lambda row: row['level'])
    noises = list(dict.fromkeys(row['noise'] for row in rows))
    for number, variant in enumerate(variants):
      for noise in noises:
        points = [row for row in rows if row['noise'] in (noise, '')]
        panel.plot(
          [row['level'] for row in points],
          [100 * row['variants'][variant]['mean'] for row in points],
          color=f'C{number}',
          linestyle=_STYLES.get(noise, '-'),
          marker='o',
          markersize=3,
        )
        # One band a variant: those of several noises would hide each other.
        ends = [(row['level'], row['variants'][variant]['ci95']) for row in points]
        banded = [(level, *interval) for level, interval in ends if interval]
        if noise == noises[-1] and banded:
          levels, low, high = np.array(banded).T
          panel.fill_between(
            levels,
            100 * np.maximum(low, 0),
            100 * np.minimum(high, 1),
            color=f'C{number}',
            alpha=0.12,
            linewidth=0,
          )
      panel.axhline(
        100 * clean['variants'][variant]['mean'], color=f'C{number}', linewidth=0.6, alpha=0.7
      )
    panel.set(xlabel=label, title=name)
    panel.set_xticks(sorted({row['level'] for row in rows if kind != 'shift' or _is_whole(row)}))
    panel.grid(alpha=0.3)
    if kind == 'noise':
      styles = [Line2D([], [], color='grey', linestyle=_STYLES[noise]) for noise in noises]
      panel.legend(styles, noises, fontsize='small', loc='best')
    elif kind == 'gain' and len(variants) > 1:
      colours = [Line2D([], [], color=f'C{number}') for number in range(len(variants))]
      names = [short_name(variant) for variant in variants]
      panel.legend(colours, names, fontsize='small', loc='lower center')


def _is_whole(row: Mapping[str, Any]) -> bool:
  """Whether a shift has a tick: those of whole tenths of a second."""
  return row['level'] % 100 == 0
