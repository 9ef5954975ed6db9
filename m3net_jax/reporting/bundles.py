"""Bundles of one corpus and split side by side: what a smaller model costs, accuracy against memory."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from data_prep import files
from data_prep.errors import UserError
from m3net_jax.reporting import tables
from m3net_jax.stats import intervals


def compare(bundles: Sequence[str | Path]) -> list[dict[str, Any]]:
  """One row per bundle, the smallest arena first.

  Raises:
    UserError: a folder holds no bundle, or the bundles were not tested on the same recordings.
  """
  rows = sorted((row(Path(bundle)) for bundle in bundles), key=lambda each: each['arena_bytes'])
  if len(tests := {each['test_split'] for each in rows}) > 1:
    raise UserError(
      f'the bundles were tested on different clips ({"; ".join(sorted(tests))}): compare those of one '
      'corpus and split'
    )
  if len({each['test_sha256'] for each in rows}) > 1:
    raise UserError(
      f'the bundles were tested on different recordings ({rows[0]["test_split"]}, but not the same): '
      'compare those of one corpus and split'
    )
  return rows


def write(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
  """Writes edge.csv and edge.png; returns their paths."""
  content = io.StringIO()
  table = csv.DictWriter(content, list(rows[0]), lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  files.write_bytes(folder / 'edge.csv', content.getvalue().encode())
  files.write_figure(folder / 'edge.png', plot(rows))
  return [folder / 'edge.csv', folder / 'edge.png']


def text(rows: list[dict[str, Any]]) -> str:
  """The rows for a terminal."""
  wide, variant = (
    max(len(head), *(len(each[name]) for each in rows))
    for name, head in (('name', 'bundle'), ('variant', 'variant'))
  )
  lines = [
    f'{"bundle":<{wide}} {"variant":<{variant}} {"input":>9} {"mult-adds":>9} {"file":>7} {"arena":>7} '
    f'{"int8 %":>6} {"p":>6}'
  ]
  for each in rows:
    lines.append(
      f'{each["name"]:<{wide}} {each["variant"]:<{variant}} {each["input"]:>9} {each["macs"]:>9,} '
      f'{each["int8_bytes"]:>7,} {each["arena_bytes"]:>7,} {100 * each["accuracy"]:>6.2f} '
      f'{tables.p_text(each["p_value"]):>6}'
    )
  return '\n'.join(
    [
      *lines,
      '',
      f'tested on {rows[0]["test_split"]}',
      'p: of all lanes of a variant against the first of its study, with Holm',
    ]
  )


def row(path: Path) -> dict[str, Any]:
  """One bundle's figures: accuracy of its int8 file in TFLite Micro, and of all lanes of its variant in JAX.

  Accuracies are fractions; `low` and `high` end the 95 % interval that the number of test clips leaves, `study_low` and
  `study_high` that of the lanes' mean; `p_value` is Holm's, of the variant against the first of its study;
  `test_sha256` is of the test clips' recordings.
  """
  try:
    exported = json.loads((path / 'export.json').read_text())
  except (OSError, ValueError) as error:
    raise UserError(
      f'{path}: holds no readable export.json: give the folder that python -m m3net_jax.export '
      'wrote'
    ) from error
  try:
    lane, file, study = exported['lane'], exported['files']['int8'], exported['study']
    micro = next(each for each in exported['runtimes'] if each['runtime'] == 'TFLite Micro')
    low, high = intervals.wilson(micro['correct'], micro['clips'])
    ends = study['ci95'] or (None, None)
    return {
      'name': path.absolute().name,
      'variant': lane['variant'],
      'input': 'x'.join(map(str, exported['input_shape'])),
      'macs': exported['macs'],
      'int8_bytes': file['bytes'],
      'arena_bytes': file['arena']['total'],
      'ram_bytes': sum(exported['firmware_ram'].values()),
      'accuracy': micro['accuracy'],
      'low': low,
      'high': high,
      'study_mean': study['mean'],
      'study_low': ends[0],
      'study_high': ends[1],
      'p_value': study['test'] and study['test']['p_holm'],
      'test_split': f'{exported["corpus"]}, {lane["split"]} split, {micro["clips"]} clips',
      'test_sha256': exported['test_sha256'],
    }
  except KeyError as error:
    raise UserError(f'{path / "export.json"}: has no {error}: export the bundle again') from error


def plot(rows: list[dict[str, Any]]) -> Figure:
  """Accuracy against arena: of the int8 files, with the interval of their test clips, and the mean of all lanes."""
  figure = Figure(figsize=(8, 4.6), layout='constrained')
  axes = figure.subplots()
  for variant in sorted({each['variant'] for each in rows}):
    some = [each for each in rows if each['variant'] == variant]
    kib = [each['arena_bytes'] / 1024 for each in some]
    values = [100 * each['accuracy'] for each in some]
    errors = [
      [value - 100 * each['low'] for value, each in zip(values, some)],
      [100 * each['high'] - value for value, each in zip(values, some)],
    ]
    line = axes.errorbar(kib, values, errors, marker='o', capsize=3, label=f'{variant}, int8')[0]
    axes.plot(
      kib,
      [100 * each['study_mean'] for each in some],
      linestyle='',
      marker='x',
      color=line.get_color(),
      label=f'{variant}, mean of lanes',
    )
    for x, each in zip(kib, some):
      axes.annotate(
        each['input'],
        (x, 100 * each['low']),
        textcoords='offset points',
        xytext=(0, -4),
        fontsize=8,
        ha='center',
        va='top',
      )
  axes.set(
    xlabel='tensor arena of the int8 model in TFLite Micro (KiB)',
    ylabel='test accuracy (%)',
    title=rows[0]['test_split'],
  )
  axes.margins(0.1)  # room for the labels
  figure.legend(loc='outside lower center', ncols=4, fontsize=8)
  axes.grid(alpha=0.3)
  return figure
