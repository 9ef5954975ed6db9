"""Figures of the report as inline SVG. Pure functions on results, rows and arrays.

They are narrow enough for a phone. Their colours come from the page, so they follow its light and
dark modes.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from data_prep import files
from m3net_jax.reporting import figures
from m3net_jax.reporting.channel_weights import Weights
from m3net_jax.reporting.detections import draw as draw_detection
from m3net_jax.reporting.robustness import draw as draw_robustness

# Placeholders, replaced by colours of the page's style sheet.
_INK, _GRID, _FIRST, _SECOND = '#010203', '#040506', '#070809', '#0a0b0c'
_PAGE_COLORS = {
  _INK: 'currentColor',
  _GRID: 'var(--line)',
  _FIRST: 'var(--first)',
  _SECOND: 'var(--second)',
}
_STYLE = {
  'svg.fonttype': 'none',
  'text.usetex': False,
  'font.family': 'sans-serif',
  'font.size': 9,
  'text.color': _INK,
  'axes.edgecolor': _GRID,
  'axes.labelcolor': _INK,
  'xtick.color': _INK,
  'ytick.color': _INK,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': _GRID,
  'grid.linewidth': 0.6,
  'legend.frameon': False,
}
_WIDE, _NARROW = 4.6, 3.4  # inches


def accuracies(results: dict[str, Any]) -> str:
  """Test accuracy: one point per lane, one row per variant, with the quartiles as a box."""
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(_WIDE, 0.9 + 0.36 * len(results['variants'])), layout='constrained')
    axes = figure.subplots()
    figures.draw_accuracies(axes, results, _INK, _FIRST)
    return _svg(figure, 'lanes', 'Test accuracy of every lane, with quartiles, by variant')


def sweep(results: dict[str, Any]) -> str:
  """The validation of every setting of a sweep: one point per lane, a line at the mean."""
  content = results['sweep']
  rows = len(content['settings']) * len(content['variants'])
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(_WIDE, 0.9 + 0.24 * rows), layout='constrained')
    axes = figure.subplots()
    figures.draw_sweep(axes, content, _INK, _FIRST)
    axes.tick_params(axis='y', labelsize='x-small')
    return _svg(figure, 'sweep', 'Validation of every lane of a sweep, by setting')


def robustness(content: dict[str, Any]) -> str:
  """Accuracy against noise, level and time: a line a variant, a band its interval."""
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(_WIDE, 8.4), layout='constrained')
    axes = figure.subplots(3, 1, sharey=True)
    draw_robustness(axes, content)
    for panel in axes:
      panel.set(ylabel='test accuracy (%)', title='')
    return _svg(figure, 'robust', 'Test accuracy against noise, level and position of the clip')


def detection(content: dict[str, Any]) -> str:
  """Words found and missed against false alarms an hour: a line a lane, a dot what was chosen."""
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(_WIDE, 5.8), layout='constrained')
    axes = figure.subplots(2, 1)
    draw_detection(axes, content)
    for panel in axes:
      panel.set(title='')
    return _svg(figure, 'detect', 'Words found and missed against false alarms an hour')


def learning_curves(
  metrics: list[dict[str, Any]], variants: Sequence[str]
) -> dict[str, tuple[str, str]]:
  """{variant: (validation accuracy, loss)} by epoch: lanes thin, their mean thick, equal scales."""
  losses = [
    row[field] for row in metrics for field in ('train_loss', 'validation_loss') if row[field]
  ]
  accuracy = [100 * row['validation_accuracy'] for row in metrics]
  epochs = (1, max(row['epoch'] for row in metrics))
  scales = (
    _margin(min(accuracy), max(accuracy)),
    (min(losses) * 0.9, max(losses) * 1.1) if losses else (0.1, 1),
  )
  rows = {variant: [row for row in metrics if row['variant'] == variant] for variant in variants}
  return {
    variant: _curves(of_variant, f'curve{i}', variant, epochs, *scales)
    for i, (variant, of_variant) in enumerate(rows.items())
  }


def _curves(
  rows: list[dict[str, Any]], name: str, variant: str, epochs: tuple[int, int], accuracy, loss
) -> tuple[str, str]:
  with matplotlib.rc_context(_STYLE):
    left, right = (Figure(figsize=(_NARROW, 2.4), layout='constrained') for _ in range(2))
    accuracy_axes, loss_axes = left.subplots(), right.subplots()
    _lines(accuracy_axes, rows, 'validation_accuracy', _FIRST, 'mean of lanes', 100)
    accuracy_axes.set(ylabel='validation accuracy (%)', ylim=accuracy)
    _lines(loss_axes, rows, 'validation_loss', _FIRST, 'validation')
    _lines(loss_axes, rows, 'train_loss', _SECOND, 'training')
    loss_axes.set(ylabel='cross-entropy', yscale='log', ylim=loss)
    for axes in (accuracy_axes, loss_axes):
      axes.set(xlabel='epoch', xlim=epochs if epochs[1] > 1 else (0.5, 1.5))
      axes.xaxis.get_major_locator().set_params(integer=True)
    loss_axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    loss_axes.yaxis.set_major_formatter('{x:g}')
    loss_axes.yaxis.set_minor_locator(ticker.NullLocator())
    loss_axes.legend(fontsize='small', loc='lower left')
    return (
      _svg(left, f'{name}a', f'{variant}: validation accuracy of every lane by epoch'),
      _svg(right, f'{name}b', f'{variant}: training and validation loss of every lane by epoch'),
    )


def _lines(
  axes, rows: list[dict[str, Any]], field: str, color: str, label: str, scale: float = 1.0
) -> None:
  lanes: dict[tuple[int, str], list[tuple[int, float]]] = {}
  for row in rows:
    value = np.nan if row[field] is None else scale * row[field]
    lanes.setdefault((row['seed'], row['split']), []).append((row['epoch'], value))
  for points in lanes.values():
    axes.plot(
      *zip(*points), color=color, linewidth=0.7, alpha=0.5, marker='.' if len(points) == 1 else None
    )
  by_epoch: dict[int, list[float]] = {}
  for epoch, value in (
    point for points in lanes.values() for point in points if np.isfinite(point[1])
  ):
    by_epoch.setdefault(epoch, []).append(value)
  epochs = sorted(by_epoch)
  axes.plot(
    epochs, [np.mean(by_epoch[epoch]) for epoch in epochs], color=color, linewidth=1.8, label=label
  )


def channel_weights(variant: str, weights: Weights) -> tuple[str, str]:
  """(channel weights, kernels): one line per lane, sorted by weight; three taps per lane."""
  with matplotlib.rc_context(_STYLE):
    left, right = (Figure(figsize=(_NARROW, 2.4), layout='constrained') for _ in range(2))
    axes = left.subplots()
    places = np.arange(1, weights.mean.shape[1] + 1)
    for mean, std in zip(weights.mean, weights.std):
      order = np.argsort(-mean)
      axes.plot(places, mean[order], color=_FIRST, linewidth=1, alpha=0.6)
      axes.fill_between(
        places, (mean - std)[order], (mean + std)[order], color=_FIRST, alpha=0.06, linewidth=0
      )
    axes.set(xlabel='channel, by weight', ylabel='mean weight over clips')
    axes.set_ylim(0, 1)
    taps = right.subplots()
    offsets = np.linspace(-0.12, 0.12, len(weights.taps)) if len(weights.taps) > 1 else np.zeros(1)
    for offset, kernel in zip(offsets, weights.taps):
      taps.plot(np.arange(3) + offset, kernel, 'o', color=_SECOND, markersize=4, alpha=0.7)
    taps.set_xticks(range(3), ['before', 'own', 'after'])
    taps.set(xlabel='channel', ylabel='kernel', xlim=(-0.5, 2.5))
    return (
      _svg(left, 'weights', f'{variant}: sorted channel weights of every lane'),
      _svg(right, 'kernel', f'{variant}: kernel of channel attention of every lane'),
    )


def _margin(low: float, high: float) -> tuple[float, float]:
  room = 0.04 * (high - low) or 1.0
  return low - room, high + room


def _svg(figure: Figure, name: str, title: str) -> str:
  """The figure as an element of an HTML page; its ids start with `name`, so they are unique."""
  files.take_literally(figure)
  text = io.StringIO()
  with matplotlib.rc_context({'svg.hashsalt': name}):
    figure.savefig(text, format='svg', transparent=True, metadata={'Date': None})
  svg = text.getvalue()
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  svg = re.sub(r'<style.*?</style>', '', svg, flags=re.DOTALL)  # it would apply to the page
  svg = re.sub(r' xmlns(:\w+)?="[^"]*"', '', svg)  # HTML needs none
  svg = re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)  # the page sets the size
  for placeholder, color in _PAGE_COLORS.items():
    svg = svg.replace(placeholder, color)
  svg = re.sub(r'\bid="', f'id="{name}-', svg)
  svg = re.sub(r'(url\(#|href="#)', rf'\g<1>{name}-', svg)
  label = title.replace('&', '&amp;').replace('"', '&quot;').replace('<', '&lt;')
  return svg.replace('<svg', f'<svg role="img" aria-label="{label}"', 1)
