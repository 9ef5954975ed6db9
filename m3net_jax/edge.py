"""What a smaller model costs: accuracy against memory, over bundles.

    python -m m3net_jax.edge bundles/edge_64k bundles/edge_128k bundles/edge_256k --out_dir=figures

Prints a table, and writes it as edge.csv beside the picture edge.png.
"""
import csv
import io
import json
from pathlib import Path
from typing import Any

from absl import flags

from data_prep import cli
from data_prep.cli import UserError
from m3net_jax import files, model_card

_OUT_DIR = flags.DEFINE_string('out_dir', None, 'the folder for edge.csv and edge.png', required=True,
                               allow_override=True)

_COLUMNS = ('name', 'variant', 'input', 'macs', 'int8_bytes', 'arena_bytes', 'accuracy', 'low', 'high', 'study_mean',
            'study_low', 'study_high')


def main(arguments: list[str]) -> None:
  if not arguments:
    raise UserError('nothing to compare: give the folders of bundles')
  rows = sorted((row(Path(each)) for each in arguments), key=lambda each: each['arena_bytes'])
  if len(corpora := {each.pop('corpus') for each in rows}) > 1:
    raise UserError(f'the bundles are of different corpora ({", ".join(sorted(corpora))}): compare those of one')
  text = io.StringIO()
  table = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  folder = Path(_OUT_DIR.value)
  files.write_bytes(folder / 'edge.csv', text.getvalue().encode())
  plot(folder / 'edge.png', rows, corpora.pop())
  print(f'{"bundle":<18}{"variant":<10}{"input":>10}{"multiply-adds":>15}{"file":>9}{"arena":>9}{"int8":>9}')
  for each in rows:
    print(f'{each["name"]:<18}{each["variant"]:<10}{each["input"]:>10}{each["macs"]:>15,}{each["int8_bytes"]:>9,}'
          f'{each["arena_bytes"]:>9,}{100 * each["accuracy"]:>8.2f}%')
  print(f'wrote {folder / "edge.csv"} and {folder / "edge.png"}')


def row(path: Path) -> dict[str, Any]:
  """One bundle's figures: accuracy of its int8 file in TFLite Micro, and of all lanes of its variant in JAX."""
  try:
    exported = json.loads((path / 'export.json').read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path}: holds no readable export.json: give the folder that python -m m3net_jax.export '
                    'wrote') from error
  file, study = exported['files']['int8'], exported['study']
  micro = next(each for each in exported['runtimes'] if each['runtime'] == 'TFLite Micro')
  low, high = model_card.interval(micro['correct'], micro['clips'])
  ends = study['ci95'] or (None, None)
  return {'corpus': exported['corpus'], 'name': path.name, 'variant': exported['lane']['variant'],
          'input': 'x'.join(map(str, exported['input_shape'])), 'macs': exported['macs'], 'int8_bytes': file['bytes'],
          'arena_bytes': file['arena']['total'], 'accuracy': micro['accuracy'], 'low': low, 'high': high,
          'study_mean': study['mean'], 'study_low': ends[0], 'study_high': ends[1]}


def plot(path: Path, rows: list[dict[str, Any]], corpus: str) -> None:
  """Accuracy against arena, with the interval that the number of test clips leaves."""
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  figure, axes = pyplot.subplots(figsize=(7, 4.2), layout='constrained')
  for variant in dict.fromkeys(each['variant'] for each in rows):
    some = [each for each in rows if each['variant'] == variant]
    kib = [each['arena_bytes'] / 1024 for each in some]
    values = [100 * each['accuracy'] for each in some]
    errors = [[value - 100 * each['low'] for value, each in zip(values, some)],
              [100 * each['high'] - value for value, each in zip(values, some)]]
    axes.errorbar(kib, values, errors, marker='o', capsize=3, label=variant)
    for x, y, each in zip(kib, values, some):
      axes.annotate(each['input'], (x, y), textcoords='offset points', xytext=(6, -10), fontsize=8)
  axes.set(xlabel='tensor arena of the int8 model in TFLite Micro (KiB)', ylabel='test accuracy of the int8 file (%)',
           title=f'{corpus}: accuracy against memory')
  axes.margins(x=0.12)  # room for the last label
  axes.legend(title='variant')
  axes.grid(alpha=0.3)
  content = io.BytesIO()
  figure.savefig(content, format='png', dpi=120)
  pyplot.close(figure)
  files.write_bytes(path, content.getvalue())


if __name__ == '__main__':
  cli.run(main)
