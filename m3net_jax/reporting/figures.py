"""Figures of a study: learning curves and the test accuracy of every lane."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from m3net_jax.network.variants import short_name
from m3net_jax.study import sweeps


def of_study(results: dict[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Figure]:
  """Draws learning_curves.png, accuracy.png and for a sweep sweep.png, by name.

  Args:
    metrics: rows of the lanes that were tested.
  """
  figures = {
    'learning_curves.png': learning_curves(results, metrics),
    'accuracy.png': accuracies(results),
  }
  return figures | ({'sweep.png': sweep(results)} if results['sweep'] else {})


def title(results: dict[str, Any]) -> str:
  """Corpus, classes and split of a study, as shown in every figure."""
  corpus = results['corpus']
  synthetic = ', synthetic speech' if corpus['synthetic'] else ''
  split = f'{corpus["split"]} split' + ' of every seed' * corpus['split_seeds']
  return f'{corpus["name"]} ({corpus["num_classes"]} classes, {split}{synthetic})'


def learning_curves(results: dict[str, Any], metrics: list[dict[str, Any]]) -> Figure:
  """Loss and validation accuracy by epoch: mean over the lanes of a variant.

  A band shows the range of the validation accuracy over lanes.
  """
  figure = Figure(figsize=(10, 4), layout='constrained')
  left, right = figure.subplots(1, 2)
  for variant in results['variants']:
    rows = [row for row in metrics if row['variant'] == variant]
    epochs = sorted({row['epoch'] for row in rows})
    by_epoch = lambda field: [
      np.array([row[field] for row in rows if row['epoch'] == epoch and row[field] is not None])
      for epoch in epochs
    ]
    line = left.plot(
      epochs,
      [_mean(values) for values in by_epoch('validation_loss')],
      label=f'{short_name(variant)}, validation',
    )[0]
    left.plot(
      epochs,
      [_mean(values) for values in by_epoch('train_loss')],
      color=line.get_color(),
      linestyle=':',
      label=f'{short_name(variant)}, training',
    )
    accuracy = by_epoch('validation_accuracy')
    right.plot(
      epochs,
      [100 * _mean(values) for values in accuracy],
      color=line.get_color(),
      label=f'{short_name(variant)}, mean of {len(accuracy[0])} lanes',
    )
    right.fill_between(
      epochs,
      [100 * values.min() for values in accuracy],
      [100 * values.max() for values in accuracy],
      color=line.get_color(),
      alpha=0.2,
      linewidth=0,
    )
  left.set(xlabel='epoch', ylabel='cross-entropy', yscale='log')
  right.set(xlabel='epoch', ylabel='validation accuracy (%)')
  for axes in (left, right):
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    axes.xaxis.get_major_locator().set_params(integer=True)
  figure.suptitle(title(results))
  return figure


def accuracies(results: dict[str, Any]) -> Figure:
  """Test accuracy: one point per lane, one row per variant, with the quartiles as a box."""
  figure = Figure(figsize=(8, 1.6 + 0.5 * len(results['variants'])), layout='constrained')
  axes = figure.subplots()
  draw_accuracies(axes, results)
  axes.set_title(title(results))
  return figure


def draw_accuracies(
  axes, results: dict[str, Any], ink: str = 'black', color: str | None = None
) -> None:
  """Draws `accuracies` on the given axes.

  Args:
    axes: Matplotlib axes.
    ink: colour of boxes and medians.
    color: colour of the points (default: one per variant).
  """
  variants = results['variants']
  values = [
    100 * np.array([lane['test_accuracy'] for lane in variant['lanes']])
    for variant in variants.values()
  ]
  places = np.arange(len(values), 0, -1)
  line = {'color': ink}
  axes.boxplot(
    values,
    orientation='horizontal',
    positions=places,
    widths=0.5,
    showfliers=False,
    boxprops=line,
    whiskerprops=line,
    capprops=line,
    medianprops=line,
  )
  for place, points in zip(places, values):
    # A fixed seed: the same picture every time.
    offsets = (
      0.18 * np.linspace(-1, 1, len(points))[np.random.default_rng(0).permutation(len(points))]
    )
    axes.plot(points, place + offsets, 'o', markersize=5, alpha=0.6, color=color)
  # The name of a user's variant is long: show only its class, the tables show the rest.
  labels = [
    f'{short_name(name)}  {100 * variant["mean"]:.2f} %' for name, variant in variants.items()
  ]
  axes.set_yticks(places, labels)
  axes.set(xlabel='test accuracy at the best validation epoch (%)')
  axes.grid(alpha=0.3, axis='x')


def sweep(results: dict[str, Any]) -> Figure:
  """The validation of every setting of a sweep: one point per lane, a line at the mean."""
  rows = len(results['sweep']['settings']) * len(results['sweep']['variants'])
  figure = Figure(figsize=(8, 1.6 + 0.3 * rows), layout='constrained')
  axes = figure.subplots()
  draw_sweep(axes, results['sweep'])
  axes.set_ylim(0.6 - rows, 0.4)
  figure.suptitle(f'{title(results)}\nsweep; line: mean, *: chosen', fontsize='medium')
  return figure


def draw_sweep(axes, content: dict[str, Any], ink: str = 'black', color: str | None = None) -> None:
  """Draws `sweep` on the given axes; the sweep of results.json has the best settings on top.

  Args:
    axes: Matplotlib axes.
    ink: colour of the lines.
    color: colour of the points (default: one per variant).
  """
  percent = 1 if content['measure'] == 'validation_loss' else 100
  several = len(content['variants']) > 1
  labels: list[str] = []
  for variant, lanes in content['variants'].items():
    for setting in sweeps.ranked(content, variant):
      place = -len(labels)
      values = [percent * value for value in lanes[setting] if value is not None]
      axes.plot(values, [place] * len(values), 'o', markersize=4, alpha=0.6, color=color or 'C0')
      if values:
        axes.plot([np.mean(values)] * 2, [place - 0.35, place + 0.35], color=ink, linewidth=1.5)
      chosen = setting in content['chosen'][variant].values()
      name = f'{short_name(variant)}: ' * several + sweeps.text_of(content['settings'][setting])
      labels.append(f'{name}{" *" if chosen else ""}')
  axes.set_yticks(range(0, -len(labels), -1), labels)
  unit = '' if percent == 1 else ' (%)'
  axes.set(xlabel=f'{content["measure"].replace("_", " ")}{unit}')
  axes.grid(alpha=0.3, axis='x')


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else float('nan')
