"""A `tables.Table` as CSV, LaTeX and Markdown. Pure functions; HTML is in the report's template."""

import csv
import io
import itertools
import re

from data_prep.names import visible
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
# An underscore inside a word is only an underscore.
_MARKDOWN = re.compile(r'[\\`*$|~]|\](?=\()|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])')
_THOUSANDS = re.compile(r'\d{1,3}(,\d{3})+')
_COLUMN = 60  # characters of a row that fit into one of the two columns of a page


def heads(table: Table) -> list[str]:
  """One head per column: 'group, name', or the name alone."""
  return [f'{group}, {name}' if group else name for group, name in table.columns]


def groups(table: Table) -> list[tuple[str, list[str]]]:
  """(group, names) of neighbouring columns; ('', [name]) for each column without a group."""
  entries = []
  for group, columns in itertools.groupby(table.columns, key=lambda column: column[0]):
    names = [name for _, name in columns]
    entries += [(group, names)] if group else [('', [name]) for name in names]
  return entries


def to_csv(table: Table, corpus: str) -> str:
  """The table as CSV for programs: one line of heads, then one line per row.

  The first column is the corpus, because a CSV file has no caption. Numbers have no commas; a cell
  without a value is empty.
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
  """The table as GitHub Markdown, with the caption above and the notes below."""
  lines = [
    f'**{markdown(table.caption)}.**',
    '',
    _bar(map(markdown, heads(table))),
    _bar(['---'] * len(table.columns)),
  ]
  lines += [
    _bar(f'**{markdown(cell)}**' if i in table.ours and cell else markdown(cell) for cell in row)
    for i, row in enumerate(table.rows)
  ]
  return '\n'.join([*lines, '', *(f'{markdown(note)}  ' for note in table.notes)]) + '\n'


def to_latex(table: Table) -> str:
  """The table as a LaTeX `table`, or `table*` if it is wide.

  It needs the packages booktabs, amssymb and graphicx.
  """
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
    _row([bold(latex(cell)) if i in table.ours else latex(cell) for cell in row])
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
        # Shrunk to the width of the column if it is wider, never stretched.
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


def markdown(text: str) -> str:
  """Text escaped for GitHub Markdown: shown as it is, in a table too."""
  return _MARKDOWN.sub(r'\\\g<0>', visible(text)).replace('<', '&lt;')


def markdown_code(text: str) -> str:
  """Text as code in a line of GitHub Markdown."""
  text = visible(text)
  fence = '`' * (1 + max(map(len, re.findall('`+', text)), default=0))
  return f'{fence} {text} {fence}' if '`' in text else f'{fence}{text}{fence}'


def latex(text: str) -> str:
  """Text escaped for LaTeX; a hyphen before a digit becomes a minus sign."""
  return ' '.join(_signed(word) for word in visible(text).translate(_LATEX).split(' '))


def _signed(word: str) -> str:
  bracket = '(' if word.startswith('(') else ''
  rest = word.removeprefix(bracket)
  return f'{bracket}$-${rest[1:]}' if rest[:1] == '-' and rest[1:2].isdigit() else word


def _row(cells: list[str]) -> str:
  # `[` and `*` after the end of the row before would belong to that end.
  return ('{}' if cells[0][:1] in ('[', '*') else '') + ' & '.join(cells) + r' \\'


def _bar(cells) -> str:
  return f'| {" | ".join(cells)} |'
