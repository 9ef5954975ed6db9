"""The report of a trained study, as text and in a browser."""

import argparse
import csv
import dataclasses
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from absl.flags import FlagValues

from data_prep import files
from data_prep.errors import UserError
from m3net_jax import report as report_command
from m3net_jax.network import image, models
from m3net_jax.network.variants import Switches, architecture_of
from m3net_jax.reporting import channel_weights, report, summary
from m3net_jax.reporting import html as report_html
from m3net_jax.reporting import text as report_text
from m3net_jax.reporting.content import _before_added, gather
from m3net_jax.study import checkpoint, splits, workdir
from m3net_jax.study.cohorts import LaneName
from tests import small_study

CONFIG = dataclasses.replace(small_study.CONFIG, variants=('full', 'plain', 'eca'), num_epochs=2)
CHROMIUM = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)


@pytest.fixture(scope='module')
def finished(tones, tmp_path_factory):
  """The workdir of a finished study of three variants, with its report."""
  study = small_study.train(tones, tmp_path_factory.mktemp('reported') / 'study', CONFIG)
  report.write(study)
  return study


@pytest.fixture
def altered(finished, tmp_path):
  """A copy of the finished study, for tests that change it."""
  shutil.copytree(finished.path, tmp_path / 'copy')
  return workdir.read(tmp_path / 'copy')


class Page(html.parser.HTMLParser):
  """The addresses in src, href, url() and @import of a page, its ids, text and elements."""

  def __init__(self, text):
    super().__init__()
    self.addresses, self.ids, self.words, self.tags = [], [], [], []
    self.feed(text)
    self.addresses += re.findall(r'url\(\s*["\']?([^)"\']*)', text) + re.findall(
      r'@import\s+["\']?([^"\';]*)', text
    )

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    attributes = dict(attrs)
    self.ids += [attributes['id']] if 'id' in attributes else []
    self.addresses += [
      attributes[name]
      for name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action')
      if name in attributes
    ]

  def handle_data(self, data):
    self.words.append(data)

  @property
  def outside(self):
    """The addresses outside the page."""
    return [address for address in self.addresses if not address.startswith(('#', 'data:'))]

  @property
  def text(self):
    """The words of the page."""
    return ' '.join(' '.join(self.words).split())


def read(study):
  """The HTML page of a study."""
  return Page((study.path / 'report.html').read_text())


def test_the_page_asks_for_nothing_outside_itself(finished):
  page = read(finished)
  assert page.outside == [] and 'script' not in page.tags and 'link' in page.tags
  assert len(page.ids) == len(set(page.ids))
  inside = {address[1:] for address in page.addresses if address.startswith('#')}
  assert inside and inside <= set(page.ids)
  # The same parser finds addresses outside the page.
  for markup in (
    '<img src="https://a.b/c.png">',
    '<link href="//a.b/c.css">',
    '<style>@import "http://a.b"</style>',
    '<p style="background: url(http://a.b/c)">',
    '<use xlink:href="other.svg#a">',
  ):
    assert Page(markup).outside


def test_the_numbers_of_the_page_are_those_of_the_study(finished):
  text, content = read(finished).text, finished.results()
  full = content['variants']['full']
  assert f'{100 * full["mean"]:.2f} %' in text
  assert full['intervals']
  for row in full['intervals']:
    ends = [min(100, max(0, 100 * end)) for end in row['ci95']]
    assert '{:.2f} to {:.2f}'.format(*ends) in text and row['about'] in text
  assert f'{full["parameters"]["total"]:,}' in text and f'{full["macs"]:,}' in text
  assert 'No published result is comparable' in text and 'cannot reach 0.05' in text
  for words in (
    '--variants=full,plain,eca',
    '--num_epochs=2',
    f'jax {content["versions"]["jax"]}',
    'random 6:2:2',
    '6 lanes (seeds 0 to 1 of every variant), 2 epochs',
  ):
    assert words in text


def test_the_command_of_the_page_makes_the_same_settings(finished):
  command = re.search(
    r'<pre>(.*?)</pre>', (finished.path / 'report.html').read_text(), re.DOTALL
  ).group(1)
  words = command.replace('\\\n', ' ').split()
  assert words[:3] == ['python', '-m', 'm3net_jax.main']
  parser = argparse.ArgumentParser()
  for word in words[3:]:
    parser.add_argument(word.split('=')[0])
  flags = vars(parser.parse_args(words[3:]))
  assert flags['variants'].split(',') == list(CONFIG.variants) and flags['learning_rate'] == '0.01'
  assert [int(flags[name]) for name in ('num_seeds', 'num_epochs', 'batch_size')] == [2, 2, 12]
  assert [
    flags[name]
    for name in ('input_shape', 'clip_seconds', 'sample_rate', 'n_fft', 'hop_length', 'n_mels')
  ] == ['16,16,1', '0.25', '8000', '256', '128', '16']
  assert 'min_learning_rate' not in flags  # at its default
  assert flags['raw_dir'] == 'FOLDER_OF_THE_RECORDINGS' and 'skip_unreadable' not in flags
  assert 'silence_clips' not in flags
  command = report_text.command(
    CONFIG, finished.features, {'name': 'fsdd', 'skipped_recordings': 2}, 'a'
  )
  assert '--skip_unreadable=true' in command and 'raw_dir' not in command
  silent = {'name': 'folder', 'skipped_recordings': 0, 'silence_clips': 0}
  assert '--silence_clips=0' in report_text.command(CONFIG, finished.features, silent, 'a')


def test_leakage_is_counted_where_speakers_are_known_and_said_to_be_unknown_where_not(altered):
  text = read(altered).text
  assert 'Leakage is unknown' in text and '0 recordings (speakers are not named)' in text
  content = altered.results()
  content['corpus'] |= {'shared_groups': 4, 'test_clips_in_shared_groups': 9}
  both = ' '.join(report_text.warnings(content))  # several clips of a recording, as of noise
  assert 'Leakage: 4 recordings are in both' in both and 'Leakage is unknown' in both
  content['corpus'] |= {'num_groups': 6}
  files.write_json(altered.path / 'results.json', content)
  report.write(altered)
  text = read(altered).text
  assert (
    'Leakage: 4 speakers or recordings are in both train and test, and 9 of 12 test clips belong '
    'to them.' in text
  )
  assert 'unknown' not in text
  assert '4 speakers or recordings in both train and test' in summary.text(content)


def test_confusions_and_hardest_clips_come_from_the_predictions(finished, tones):
  content = gather(finished)
  (split,) = splits.make(tones, 'random')
  wrong = np.zeros(len(tones.labels), int)
  for key, predicted in finished.predictions().items():
    if key.startswith('full/'):
      wrong[split.test] += predicted != tones.labels[split.test]
  counts = content.confusions['full'].counts
  assert counts.sum() == 2 * len(split.test) and counts.sum() - np.trace(counts) == wrong.sum()
  rows = list(csv.reader((finished.path / 'tables/confusion.csv').open()))
  assert rows[0][2:] == [f'Taken for, {name}' for name in tones.classes]
  assert [[int(cell or 0) for cell in row[2:]] for row in rows[1:]] == counts.tolist()
  hard = {clip['path']: clip['wrong'] for clip in content.hard}
  # There are 12 test clips, and up to 12 are shown.
  assert hard == {tones.paths[i]: wrong[i] for i in np.flatnonzero(wrong)}
  page = read(finished)
  # A line may break after a folder.
  assert all(path in page.text.replace('/ ', '/') for path in hard)
  pictures = [address for address in page.addresses if address.startswith('data:image/png')]
  assert len(pictures) == len(hard)


def test_channel_weights_are_those_of_the_network_and_of_variants_that_have_them(finished, tones):
  (split,) = splits.make(tones, 'random')
  learned = channel_weights.learned(finished, tones, [split])
  assert set(learned) == {'full', 'eca'} and learned['full'].mean.shape == (2, 64)
  lane = checkpoint.restore_lane(
    CONFIG, finished.seed_ranges, 3, 1, finished.path, LaneName('full', 1, 0)
  )
  model = models.M3Net(architecture_of('full'), 3, 'conv')
  pictures = image.to_image(
    np.asarray(tones.mels[split.test]),
    CONFIG.input_shape,
    lane.scaling,
    channels=CONFIG.channels,
    normalisation=CONFIG.normalisation,
  )
  weights = np.asarray(
    model.apply(lane.best.variables, pictures, train=False, switches=Switches())[1]['eca']
  )[:, 0, 0]
  assert np.allclose(learned['full'].mean[1], weights.mean(0), atol=1e-5)
  assert np.allclose(learned['full'].std[1], weights.std(0), atol=1e-5)
  assert np.array_equal(
    learned['full'].taps[1], lane.best.variables['params']['dfp']['eca']['kernel'].ravel()
  )


def test_every_table_is_a_csv_and_a_latex_file(finished):
  names = {path.stem for path in (finished.path / 'tables').iterdir()}
  assert {
    'variants',
    'intervals',
    'table1_2',
    'table5',
    'tests',
    'classes',
    'confusion',
    'channel_weights',
    'blocks_macs',
    'blocks_parameters',
    'order',
    'side_by_side',
  } == names
  for name in names:
    assert (finished.path / 'tables' / f'{name}.tex').read_text().count('\\end{tabular}') == 1
  rows = list(csv.DictReader((finished.path / 'tables/variants.csv').open()))
  assert [row['Variant'] for row in rows] == ['full', 'plain', 'eca'] and rows[0]['Lanes'] == '2'
  markdown = (finished.path / 'report.md').read_text()
  assert '| plain |' in markdown and '95 % interval' in markdown and '## Tests' in markdown


def test_a_synthetic_corpus_is_called_so_everywhere(altered):
  content = altered.results()
  content['corpus'] |= {'name': 'synthetic_commands', 'synthetic': True}
  files.write_json(altered.path / 'results.json', content)
  report.write(altered)
  assert 'Synthetic speech, not recordings' in read(altered).text
  assert 'Synthetic speech, not recordings' in (altered.path / 'report.md').read_text()
  for path in (altered.path / 'tables').iterdir():
    assert 'synthetic' in path.read_text(), path.name
  captions = re.findall(
    r'<figure class="table">\s*<figcaption>(.*?)\.</figcaption>',
    (altered.path / 'report.html').read_text(),
  )
  assert len(captions) == 10 + 4 and all('synthetic' in caption for caption in captions)


def test_without_its_store_the_report_says_what_is_missing_and_why(altered):
  config = json.loads((altered.path / 'config.json').read_text())
  nowhere = {'store': '/nowhere/store', 'store_from_here': '/nowhere/store'}
  files.write_json(altered.path / 'config.json', config | nowhere)
  report.write(workdir.read(altered.path))
  text = read(altered).text
  assert text.count('/nowhere/store') == 2 and 'is not there: run the command' in text
  assert 'Hardest clips' not in text
  assert f'{100 * altered.results()["variants"]["full"]["mean"]:.2f} %' in text
  files.write_json(altered.path / 'config.json', config | {'store_sha256': 'other'})
  report.write(workdir.read(altered.path))
  assert 'was trained on (other arrays)' in read(altered).text


def test_a_measurement_of_fewer_seeds_says_so(finished):
  said = [_before_added(seeds, finished.results()) for seeds in ({0, 1}, {0})]
  assert said == ['', ', of seeds 0 to 0 alone']


def test_names_of_classes_and_files_are_text_not_markup(finished):
  content = gather(finished)
  bad = '<img src=http://a.b onerror=alert(1)>'
  confusions = {'full': content.confusions['full']._replace(classes=(bad, 'b', 'c'))}
  page = Page(report_html.render_html(content._replace(confusions=confusions, title=bad)))
  assert page.outside == [] and bad in page.text


def test_the_proof_of_an_export_is_shown(altered):
  row = {
    'runtime': 'TFLite Micro',
    'kind': 'int8',
    'accuracy': 0.9375,
    'agreement': 0.99,
    'lost': 3,
    'won': 1,
    'largest_logit_difference': 0.5,
    'change_by_class': {'low': -0.05, 'high': None},
  }
  files.write_json(
    altered.path / 'export.json',
    {
      'name': 'full, seed 3',
      'runtimes': [row],
      'files': {'int8': {'bytes': 58224, 'arena': {'total': 52304}}},
    },
  )
  report.write(altered)
  text = read(altered).text
  assert 'The exported lane, full, seed 3, in every runtime' in text
  assert 'TFLite Micro int8 93.75 99.00 3, 1 0.5 −5.00 58,224 52,304' in text
  assert 'class TFLite Micro int8' in text and 'low −5.00 high' in text
  files.write_json(altered.path / 'export.json', {'name': 'full, seed 3', 'runtimes': [row]})
  with pytest.raises(UserError, match="export.json: has no 'files': export the study again"):
    report.write(altered)


@pytest.mark.skipif(not CHROMIUM, reason='chromium is not installed')
@pytest.mark.parametrize('width, dark', [(1280, False), (390, True)])
def test_a_browser_shows_it_without_an_error_or_a_request(finished, tmp_path, width, dark):
  """The page is in a frame of the screen's width, because a window has a minimum width.

  A script that the test adds to the page measures it.
  """
  content = gather(finished)
  # The page of a study without ablations names a flag. The script makes the page narrower step by
  # step, so lines break at every position.
  page = report_html.render_html(content._replace(paper=content.paper[:1]))
  assert report_html.render_html(content) == (finished.path / 'report.html').read_text()
  measure = (
    '<script>onload = () => parent.postMessage([document.documentElement.scrollWidth, innerWidth, '
    'document.querySelectorAll("section").length, document.fonts.status, '
    'getComputedStyle(document.body).backgroundColor.replaceAll(" ", ""), ...lines()].join(" "), '
    '"*");'
    'function* lines() { for (let width = innerWidth; width > 200; width -= 5) {'
    '  document.body.style.width = width + "px";'
    '  for (const flag of document.querySelectorAll(".flag"))'
    '    yield flag.getClientRects().length } }'
    '</script></body>'
  )
  (tmp_path / 'report.html').write_text(page.replace('</body>', measure))
  frame = (
    f'<script>onmessage = event => document.title = event.data</script>'
    f'<iframe src="report.html" style="border: 0; width: {width}px; height: 900px"></iframe>'
  )
  dom, messages, urls = browse(frame, tmp_path, 1400, dark)
  assert messages == [] and urls == []
  scrolled, inner, sections, fonts, background, *lines = (
    re.search(r'<title>(.*?)</title>', dom).group(1).split()
  )
  assert int(scrolled) <= int(inner) == width and int(sections) == 8 and fonts == 'loaded'
  assert set(lines) == {'1'}  # every flag's name on one line
  assert background == ('rgb(20,23,27)' if dark else 'rgb(255,255,255)')


@pytest.mark.skipif(not CHROMIUM, reason='chromium is not installed')
def test_the_browser_would_have_told(tmp_path):
  page = (
    '<img src="http://127.0.0.1:9/a.png"><p style="background: url(http://127.0.0.1:9/b.png)">x</p>'
    '<script>console.error("here"); nothing()</script>'
  )
  _, messages, urls = browse(page, tmp_path, 390)
  assert len(messages) >= 2 and urls == ['http://127.0.0.1:9/a.png', 'http://127.0.0.1:9/b.png']


def browse(page, folder, width, dark=False):
  """The DOM of the page, its messages on the console, and the addresses that it requests."""
  (folder / 'page.html').write_text(page)
  ended = subprocess.run(
    [
      CHROMIUM,
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-quic',
      f'--blink-settings=preferredColorScheme={0 if dark else 1}',
      '--no-first-run',
      '--disable-component-update',
      '--disable-sync',
      f'--user-data-dir={folder / "profile"}',
      f'--window-size={width},900',
      f'--log-net-log={folder / "net.json"}',
      '--enable-logging=stderr',
      '--virtual-time-budget=3000',
      '--dump-dom',
      f'file://{folder / "page.html"}',
    ],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert ended.returncode == 0, ended.stderr
  events = [
    event.get('params', {}) for event in json.loads((folder / 'net.json').read_text())['events']
  ]
  # Requests of the browser itself have no origin.
  urls = [
    event['url']
    for event in events
    if event.get('initiator', 'not an origin') != 'not an origin' and 'url' in event
  ]
  return ended.stdout, re.findall(r'CONSOLE.*', ended.stderr), list(dict.fromkeys(urls))


def test_the_command_reports_one_study(finished, tmp_path, capsys):
  report_command.main([str(finished.path)], FlagValues())
  printed = capsys.readouterr().out
  assert 'wrote ' + str(finished.path / 'report.html') in printed and '95 % interval' in printed
  for arguments, reason in (([], 'which study'), ([str(tmp_path)], 'holds no study')):
    with pytest.raises(UserError, match=reason):
      report_command.main(arguments, FlagValues())
