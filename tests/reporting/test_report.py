"""The report of a trained study, in text and in a browser; and finished studies compared."""

import copy
import csv
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from absl.flags import FlagValues
from scipy import stats

from data_prep import files
from data_prep import store as stores
from data_prep.errors import UserError
from data_prep.prepare import prepare
from m3net_jax import report as report_command
from m3net_jax.network import models
from m3net_jax.network.variants import Switches, architecture_of
from m3net_jax.reporting import compare, report, summary
from m3net_jax.reporting import html as report_html
from m3net_jax.reporting import text as report_text
from m3net_jax.reporting.content import gather, picture
from m3net_jax.study import checkpoint, results, splits, trainer, workdir
from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.config import Config
from tests.conftest import FEATURES

CONFIG = Config(
  variants=('full', 'plain', 'eca'),
  num_seeds=2,
  num_epochs=2,
  batch_size=12,
  learning_rate=0.01,
  input_shape=(16, 16, 1),
)
CHROMIUM = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)


@pytest.fixture(scope='module')
def finished(tones, tmp_path_factory):
  """A finished study of three variants, with its report; returns its Workdir."""
  made = splits.make(tones, CONFIG.split)
  here = workdir.open_for(
    tmp_path_factory.mktemp('reported') / 'study', CONFIG, tones.features, tones.path, tones.sha256
  )
  trained = trainer.train(CONFIG, here.seed_ranges, tones, made, here.path)
  here.write_predictions(trainer.predictions_by_key(trained, made))
  rows = [row for cohort in trained for row in cohort.rows]
  files.write_json(
    here.path / 'results.json', results.build(CONFIG, tones, made, rows, compilations=8, seconds=1)
  )
  report.write(here)
  return here


@pytest.fixture
def again(finished, tmp_path):
  """A copy of that study to alter."""
  shutil.copytree(finished.path, tmp_path / 'copy')
  return workdir.read(tmp_path / 'copy')


class Page(html.parser.HTMLParser):
  """What a page asks for: whatever stands in src, href, url() and @import; and its ids, text and elements."""

  def __init__(self, text):
    super().__init__()
    self.asked, self.ids, self.words, self.tags = [], [], [], []
    self.feed(text)
    self.asked += re.findall(r'url\(\s*["\']?([^)"\']*)', text) + re.findall(
      r'@import\s+["\']?([^"\';]*)', text
    )

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    attributes = dict(attrs)
    self.ids += [attributes['id']] if 'id' in attributes else []
    self.asked += [
      attributes[name]
      for name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action')
      if name in attributes
    ]

  def handle_data(self, data):
    self.words.append(data)

  @property
  def outside(self):
    return [each for each in self.asked if not each.startswith(('#', 'data:'))]

  @property
  def text(self):
    return ' '.join(' '.join(self.words).split())


def read(here):
  return Page((here.path / 'report.html').read_text())


def test_the_page_asks_for_nothing_outside_itself(finished):
  page = read(finished)
  assert page.outside == [] and 'script' not in page.tags and 'link' in page.tags
  assert len(page.ids) == len(set(page.ids))
  inside = {each[1:] for each in page.asked if each.startswith('#')}
  assert inside and inside <= set(page.ids)
  # The same parser finds what would leave the page.
  for bad in (
    '<img src="https://a.b/c.png">',
    '<link href="//a.b/c.css">',
    '<style>@import "http://a.b"</style>',
    '<p style="background: url(http://a.b/c)">',
    '<use xlink:href="other.svg#a">',
  ):
    assert Page(bad).outside


def test_the_numbers_of_the_page_are_those_of_the_study(finished):
  text, found = read(finished).text, finished.results()
  full = found['variants']['full']
  assert f'{100 * full["mean"]:.2f} %' in text
  assert '{:.2f} to {:.2f}'.format(*(100 * end for end in full['ci95'])) in text
  assert f'{full["parameters"]["total"]:,}' in text and f'{full["macs"]:,}' in text
  assert 'No published result is comparable' in text and 'cannot reach 0.05' in text
  for said in (
    '--variants=full,plain,eca',
    '--num_epochs=2',
    f'jax {found["versions"]["jax"]}',
    'random 6:2:2',
    '6 lanes (seeds 0 to 1 of every variant), 2 epochs',
  ):
    assert said in text


def test_the_command_of_the_page_makes_the_same_settings(finished):
  import argparse

  shown = re.search(
    r'<pre>(.*?)</pre>', (finished.path / 'report.html').read_text(), re.DOTALL
  ).group(1)
  words = shown.replace('\\\n', ' ').split()
  assert words[:3] == ['python', '-m', 'm3net_jax.main']
  parser = argparse.ArgumentParser()
  for word in words[3:]:
    parser.add_argument(word.split('=')[0])
  given = vars(parser.parse_args(words[3:]))
  assert given['variants'].split(',') == list(CONFIG.variants) and given['learning_rate'] == '0.01'
  assert [int(given[name]) for name in ('num_seeds', 'num_epochs', 'batch_size')] == [2, 2, 12]
  assert [
    given[name]
    for name in ('input_shape', 'clip_seconds', 'sample_rate', 'n_fft', 'hop_length', 'n_mels')
  ] == ['16,16,1', '0.25', '8000', '256', '128', '16']
  assert 'min_learning_rate' not in given  # at its default
  assert given['raw_dir'] == 'FOLDER_OF_THE_RECORDINGS' and 'skip_unreadable' not in given
  named = report_text.command(
    CONFIG, finished.features, {'name': 'fsdd', 'skipped_recordings': 2}, 'a'
  )
  assert '--skip_unreadable=true' in named and 'raw_dir' not in named


def test_leakage_is_counted_where_speakers_are_known_and_said_to_be_unknown_where_not(again):
  assert (
    'Leakage is unknown' in read(again).text
    and '0 recordings (speakers are not named)' in read(again).text
  )
  found = again.results()
  found['corpus'] |= {'num_groups': 6, 'shared_groups': 4, 'test_clips_in_shared_groups': 9}
  files.write_json(again.path / 'results.json', found)
  report.write(again)
  text = read(again).text
  assert (
    'Leakage: 4 speakers or recordings are in both train and test, and 9 of 12 test clips are theirs.'
    in text
  )
  assert (
    'unknown' not in text
    and '4 speakers or recordings in both train and test' in summary.text(found)
  )


def test_confusions_and_hardest_clips_come_from_the_predictions(finished, tones):
  content = gather(finished)
  (split,) = splits.make(tones, 'random')
  wrong = np.zeros(len(tones.labels), int)
  for key, predicted in finished.predictions().items():
    if key.startswith('full/'):
      wrong[split.test] += predicted != tones.labels[split.test]
  counts = content.confusions['full'].counts
  assert counts.sum() == 2 * len(split.test) and counts.sum() - np.trace(counts) == wrong.sum()
  written = list(csv.reader((finished.path / 'tables/confusion.csv').open()))
  assert written[0][2:] == [f'Taken for, {name}' for name in tones.classes]
  assert [[int(cell or 0) for cell in row[2:]] for row in written[1:]] == counts.tolist()
  shown = {clip['path']: clip['wrong'] for clip in content.hard}
  assert shown == {
    tones.paths[i]: wrong[i] for i in np.flatnonzero(wrong)
  }  # 12 test clips, of which 12 are shown
  page = read(finished).text
  assert all(
    path in page.replace('/ ', '/') for path in shown
  )  # a name may end a line after its folder
  pictures = [each for each in read(finished).asked if each.startswith('data:image/png')]
  assert len(pictures) == len(shown)


def test_a_picture_is_the_clip_with_low_frequencies_below(tones):
  import base64
  import io

  from matplotlib import image

  mel = np.zeros((4, 6), np.float16)
  mel[0] = 10  # the lowest band
  pixels = image.imread(io.BytesIO(base64.b64decode(picture(mel).split(',')[1])))
  assert pixels.shape[:2] == (4, 6)
  assert (pixels[-1, :, :3].sum(-1) > 2).all() and (pixels[:-1, :, :3].sum(-1) < 0.1).all()


def test_channel_weights_are_those_of_the_network_and_of_variants_that_have_them(finished, tones):
  from m3net_jax.network import image
  from m3net_jax.reporting import channel_weights

  (split,) = splits.make(tones, 'random')
  found = channel_weights.learned(finished, tones, [split])
  assert set(found) == {'full', 'eca'} and found['full'].mean.shape == (2, 64)
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
  assert np.allclose(found['full'].mean[1], weights.mean(0), atol=1e-5)
  assert np.allclose(found['full'].std[1], weights.std(0), atol=1e-5)
  assert np.array_equal(
    found['full'].taps[1], lane.best.variables['params']['dfp']['eca']['kernel'].ravel()
  )


def test_every_table_is_a_csv_and_a_latex_file(finished):
  names = {path.stem for path in (finished.path / 'tables').iterdir()}
  assert {
    'variants',
    'table1_2',
    'table5',
    'tests',
    'classes',
    'confusion',
    'channel_weights',
    'blocks_macs',
    'blocks_parameters',
    'order',
  } == names
  for name in names:
    assert (finished.path / 'tables' / f'{name}.tex').read_text().count('\\end{tabular}') == 1
  rows = list(csv.DictReader((finished.path / 'tables/variants.csv').open()))
  assert [row['Variant'] for row in rows] == ['full', 'plain', 'eca'] and rows[0]['Lanes'] == '2'
  markdown = (finished.path / 'report.md').read_text()
  assert '| plain |' in markdown and '95 % interval' in markdown and '## Tests' in markdown


def test_a_synthetic_corpus_is_called_so_everywhere(again):
  found = again.results()
  found['corpus'] |= {'name': 'synthetic_commands', 'synthetic': True}
  files.write_json(again.path / 'results.json', found)
  report.write(again)
  assert 'Synthetic speech, not recordings' in read(again).text
  assert 'Synthetic speech, not recordings' in (again.path / 'report.md').read_text()
  for path in (again.path / 'tables').iterdir():
    assert 'synthetic' in path.read_text(), path.name
  captions = re.findall(
    r'<figure class="table">\s*<figcaption>(.*?)\.</figcaption>',
    (again.path / 'report.html').read_text(),
  )
  assert len(captions) == 9 + 3 and all('synthetic' in caption for caption in captions)


def test_without_its_store_the_report_says_what_is_missing_and_why(again):
  asked = json.loads((again.path / 'config.json').read_text())
  files.write_json(again.path / 'config.json', asked | {'store': '/nowhere/store'})
  report.write(workdir.read(again.path))
  text = read(again).text
  assert text.count('/nowhere/store') == 2 and 'no store: prepare it' in text
  assert (
    'Hardest clips' not in text
    and f'{100 * again.results()["variants"]["full"]["mean"]:.2f} %' in text
  )
  files.write_json(again.path / 'config.json', asked | {'store_sha256': 'other'})
  report.write(workdir.read(again.path))
  assert 'its arrays have changed' in read(again).text


def test_names_of_classes_and_files_are_text_not_markup(again):
  content = gather(again)
  bad = '<img src=http://a.b onerror=alert(1)>'
  confusions = {'full': content.confusions['full']._replace(classes=(bad, 'b', 'c'))}
  page = Page(report_html.render_html(content._replace(confusions=confusions, title=bad)))
  assert page.outside == [] and bad in page.text


def test_the_proof_of_an_export_is_shown(again):
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
    again.path / 'export.json',
    {
      'name': 'full, seed 3',
      'runtimes': [row],
      'files': {'int8': {'bytes': 58224, 'arena': {'total': 52304}}},
    },
  )
  report.write(again)
  text = read(again).text
  assert 'The exported lane, full, seed 3, in every runtime' in text
  assert 'TFLite Micro int8 93.75 99.00 3, 1 0.5 −5.00 58,224 52,304' in text
  assert 'class TFLite Micro int8' in text and 'low −5.00 high' in text
  files.write_json(again.path / 'export.json', {'name': 'full, seed 3', 'runtimes': [row]})
  with pytest.raises(UserError, match="export.json: has no 'files': export the study again"):
    report.write(again)


def test_flags_are_whole_and_names_of_files_break_after_their_parts():
  shown = report_html.flags(
    'as in (--variants=full,no_ma) or python -m a.b, from -1 to 1, by-identical <b>'
  )
  assert shown == (
    'as in (<span class="flag">--variants=</span>full,<wbr>no_ma) or python '
    '<span class="flag">-m</span> a.b, from <span class="flag">-1</span> to 1, by-identical &lt;b&gt;'
  )
  assert report_html.path('a/b_c.wav<') == 'a/<wbr>b_<wbr>c.wav&lt;'


@pytest.mark.skipif(not CHROMIUM, reason='no chromium here')
@pytest.mark.parametrize('width, dark', [(1280, False), (390, True)])
def test_a_browser_shows_it_without_an_error_or_a_request(finished, tmp_path, width, dark):
  """In a frame as wide as the screen, for a window has a least width; a script added here measures it."""
  content = gather(finished)
  # As of a study without ablations, whose page names a flag; made narrower until a line ends there.
  page = report_html.render_html(content._replace(paper=content.paper[:1]))
  assert report_html.render_html(content) == (finished.path / 'report.html').read_text()
  measure = (
    '<script>onload = () => parent.postMessage([document.documentElement.scrollWidth, innerWidth, '
    'document.querySelectorAll("section").length, document.fonts.status, '
    'getComputedStyle(document.body).backgroundColor.replaceAll(" ", ""), ...lines()].join(" "), "*");'
    'function* lines() { for (let width = innerWidth; width > 200; width -= 5) {'
    '  document.body.style.width = width + "px";'
    '  for (const flag of document.querySelectorAll(".flag")) yield flag.getClientRects().length } }'
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


@pytest.mark.skipif(not CHROMIUM, reason='no chromium here')
def test_the_browser_would_have_told(tmp_path):
  bad = (
    '<img src="http://127.0.0.1:9/a.png"><p style="background: url(http://127.0.0.1:9/b.png)">x</p>'
    '<script>console.error("here"); nothing()</script>'
  )
  _, messages, urls = browse(bad, tmp_path, 390)
  assert len(messages) >= 2 and urls == ['http://127.0.0.1:9/a.png', 'http://127.0.0.1:9/b.png']


def browse(page, folder, width, dark=False):
  """The page's DOM, what it told the console, and the addresses it asked for."""
  (folder / 'page.html').write_text(page)
  done = subprocess.run(
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
  assert done.returncode == 0, done.stderr
  events = [
    event.get('params', {}) for event in json.loads((folder / 'net.json').read_text())['events']
  ]
  # What the browser asks for on its own account has no origin.
  asked = [
    event['url']
    for event in events
    if event.get('initiator', 'not an origin') != 'not an origin' and 'url' in event
  ]
  return done.stdout, re.findall(r'CONSOLE.*', done.stderr), list(dict.fromkeys(asked))


# Comparisons need no network: their studies' lanes are written by hand.


def held(path, store, *, config=CONFIG, seeds=range(8), shift=0.0, variants=('full',)):
  """A finished study on `store` with accuracies 0.8 + 0.01 seed + shift, more for later variants."""
  workdir.open_for(path, config, store.features, store.path, store.sha256)
  made = splits.make(store, config.split)
  rows = [
    {
      'variant': variant,
      'seed': seed,
      'split': split.name,
      'status': 'finished',
      'validation_accuracy': 0.5,
      'test_accuracy': 0.8 + 0.01 * seed + (shift + 0.1 * i) * (1 + 0.1 * seed),
      'best_epoch': 1,
    }
    for i, variant in enumerate(variants)
    for split in made
    for seed in seeds
  ]
  written = results.build(
    Config(**{**vars(config), 'variants': variants}), store, made, rows, compilations=1, seconds=1
  )
  files.write_json(path / 'results.json', written)
  return workdir.read(path)


def test_studies_are_paired_by_seed_and_tested_as_scipy_does(tones, tmp_path):
  first = held(tmp_path / 'a', tones, variants=('full', 'no_ma'))
  other = held(
    tmp_path / 'b',
    tones,
    config=Config(**{**vars(CONFIG), 'num_epochs': 9}),
    seeds=range(2, 12),
    shift=-0.03,
  )
  found = compare.compare([first, other])
  assert found.differing == ['num_epochs: a 2, b 9']
  assert [(test['variant'], test['against'], test['n']) for test in found.tests] == [
    ('a:no_ma', 'a:full', 8),
    ('b:full', 'a:full', 6),
  ]
  seeds = np.arange(2, 8)
  expected = stats.wilcoxon(
    (0.8 + 0.01 * seeds - 0.03 * (1 + 0.1 * seeds)) - (0.8 + 0.01 * seeds), method='exact'
  )
  assert (
    found.tests[1]['p_value'] == pytest.approx(expected.pvalue)
    and '6 lanes without a partner' in found.tests[1]['note']
  )
  text = compare.text(found)
  assert max(map(len, text.splitlines())) < 80 and '6 lanes without a partner' in text
  # Beside p all that belongs to it, by hand: b is lower in every pair, so the smaller rank sum is 0.
  tested = text[text.index('against a:full') :]
  line = next(line for line in tested.splitlines() if line.startswith('b:full')).split()
  assert line[1] == '6' and line[-4:-1] == ['0', '-1.00', f'{expected.pvalue:.3f}']
  assert 'Leakage is unknown: the corpus names no speakers' in ' '.join(
    text.split()
  )  # as the report says
  altered = other.results()
  altered['corpus']['test_clips_identical_to_train'] = 2
  files.write_json(other.path / 'results.json', altered)
  warnings = compare.compare([first, other]).warnings
  assert warnings[0].startswith('Leakage is unknown') and warnings[1].startswith('b: 2 of ')


def test_the_same_recordings_with_other_features_are_paired(tones, tones_dir, tmp_path):
  import dataclasses

  finer = stores.load(
    prepare(
      'folder',
      tones_dir,
      tmp_path / 'stores',
      dataclasses.replace(FEATURES, n_mels=8),
      num_processes=1,
    )
  )
  found = compare.compare([held(tmp_path / 'a', tones), held(tmp_path / 'b', finer, shift=0.02)])
  assert found.differing == ['n_mels: a 16, b 8'] and found.tests[0]['n'] == 8


def test_studies_that_cannot_be_paired_are_refused_with_the_reason(tones, tones_dir, tmp_path):
  first = held(tmp_path / 'a', tones)
  fewer = tmp_path / 'fewer'
  shutil.copytree(tones_dir, fewer)
  for path in fewer.glob('*/1*.wav'):
    path.unlink()
  other_clips = stores.load(
    prepare('folder', fewer, tmp_path / 'stores', FEATURES, num_processes=1)
  )
  for study_there, reason in (
    (held(tmp_path / 'clips', other_clips), 'test clips are not the same recordings'),
    (
      held(tmp_path / 'seeds', tones, seeds=range(20, 28)),
      r'shares no seed with a \(seeds 20 to 27 against seeds 0 to 7',
    ),
    (first, 'is named twice'),
  ):
    with pytest.raises(UserError, match=reason):
      compare.compare([first, study_there])
  renamed = held(tmp_path / 'corpus', tones)
  found = renamed.results()
  for field, value, reason in (
    ('name', 'esc10', 'its corpus is esc10, not folder'),
    ('split', 'grouped', 'its --split is grouped, not random'),
    ('classes', ['a', 'b'], 'its classes is 2 classes, not 3 classes'),
  ):
    altered = copy.deepcopy(found)
    altered['corpus'][field] = value
    files.write_json(renamed.path / 'results.json', altered)
    with pytest.raises(UserError, match=reason):
      compare.compare([first, renamed])
  (renamed.path / 'results.json').unlink()
  with pytest.raises(UserError, match='not finished'):
    compare.compare([first, renamed])


def test_the_command_reports_one_study_and_compares_several(finished, tones, tmp_path, capsys):
  report_command.main([str(finished.path)], FlagValues())
  printed = capsys.readouterr().out
  assert 'wrote ' + str(finished.path / 'report.html') in printed and '95 % interval' in printed
  held(tmp_path / 'a', tones)
  held(tmp_path / 'b', tones, shift=0.02)
  report_command.main([str(tmp_path / 'a'), str(tmp_path / 'b')], FlagValues())
  assert 'against a:full' in capsys.readouterr().out
  for arguments, reason in (([], 'which study'), ([str(tmp_path)], 'holds no study')):
    with pytest.raises(UserError, match=reason):
      report_command.main(arguments, FlagValues())
