"""Tables as CSV, Markdown and LaTeX."""

import csv
import io
import shutil
import subprocess

import pytest

from m3net_jax.reporting import formats, paper_tables, tables
from tests.reporting.studies import study


def test_csv_and_markdown_have_a_cell_a_column():
  table = paper_tables.ablation_table(study({'full': 0.97, 'no_ma': 0.75}), 3)
  rows = list(csv.reader(io.StringIO(formats.to_csv(table, 'fsdd'))))
  assert rows[0][:3] == ['Corpus', 'Dataset', 'M3Net w/o MA, Accuracy (%)']
  assert rows[1] == ['fsdd', *(cell if cell != tables.NONE else '' for cell in table.rows[0])]
  # For programs: numbers without commas, empty cells without a value, as many cells as columns.
  programs = tables.make(
    't', 'T', ('a', 'b', 'c', 'd', 'e'), [['30,598', '-', '✓', '1,234 and 5', '-1.50']]
  )
  assert list(csv.reader(io.StringIO(formats.to_csv(programs, 'x'))))[1] == [
    'x',
    '30598',
    '',
    'yes',
    '1,234 and 5',
    '-1.50',
  ]
  assert table._repr_markdown_() == formats.to_markdown(table)  # as a notebook shows it
  lines = [line for line in formats.to_markdown(table).splitlines() if line.startswith('|')]
  assert {line.count('|') for line in lines} == {len(table.columns) + 1} and len(lines) == 3


def test_latex_shows_every_character_as_itself():
  assert formats.latex('eca_csf & 5% #1 {x} $') == r'eca\_csf \& 5\% \#1 \{x\} \$'
  assert formats.latex('75.29 (-22.15)') == '75.29 ($-$22.15)' and formats.latex('-') == '-'
  assert formats.latex('-1.0 to +2.0, 1.2e-4') == '$-$1.0 to +2.0, 1.2e-4'


def test_a_table_wider_than_a_column_of_a_page_takes_the_page():
  latex = lambda cell: formats.to_latex(tables.make('t', 'Caption', ('A', 'B'), [['a', cell]], []))
  assert '\\begin{table}[t]' in latex('b' * 50) and '\\begin{table*}[t]' in latex('b' * 60)


@pytest.mark.skipif(not shutil.which('pdflatex'), reason='pdflatex is not installed')
def test_latex_compiles(tmp_path):
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_dfp': 0.8, 'eca': 0.9}, corpus='urbansound8k')
  all_tables = [
    tables.variants_table(results),
    tables.tests_table(results['tests']),
    paper_tables.ablation_table(results, 3),
    paper_tables.parts_table(results),
    paper_tables.published_table(results, 'Log-Mel', '1 ± 2 bits', ''),
  ]
  text = '\n'.join(
    [
      r'\documentclass{article}\usepackage{booktabs,amssymb,graphicx}\begin{document}',
      *map(formats.to_latex, all_tables),
      r'\end{document}',
    ]
  )
  (tmp_path / 'all.tex').write_text(text)
  ended = subprocess.run(
    ['pdflatex', '-halt-on-error', '-interaction=nonstopmode', 'all.tex'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert ended.returncode == 0, ended.stdout[-2000:]
