"""Reports of finished studies, and the comparison of several.

    python -m m3net_jax.report WORKDIR             writes report.html, report.md and tables/ into it
    python -m m3net_jax.report WORKDIR WORKDIR ... compares them, paired by seed and split, in a table
"""
from pathlib import Path

from data_prep import cli
from data_prep.cli import UserError
from m3net_jax import files, results, workdir


def main(arguments: list[str]) -> None:
  if not arguments:
    raise UserError('which study? give its --workdir: python -m m3net_jax.report WORKDIR')
  studies = [workdir.read(path) for path in arguments]
  if len(studies) > 1:
    from m3net_jax import compare
    print(compare.text(compare.compare(studies)))
    return
  written = write(studies[0])
  print(results.summary(studies[0].results()) + '\n')
  print('\n'.join(f'wrote {path}' for path in written))


def write(here: workdir.Workdir) -> list[Path]:
  """Writes the report of a finished study into its folder; returns report.html, report.md and tables/."""
  # Not for a user's mistake: matplotlib is slow to import.
  from m3net_jax import report_content, report_html, table_formats
  content = report_content.gather(here)
  pages = {'report.html': report_html.render_html(content), 'report.md': report_html.render_markdown(content)}
  for table in content.tables:
    pages[f'tables/{table.name}.tex'] = table_formats.to_latex(table)
    pages[f'tables/{table.name}.csv'] = table_formats.to_csv(table, content.corpus)
  for name, text in pages.items():
    # A file's name may hold bytes that are no UTF-8: they become question marks.
    files.write_bytes(here.path / name, text.encode('utf-8', 'replace'))
  return [here.path / 'report.html', here.path / 'report.md', here.path / 'tables']


if __name__ == '__main__':
  cli.run(main)
