"""Writes the report of a study into its folder: a page, a text and every table as a file."""

from pathlib import Path

from data_prep import files
from m3net_jax.reporting import formats
from m3net_jax.reporting import html as report_html
from m3net_jax.reporting.content import gather
from m3net_jax.study.workdir import Workdir


def write(workdir: Workdir) -> list[Path]:
  """Writes the report of a finished study; returns the paths of report.html, report.md, tables/."""
  content = gather(workdir)
  pages = {
    'report.html': report_html.render_html(content),
    'report.md': report_html.render_markdown(content),
  }
  for table in content.tables:
    pages[f'tables/{table.name}.tex'] = formats.to_latex(table)
    pages[f'tables/{table.name}.csv'] = formats.to_csv(table, content.corpus)
  for name, text in pages.items():
    # The name of a recording may contain bytes that are not UTF-8: they become question marks.
    files.write_bytes(workdir.path / name, text.encode('utf-8', 'replace'))
  return [workdir.path / 'report.html', workdir.path / 'report.md', workdir.path / 'tables']
