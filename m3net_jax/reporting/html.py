"""The report as one self-contained HTML page, and as Markdown. Pure functions.

The page loads nothing and needs no script: figures are SVG in the page, pictures are data URIs.
"""

import re

import jinja2
from markupsafe import Markup, escape

from data_prep.names import visible
from m3net_jax.reporting import formats
from m3net_jax.reporting.content import Content
from m3net_jax.reporting.evidence import Confusion

_SHOWN = 0.005  # cells of a confusion matrix below this fraction of the class are blank
_FLAG = re.compile(r'(?<![^\s(])-{1,2}\w[^\s)]*')


def render_html(content: Content) -> str:
  """The report as an HTML page."""
  return (
    _environment(True)
    .get_template('report.html.j2')
    .render(content=content, groups=formats.groups, cells=cells, svg=Markup)
  )


def flags(text: str) -> Markup:
  """Text as HTML whose lines break neither in the name of a flag nor inside one of its values.

  Browsers break lines after a hyphen, and long lists of values anywhere.
  """

  def unbroken(word: re.Match) -> str:
    name, equals, values = word.group().partition('=')
    return f'<span class="flag">{name}{equals}</span>' + values.replace(',', ',<wbr>')

  return Markup(_FLAG.sub(unbroken, str(escape(text))))


def path(text: str) -> Markup:
  """The path of a file as HTML; lines may break after a folder or an underscore."""
  return Markup(re.sub(r'([/_])', r'\1<wbr>', str(escape(visible(text)))))


def render_markdown(content: Content) -> str:
  """The report as GitHub Markdown."""
  template = _environment(False).get_template('report.md.j2')
  return template.render(content=content, table=formats.to_markdown)


def cells(confusion: Confusion) -> list[list[tuple[int, str, int]]]:
  """Rows of a confusion matrix: (count, text, shade); text and shade are per cent of the class."""
  rows = []
  for row in confusion.counts:
    shares = row / max(1, row.sum())
    rows.append(
      [
        (int(count), f'{100 * share:.0f}' if share >= _SHOWN else '', round(100 * share))
        for count, share in zip(row, shares)
      ]
    )
  return rows


def _environment(autoescape: bool) -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('m3net_jax.reporting'),
    autoescape=autoescape,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {
    'flags': flags,
    'path': path,
    'markdown': formats.markdown,
    'code': formats.markdown_code,
  }
  return environment
