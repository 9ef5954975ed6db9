"""What the detectors of a study find in streams, in tables and pictures. Pure functions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data_prep import background
from m3net_jax.network.variants import short_name
from m3net_jax.reporting import tables
from m3net_jax.reporting.tables import Table
from m3net_jax.study.workdir import read_detection

_LEAST_PER_HOUR = 0.5  # a picture has no place for 0 on its logarithmic axis


def read(workdir: Path) -> dict[str, Any] | None:
  """The content of detection.json; None if the study has none, UserError if it was altered."""
  return read_detection(workdir)


def seeds(content: Mapping[str, Any]) -> set[int]:
  """The seeds of the lanes that were measured."""
  return {lane['seed'] for lane in content['lanes']}


def notes(content: Mapping[str, Any]) -> list[str]:
  """What must be known beside the figures, as sentences."""
  test = _tested(content)
  hours = sum(row['hours'] for row in test)
  noise = content['noise']['test']
  lanes = len({lane['seed'] for lane in content['lanes']})
  return [
    f'{len(test)} test streams, {hours:.1f} h in all: test clips of split {content["split"]} over '
    f'{len(noise)} noise recordings ({background.some(noise)}).',
    f'Means over {lanes} lane{"s" * (lanes > 1)} with 95 % intervals, each the wider of two: of '
    'words found for other seeds (Student t), or other seeds and other words (crossed bootstrap); '
    'of false alarms for other seeds, or other streams (Poisson, as if all lanes gave them '
    'together).',
    f'Each lane has constants chosen on validation streams, with other words and other noise, for '
    f'at most {content["per_hour"]:g} false alarms an hour in each.',
    'A false alarm is an event of no word, of a word that is not to be reported, or of one found '
    'before; a wrong name is an event that gives a word another class.',
    'Every window: the class of each window that overlaps no other, without a detector.',
  ]


def table(content: Mapping[str, Any], caption: str) -> Table:
  """Words found and false alarms in every test stream, with a detector and without one."""
  rows = []
  for variant, of_streams in content['variants'].items():
    for row, stream in zip(of_streams, _tested(content), strict=True):
      rows.append(
        [
          short_name(variant),
          f'{stream["snr_db"]:g}',
          f'{stream["words"]:,}',
          tables.percent(row['hit_rate']['mean']),
          tables.accuracy_interval(row['hit_rate']['ci95']),
          f'{row["wrong"]["mean"]:.1f}',
          f'{row["per_hour"]["mean"]:.1f}',
          tables.interval(row['per_hour']['ci95'], lambda end: f'{max(0.0, end):.1f}'),
          '' if row['median_delay'] is None else f'{row["median_delay"]:.2f}',
          tables.percent(row['every_window_hit_rate']),
          f'{row["every_window_per_hour"]:,.0f}',
        ]
      )
  columns = [
    'Variant',
    'dB',
    'words',
    ('detector', 'found (%)'),
    ('detector', '95 % of found'),
    ('detector', 'wrong names'),
    ('detector', 'false alarms / h'),
    ('detector', '95 % of false alarms'),
    ('detector', 'delay (s)'),
    ('every window', 'found (%)'),
    ('every window', 'false alarms / h'),
  ]
  return tables.make('detection', caption, columns, rows, notes(content))


def text(content: Mapping[str, Any]) -> str:
  """The table for a terminal, at most 79 columns."""
  lines = []
  for variant, of_streams in content['variants'].items():
    lines.append(short_name(variant))
    lines.append(
      f'  {"stream":<16}{"words":>6}{"found":>9}{"wrong":>7}{"alarms/h":>10}{"delay":>8}'
      f'{"  every window":>19}'
    )
    for row, stream in zip(of_streams, _tested(content), strict=True):
      delay = '' if row['median_delay'] is None else f'{row["median_delay"]:.2f} s'
      loop = f'{100 * row["every_window_hit_rate"]:.1f} %, {row["every_window_per_hour"]:,.0f}/h'
      lines.append(
        f'  {stream["snr_db"]:>5g} dB{"":<8}{stream["words"]:>6,}'
        f'{100 * row["hit_rate"]["mean"]:>7.1f} %{row["wrong"]["mean"]:>7.1f}'
        f'{row["per_hour"]["mean"]:>10.1f}{delay:>8}{loop:>19}'
      )
  return '\n'.join(lines)


def figure(content: Mapping[str, Any], title: str) -> Figure:
  """Two panels: words found (ROC) and words missed (DET) against false alarms an hour."""
  made = Figure(figsize=(11, 4.4), layout='constrained')
  draw(made.subplots(1, 2), content)
  made.suptitle(title)
  return made


def draw(axes, content: Mapping[str, Any]) -> None:
  """Draws `figure` on two axes: lanes thin, the point that validation chose as a dot."""
  streams = _tested(content)
  several = len(content['variants']) > 1
  for place, stream in enumerate(streams):
    for number, variant in enumerate(content['variants']):
      lanes = [lane for lane in content['lanes'] if lane['variant'] == variant]
      colour = f'C{place + number * len(streams)}'
      name = f'{stream["snr_db"]:g} dB' + (f', {short_name(variant)}' if several else '')
      for position, lane in enumerate(lanes):
        row = lane['streams'][place]
        alarms, hits = np.array(row['curve']).T
        alarms = np.maximum(alarms, _LEAST_PER_HOUR)
        chosen = max(row['per_hour'], _LEAST_PER_HOUR)
        label = name if position == 0 else None
        axes[0].plot(alarms, 100 * hits, color=colour, linewidth=0.8, alpha=0.6, label=label)
        axes[0].plot(chosen, 100 * row['hit_rate'], 'o', color=colour, markersize=3)
        axes[1].plot(alarms, 100 * np.maximum(1 - hits, 1e-3), color=colour, lw=0.8, alpha=0.6)
        axes[1].plot(chosen, 100 * max(1 - row['hit_rate'], 1e-3), 'o', color=colour, markersize=3)
  axes[0].set(ylabel='words found (%)', title='ROC', ylim=(0, 100))
  axes[1].set(ylabel='words missed (%)', title='DET', yscale='log')
  axes[1].set_yticks([1, 2, 5, 10, 20, 50, 100], ['1', '2', '5', '10', '20', '50', '100'])
  axes[1].minorticks_off()
  for panel in axes:
    panel.set(xscale='log', xlabel='false alarms an hour', xlim=(_LEAST_PER_HOUR, None))
    panel.xaxis.set_major_formatter('{x:g}')
    panel.grid(alpha=0.3)
  axes[0].legend(fontsize='small', loc='lower right')


def _tested(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
  return [stream for stream in content['streams'] if stream['side'] == 'test']
