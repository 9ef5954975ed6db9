"""Writes the report of a study into its folder: a page, a text, pictures, every table as a file."""

import hashlib
import json
from pathlib import Path

from data_prep import files
from m3net_jax.reporting import detections, figures, formats, robustness
from m3net_jax.reporting import html as report_html
from m3net_jax.reporting.content import gather
from m3net_jax.study.workdir import Workdir

_MADE = '.report.json'  # written last: of what the report was made, and its files
_SOURCES = ('results.json', 'robustness.json', 'detection.json', 'export.json')


def write(workdir: Workdir) -> list[Path]:
  """Writes the report of a finished study; returns report.html, report.md, tables/ and figures/."""
  sources, content = _sources(workdir.path), gather(workdir)
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
  pictures = figures.of_study(content.results, content.metrics)
  if content.measured:
    pictures['robustness.png'] = robustness.figure(content.measured, content.title)
  if content.detected:
    pictures['detection.png'] = detections.figure(content.detected, content.title)
  for name, picture in pictures.items():
    files.write_figure(workdir.path / 'figures' / name, picture)
  made = [*pages, *(f'figures/{name}' for name in pictures)]
  files.write_json(workdir.path / _MADE, {'of': sources, 'files': made})
  return [workdir.path / name for name in ('report.html', 'report.md', 'tables', 'figures')]


def is_complete(path: Path) -> bool:
  """Whether all files of the report of the study in `path` are there and made of what is there."""
  try:
    made = json.loads((path / _MADE).read_text())
    return made['of'] == _sources(path) and all((path / name).is_file() for name in made['files'])
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _sources(path: Path) -> dict[str, str]:
  """The SHA-256 of every file of results in a study's folder."""
  return {
    name: hashlib.sha256((path / name).read_bytes()).hexdigest()
    for name in _SOURCES
    if (path / name).exists()
  }
