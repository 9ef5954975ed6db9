"""Compares bundles of one corpus and split: accuracy against memory."""

import csv
import io
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
  rows = sorted((row(Path(folder)) for folder in bundles), key=lambda bundle: bundle['arena_bytes'])
  if len(tests := {bundle['test_split'] for bundle in rows}) > 1:
    raise UserError(
      f'the bundles were tested on different clips ({"; ".join(sorted(tests))}): compare bundles '
      'of one corpus and split'
    )
  if len({bundle['test_sha256'] for bundle in rows}) > 1:
    raise UserError(
      f'the bundles were tested on different recordings ({rows[0]["test_split"]}, but not the '
      'same): compare bundles of one corpus and split'
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
  """The rows as text for a terminal: one line per bundle, then notes."""
  names, variants = (
    max(len(head), *(len(bundle[field]) for bundle in rows))
    for field, head in (('name', 'bundle'), ('variant', 'variant'))
  )
  lines = [
    f'{"bundle":<{names}} {"variant":<{variants}} {"input":>9} {"mult-adds":>9} {"file":>7} '
    f'{"arena":>7} {"val %":>6} {"test %":>6} {"p":>6}'
  ]
  for bundle in rows:
    lines.append(
      f'{bundle["name"]:<{names}} {bundle["variant"]:<{variants}} {bundle["input"]:>9} '
      f'{bundle["macs"]:>9,} {bundle["int8_bytes"]:>7,} {bundle["arena_bytes"]:>7,} '
      f'{100 * bundle["validation_accuracy"]:>6.2f} {100 * bundle["accuracy"]:>6.2f} '
      f'{tables.p_text(bundle["p_value"]):>6}'
    )
  return '\n'.join(
    [
      *lines,
      '',
      f'tested on {rows[0]["test_split"]}',
      'val, test: accuracy of the int8 file; choose by that on the validation clips',
      'p: all lanes of the variant against the baseline of its study, with Holm',
    ]
  )


def row(path: Path) -> dict[str, Any]:
  """Reads one bundle: accuracy of its int8 file in TFLite Micro, and of its variant in JAX.

  Accuracies are fractions; `validation_accuracy` is that of the int8 file on its validation clips.
  `low` and `high` are the ends of the 95 % interval for this number of test clips (Wilson),
  `study_low` and `study_high` those of the mean over all lanes of the variant.
  `p_value` compares the variant with the baseline of its study, after Holm's correction.
  `test_sha256` identifies the recordings of the test clips.

  Raises:
    UserError: export.json is absent, was altered or lacks an entry.
  """
  try:
    exported = files.read_json(path / 'export.json', 'export the bundle again')
  except FileNotFoundError as error:
    raise UserError(
      f'{path}: holds no export.json: give the folder that python -m m3net_jax.export wrote'
    ) from error
  try:
    lane, file, study = exported['lane'], exported['files']['int8'], exported['study']
    gate, micro = (
      next(row for row in rows if row['runtime'] == 'TFLite Micro')
      for rows in (exported['gate']['runtimes'], exported['runtimes'])
    )
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
      'validation_accuracy': gate['accuracy'],
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
  """Accuracy against arena: int8 files with their 95 % intervals, and the mean over all lanes."""
  figure = Figure(figsize=(8, 4.6), layout='constrained')
  axes = figure.subplots()
  for variant in sorted({bundle['variant'] for bundle in rows}):
    bundles = [bundle for bundle in rows if bundle['variant'] == variant]
    kib = [bundle['arena_bytes'] / 1024 for bundle in bundles]
    values = [100 * bundle['accuracy'] for bundle in bundles]
    errors = [
      [value - 100 * bundle['low'] for value, bundle in zip(values, bundles)],
      [100 * bundle['high'] - value for value, bundle in zip(values, bundles)],
    ]
    line = axes.errorbar(kib, values, errors, marker='o', capsize=3, label=f'{variant}, int8')[0]
    axes.plot(
      kib,
      [100 * bundle['study_mean'] for bundle in bundles],
      linestyle='',
      marker='x',
      color=line.get_color(),
      label=f'{variant}, mean of lanes',
    )
    for x, bundle in zip(kib, bundles):
      axes.annotate(
        bundle['input'],
        (x, 100 * bundle['low']),
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
