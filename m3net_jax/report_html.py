"""The report as one self-contained HTML page, and as Markdown. Pure: content in, text out.

The page asks for nothing from outside and needs no script: figures are SVG in the page, pictures are data
URIs.
"""
import jinja2
from markupsafe import Markup

from m3net_jax import table_formats
from m3net_jax.report_content import Confusion, Content

_SHOWN = 0.005  # a share of a class below this is left blank in its confusion matrix


def render_html(content: Content) -> str:
  return _environment(True).get_template('report.html.j2').render(
      content=content, groups=table_formats.groups, cells=cells, svg=Markup)


def render_markdown(content: Content) -> str:
  template = _environment(False).get_template('report.md.j2')
  return template.render(content=content, table=table_formats.to_markdown)


def cells(confusion: Confusion) -> list[list[tuple[int, str, int]]]:
  """Rows of a confusion matrix: (count, text in per cent of the true class, the same as a shade)."""
  made = []
  for row in confusion.counts:
    shares = row / max(1, row.sum())
    made.append([(int(count), f'{100 * share:.0f}' if share >= _SHOWN else '', round(100 * share))
                 for count, share in zip(row, shares)])
  return made


def _environment(escape: bool) -> jinja2.Environment:
  return jinja2.Environment(loader=jinja2.PackageLoader('m3net_jax', ''), autoescape=escape, trim_blocks=True,
                            lstrip_blocks=True, undefined=jinja2.StrictUndefined)
