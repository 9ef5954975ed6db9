"""The pages of docs: their links lead somewhere, their sizes and derived figures are right."""

import inspect
import re
from pathlib import Path

import pytest

import m3net_jax as m3

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')


def anchors(page):
  """The anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  text = re.sub(r'^(    |```).*$', '', page.read_text(), flags=re.MULTILINE)
  for target in LINK.findall(text):
    if target.startswith(('http://', 'https://', 'mailto:')):
      continue
    path, _, anchor = target.partition('#')
    linked = (page.parent / path).resolve() if path else page
    assert linked.exists(), f'{page.name}: {target}'
    assert linked.is_relative_to(ROOT), f'{page.name}: {target}'
    if anchor:
      assert anchor in anchors(linked), f'{page.name}: {target}'


def test_every_page_is_linked_from_the_readme():
  readme = (ROOT / 'README.md').read_text()
  for page in (ROOT / 'docs').glob('*.md'):
    assert f'(docs/{page.name})' in readme, page.name


def test_the_readme_is_short():
  assert len((ROOT / 'README.md').read_text().splitlines()) <= 120


def test_the_page_of_the_api_names_all_of_it():
  text = (ROOT / 'docs' / 'api.md').read_text()
  for name in m3.__all__:
    if name not in ('Config', 'Study', 'UserError'):
      assert f'`m3.{name}(' in text, name
      for parameter in inspect.signature(getattr(m3, name)).parameters:
        assert parameter in text, f'{name}: {parameter}'
  for name, member in vars(m3.Study).items():
    if not name.startswith('_') and name not in ('train', 'path') and callable(member):
      assert f'`{name}(' in text or f'`{name}()' in text, name
  for name in m3.Config.__dataclass_fields__:
    assert name in text or name.startswith('plateau_'), name


def test_days_of_the_papers_setting_follow_from_the_seconds_of_a_step():
  """docs/benchmarks.md states one figure for a step, and what it makes for the whole studies."""
  text = ' '.join((ROOT / 'docs' / 'benchmarks.md').read_text().split())
  step = float(re.search(r'\*\*([\d.]+) s\*\* per training step', text)[1])
  for clips, unit, seconds in ((63497, 'days', 86400), (5239, 'hours', 3600)):
    steps = -(-clips // 64)
    stated = re.search(rf'{steps:,} steps per epoch.{{0,80}}?\*\*([\d.]+) {unit}\*\*', text)
    assert stated, (steps, unit)
    assert float(stated[1]) == pytest.approx(100 * steps * step / seconds, abs=0.05)
  for name in ('scv2', 'us8k'):
    comment = (ROOT / 'launch' / f'{name}.flags').read_text().split('--')[0]
    assert 'docs/benchmarks.md' in (ROOT / 'launch' / f'{name}.flags').read_text(), comment
