"""A `tables.Table` as CSV, LaTeX and Markdown. Pure functions; HTML is the report's template's business."""

import csv
import io
import itertools
import re

from m3net_jax.reporting.tables import NONE, Table

_LATEX = str.maketrans(
  {
    '\\': r'\textbackslash{}',
    '{': r'\{',
    '}': r'\}',
    '%': r'\%',
    '_': r'\_',
    '&': r'\&',
    '#': r'\#',
    '$': r'\$',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'$<$',
    '>': r'$>$',
    '±': r'$\pm$',
    '✓': r'$\checkmark$',
  }
)
_THOUSANDS = re.compile(r'\d{1,3}(,\d{3})+')
_COLUMN = 60  # characters; a table of wider rows is too wide for one of two columns of a page


def heads(table: Table) -> list[str]:
  """One head a column, its group before it."""
  return [f'{group}, {name}' if group else name for group, name in table.columns]


def groups(table: Table) -> list[tuple[str, list[str]]]:
  """Neighbouring columns of one group: (group, names); columns that stand alone are a group '' each."""
  made = []
  for group, columns in itertools.groupby(table.columns, key=lambda column: column[0]):
    names = [name for _, name in columns]
    made += [(group, names)] if group else [('', [name]) for name in names]
  return made


def to_csv(table: Table, corpus: str) -> str:
  """A line of heads and a line a row, the corpus in front, for neither caption nor notes are in it.

  For programs: numbers without commas, and nothing where there is no value.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['Corpus', *heads(table)])
  writer.writerows([[corpus, *map(_plain, row)] for row in table.rows])
  return text.getvalue()


def _plain(cell: str) -> str:
  if _THOUSANDS.fullmatch(cell):
    return cell.replace(',', '')
  return {'✓': 'yes', NONE: ''}.get(cell, cell)


def to_markdown(table: Table) -> str:
  """A table of GitHub's Markdown, its caption above and its notes below."""
  escaped = lambda cell: cell.replace('|', '\\|').replace('<', '&lt;').replace('*', '\\*')
  lines = [
    f'**{escaped(table.caption)}.**',
    '',
    _bar(map(escaped, heads(table))),
    _bar(['---'] * len(table.columns)),
  ]
  lines += [
    _bar(f'**{escaped(cell)}**' if i in table.ours and cell else escaped(cell) for cell in row)
    for i, row in enumerate(table.rows)
  ]
  return '\n'.join([*lines, '', *(f'{escaped(note)}  ' for note in table.notes)]) + '\n'


def to_latex(table: Table) -> str:
  """A `table` environment, `table*` where it is wide; needs the packages booktabs, amssymb and graphicx."""
  first, second, rules, column = [], [], [], 1
  for group, names in groups(table):
    last = column + len(names) - 1
    first.append(f'\\multicolumn{{{len(names)}}}{{c}}{{{latex(group)}}}' if group else '')
    second += [latex(name) for name in names]
    rules += [f'\\cmidrule(lr){{{column}-{last}}}'] if group else []
    column = last + 1
  head = [' & '.join(first) + r' \\', ' '.join(rules)] if rules else []
  bold = lambda cell: f'\\textbf{{{cell}}}' if cell else ''
  body = [
    ' & '.join(bold(latex(cell)) if i in table.ours else latex(cell) for cell in row) + r' \\'
    for i, row in enumerate(table.rows)
  ]
  notes = ' '.join(latex(note) for note in table.notes)
  widths = [
    max(map(len, (name, *cells))) + 2 for (_, name), *cells in zip(table.columns, *table.rows)
  ]
  environment = 'table*' if sum(widths) > _COLUMN else 'table'
  return (
    '\n'.join(
      [
        r'% needs \usepackage{booktabs,amssymb,graphicx}',
        f'\\begin{{{environment}}}[t]',
        r'\centering',
        r'\setlength{\belowcaptionskip}{4pt}',
        f'\\caption{{{latex(table.caption)}.}}',
        f'\\label{{tab:{table.name}}}',
        # Shrunk to the column where it is wider, never stretched.
        r'\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%',
        f'\\begin{{tabular}}{{l{"r" * (len(table.columns) - 1)}}}',
        r'\toprule',
        *head,
        ' & '.join(second) + r' \\',
        r'\midrule',
        *body,
        r'\bottomrule',
        r'\end{tabular}}',
        *([f'\\par\\smallskip{{\\footnotesize\\raggedright {notes}\\par}}'] if notes else []),
        f'\\end{{{environment}}}',
      ]
    )
    + '\n'
  )


def latex(text: str) -> str:
  """Text as LaTeX shows it; a minus before a digit is one."""
  made = text.translate(_LATEX)
  return ' '.join(_signed(word) for word in made.split(' '))


def _signed(word: str) -> str:
  bracket = '(' if word.startswith('(') else ''
  rest = word.removeprefix(bracket)
  return f'{bracket}$-${rest[1:]}' if rest[:1] == '-' and rest[1:2].isdigit() else word


def _bar(cells) -> str:
  return f'| {" | ".join(cells)} |'
