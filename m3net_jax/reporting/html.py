"""The report as one self-contained HTML page, and as Markdown. Pure: content in, text out.

The page asks for nothing from outside and needs no script: figures are SVG in the page, pictures are data
URIs.
"""

import re

import jinja2
from markupsafe import Markup, escape

from m3net_jax.reporting import formats
from m3net_jax.reporting.content import Confusion, Content

_SHOWN = 0.005  # a share of a class below this is left blank in its confusion matrix
_FLAG = re.compile(r'(?<![^\s(])-{1,2}\w[^\s)]*')


def render_html(content: Content) -> str:
  return (
    _environment(True)
    .get_template('report.html.j2')
    .render(content=content, groups=formats.groups, cells=cells, svg=Markup)
  )


def flags(text: str) -> Markup:
  """Text as HTML in which no line ends within a flag's name, or between the letters of its values.

  Browsers break after a dash, and a long list of values anywhere.
  """

  def whole(word: re.Match) -> str:
    name, equals, values = word.group().partition('=')
    return f'<span class="flag">{name}{equals}</span>' + values.replace(',', ',<wbr>')

  return Markup(_FLAG.sub(whole, str(escape(text))))


def path(text: str) -> Markup:
  """A file's name as HTML that may go on in another line after its folders and words."""
  return Markup(re.sub(r'([/_])', r'\1<wbr>', str(escape(text))))


def render_markdown(content: Content) -> str:
  template = _environment(False).get_template('report.md.j2')
  return template.render(content=content, table=formats.to_markdown)


def cells(confusion: Confusion) -> list[list[tuple[int, str, int]]]:
  """Rows of a confusion matrix: (count, text in per cent of the true class, the same as a shade)."""
  made = []
  for row in confusion.counts:
    shares = row / max(1, row.sum())
    made.append(
      [
        (int(count), f'{100 * share:.0f}' if share >= _SHOWN else '', round(100 * share))
        for count, share in zip(row, shares)
      ]
    )
  return made


def _environment(autoescape: bool) -> jinja2.Environment:
  made = jinja2.Environment(
    loader=jinja2.PackageLoader('m3net_jax.reporting'),
    autoescape=autoescape,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  made.filters |= {'flags': flags, 'path': path}
  return made
