"""What a user must be able to trust: names are text, files are data, nothing calls the network."""

import ast
import configparser
import csv
import dataclasses
import html.parser
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from data_prep import arrays, corpora, files, names, statistics, store
from data_prep.errors import UserError
from data_prep.prepare import prepare
from m3net_jax import predict
from m3net_jax.deploy import cc_text, firmware
from m3net_jax.reporting import report
from m3net_jax.reporting import text as report_text
from m3net_jax.study import arrays_file
from tests import small_study
from tests.command import call
from tests.conftest import FEATURES

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for name in ('m3net_jax', 'data_prep') for path in (ROOT / name).rglob('*'))
CLASSES = (
  '"quote\\',
  '$x^',
  '%s{}_&#~',
  '-rf',
  '<script>alert(1)<script>',
  '[1] *b* `c` ](d)',
  '_a|b_',
  'what??',
)
FILES = ('$a^{', 'new\nline | `b` <i>', '-rf', os.fsdecode(b'\xff'))


@pytest.fixture(scope='module')
def hostile_dir(tmp_path_factory):
  """Recordings whose folders and files have the names above."""
  root = tmp_path_factory.mktemp('hostile')
  rng = np.random.default_rng(0)
  for name in CLASSES:
    (root / name).mkdir()
    for file in FILES:
      with open(root / name / f'{file}.wav', 'wb') as opened:
        soundfile.write(opened, 0.1 * rng.standard_normal(2000), 8000, format='WAV')
  return root


@pytest.fixture(scope='module')
def hostile(hostile_dir, tmp_path_factory):
  """A study of these recordings with its report, and its store."""
  folder = tmp_path_factory.mktemp('studies')
  loaded = store.load(prepare('folder', hostile_dir, folder, FEATURES, num_processes=1))
  config = dataclasses.replace(small_study.CONFIG, num_epochs=1)
  study = small_study.train(loaded, folder / '$(touch x)`\'"', config)
  report.write(study)
  return study, loaded


class Page(html.parser.HTMLParser):
  """The elements of an HTML page, and the text of its cells and code."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.cells, self._open = [], [], False
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    if tag in ('td', 'th', 'code', 'small'):
      self.cells.append('')
      self._open = True

  def handle_endtag(self, tag):
    self._open = self._open and tag not in ('td', 'th', 'code', 'small')

  def handle_data(self, data):
    if self._open:
      self.cells[-1] += data


def test_names_in_the_report_are_text(hostile):
  study, loaded = hostile
  assert loaded.classes == CLASSES
  page = Page((study.path / 'report.html').read_text())
  assert not {'script', 'i'} & set(page.tags)
  assert set(CLASSES) <= set(page.cells)
  assert any('new\\nline | `b` <i>.wav' in cell for cell in page.cells)


def test_names_in_markdown_are_text(hostile):
  markdown_it = pytest.importorskip('markdown_it')
  text = (hostile[0].path / 'report.md').read_text()
  rendered = Page(markdown_it.MarkdownIt().enable(['table', 'strikethrough']).render(text))
  assert not {'script', 'i', 'a', 'em', 's'} & set(rendered.tags)
  assert set(CLASSES) <= set(rendered.cells)
  hard = [line for line in text.splitlines() if '.wav' in line]
  assert len(hard) >= 5 and all(line.startswith('- `') for line in hard)
  assert any('new\\nline | `b` <i>.wav' in cell for cell in rendered.cells)


def test_names_in_latex_and_csv_are_text(hostile):
  tables = hostile[0].path / 'tables'
  for name in ('classes', 'confusion'):
    rows = list(csv.reader(io.StringIO((tables / f'{name}.csv').read_text())))
    assert [row[1] for row in rows[1:]] == list(CLASSES)
    body = (tables / f'{name}.tex').read_text().partition('\\midrule\n')[2]
    lines = body.partition('\\bottomrule')[0].splitlines()
    assert len(lines) == len(CLASSES)
    for line in lines:
      bare = re.sub(r'\\[\\&%$#_{}]', '', line.removesuffix(r' \\'))
      assert bare.count('&') == len(rows[0]) - 2  # without the corpus
      assert not re.search('[%#_~^"]' if name == 'classes' else '[%#_~^]', bare.replace('"', ''))
      assert not line.startswith(('[', '*')) and bare.count('{') == bare.count('}')
      assert bare.count('$') % 2 == 0


@pytest.mark.skipif(not shutil.which('g++'), reason='g++ is not installed')
def test_names_in_labels_h_compile_to_their_bytes(tmp_path):
  given = (*CLASSES, '語', 'a\u2028b', 'new\nline', 'what??/', '\x1b1', '\u202eevil', '\udcff')
  (tmp_path / 'labels.h').write_text(firmware._labels(given), encoding='utf-8')
  (tmp_path / 'main.cc').write_text(
    '#include <cstdio>\n#include "labels.h"\n'
    'int main() { for (auto label : m3net::kLabels) { std::puts(label); std::putchar(0); } }\n'
  )
  subprocess.run(
    ['g++', '-std=c++14', '-Wall', '-Wextra', '-Werror', 'main.cc', '-o', 'main'],
    cwd=tmp_path,
    check=True,
  )
  said = subprocess.run([tmp_path / 'main'], capture_output=True, check=True).stdout
  assert said.split(b'\n\0')[:-1] == [name.encode('utf-8', 'replace') for name in given]
  assert cc_text.string('語') == '"語"'


def test_a_dollar_in_a_picture_is_a_dollar(hostile, hostile_dir, tmp_path):
  study, loaded = hostile
  for number, name in enumerate(FILES):
    picture = tmp_path / f'{number}.png'
    call(
      predict,
      f'--model={study.path}',
      f'--plot={picture}',
      hostile_dir / CLASSES[1] / f'{name}.wav',
    )
    assert picture.stat().st_size > 10_000
  statistics.figure(loaded, tmp_path / 'store.png')


def test_only_numbers_in_a_figure_are_formulas(tmp_path):
  from matplotlib import rc_context
  from matplotlib.figure import Figure

  figure = Figure()
  axes = figure.subplots()
  axes.plot([1, 1000], [0, 1], label='$x^ and $y_{')
  axes.set(xscale='log', title='$a$ costs $2^{', ylabel='line\nbreak \udcff')
  axes.set_yticks([0, 1], ['$p^$', 'q'])
  axes.legend()
  with rc_context({'svg.fonttype': 'none', 'text.usetex': True}):  # no TeX runs
    files.write_figure(tmp_path / 'figure.svg', figure)
  drawn = (tmp_path / 'figure.svg').read_text()
  for name in ('$x^ and $y_{', '$a$ costs $2^{', '$p^$', 'break \\udcff'):
    assert f'>{name}</text>' in drawn
  assert 'mathdefault' not in drawn.partition('</metadata>')[2].replace('<!-- $\\mathdefault', '')


def test_the_command_of_a_report_can_be_pasted(hostile):
  study, _ = hostile
  made = report_text.command(
    study.config, study.features, study.results()['corpus'], str(study.path)
  )
  said = subprocess.run(
    ['sh', '-c', f'printf "%s\\n" {made}'], capture_output=True, text=True, check=True
  )
  words = said.stdout.splitlines()
  assert words == shlex.split(made.replace('\\\n', '')) and f'--workdir={study.path}' in words


@pytest.mark.parametrize(
  'name', ['new\nline', 'a\u2028b', 'no\uffff', 'escape \x1b[2J', ' ', os.fsdecode(b'a\xff')]
)
def test_a_class_with_a_control_character_is_refused(tmp_path, name):
  for label in (name, 'other'):
    (tmp_path / label).mkdir()
    for take in range(3):
      (tmp_path / label / f'{take}.wav').touch()
  with pytest.raises(UserError) as error:
    corpora.read('folder', tmp_path)
  assert ascii(name)[1:-1] in str(error.value) and len(str(error.value).splitlines()) == 1
  with pytest.raises(UserError, match='rename it'):
    arrays.prepare([np.ones(9)] * 3, [name] * 3, 8000, FEATURES, store_dir=tmp_path / 'stores')


def test_what_is_not_shown_becomes_its_escape():
  assert names.visible('é 語 a\nb\x1b[2J\u202e\udcff') == 'é 語 a\\nb\\x1b[2J\\u202e\\udcff'


class Touch:
  """An object whose pickle writes a file when it is read."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return Path.touch, (self.path,)


def test_a_pickle_in_a_file_of_arrays_is_not_read(tmp_path):
  np.savez(tmp_path / 'splits.npz', train=np.array([Touch(tmp_path / 'touched')], object))
  with np.load(tmp_path / 'splits.npz', allow_pickle=True) as saved:
    saved['train']
  (tmp_path / 'touched').unlink()
  with pytest.raises(UserError, match='splits.npz: cannot be read'):
    arrays_file.read(tmp_path / 'splits.npz')
  assert not (tmp_path / 'touched').exists()


def _forbidden(tree: ast.AST):
  """Yields what runs code that is not in the source: pickles, evaluated text, a shell."""
  modules = {'pickle', 'cPickle', 'cloudpickle', 'dill', 'shelve', 'marshal', 'yaml', 'jsonpickle'}
  calls = {'eval', 'exec', 'joblib.load', 'joblib.dump', 'os.system', 'os.popen', 'torch.load'}
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names if alias.name.split('.')[0] in modules)
    elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] in modules:
      yield node.module
    elif isinstance(node, ast.Call):
      yield from (call for call in calls if ast.unparse(node.func) == call)
      yield from (word.arg for word in node.keywords if word.arg in ('allow_pickle', 'shell'))


def test_the_source_reads_no_pickle_and_runs_no_text():
  assert list(
    _forbidden(
      ast.parse(
        'import pickle\nfrom dill import load\nnp.load(x, allow_pickle=True)\njoblib.load(x)\n'
        'subprocess.run(x, shell=True)\neval(x)'
      )
    )
  ) == ['pickle', 'dill', 'allow_pickle', 'joblib.load', 'shell', 'eval']
  modules = [path for path in SOURCES if path.suffix == '.py']
  assert len(modules) > 100
  assert {
    path.relative_to(ROOT).as_posix(): found
    for path in modules
    if (found := list(_forbidden(ast.parse(path.read_text()))))
  } == {}


def test_pages_take_names_as_text_only():
  pages = [path for path in SOURCES if path.suffix in ('.js', '.html', '.j2')]
  assert len(pages) > 10
  unsafe = re.compile(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\| *safe\b')
  assert [path.name for path in pages if unsafe.search(path.read_text())] == []


# Ends the process at the first connection, look-up of a name or datagram that is not local to it.
NO_NETWORK = """
import os, runpy, sys
def refuse(event, arguments):
  if event in ('socket.connect', 'socket.sendto', 'socket.getaddrinfo', 'socket.gethostbyname'):
    if not (event == 'socket.connect' and isinstance(arguments[1], (str, bytes))):  # a Unix socket
      sys.stderr.write(f'network: {event} {arguments[1:]}')
      sys.stderr.flush()
      os._exit(99)
sys.addaudithook(refuse)
sys.argv[0] = 'main'
runpy.run_module('m3net_jax.main', run_name='__main__')
"""


def test_a_study_needs_no_network(tones_dir, tmp_path):
  alone = ['unshare', '--user', '--map-root-user', '--net']
  permitted = (
    shutil.which('unshare') and not subprocess.run([*alone, 'true'], check=False).returncode
  )
  ended = subprocess.run(
    [
      *(alone if permitted else []),
      sys.executable,
      '-c',
      NO_NETWORK,
      '--corpus=folder',
      f'--raw_dir={tones_dir}',
      f'--store_dir={tmp_path / "stores"}',
      f'--workdir={tmp_path / "study"}',
      *('--sample_rate=8000', '--clip_seconds=0.25', '--n_fft=256', '--hop_length=128'),
      *('--n_mels=16', '--input_shape=16,16,1', '--num_seeds=2', '--num_epochs=1'),
      '--batch_size=12',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert ended.returncode == 0, ended.stderr[-2000:]
  assert (tmp_path / 'study/report.html').exists()


EXTRAS = {
  'study': ('synthetic',),
  'test': ('synthetic', 'test', 'export', 'notebook', 'tensorboard'),
  'lint': ('lint',),
}


@pytest.mark.parametrize('name', EXTRAS)
def test_the_lock_has_one_version_of_all_that_setup_cfg_asks_for(name):
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  asked = [setup['options']['install_requires']]
  asked += [setup['options.extras_require'][extra] for extra in EXTRAS[name]]
  lines = (ROOT / f'requirements/{name}.lock').read_text().replace('\\\n', '').splitlines()
  pins = [Requirement(line.partition(' --hash=')[0]) for line in lines if not line.startswith('#')]
  assert all('--hash=sha256:' in line for line in lines if not line.startswith('#'))
  for version in ('3.11', '3.12', '3.13'):
    here = {
      'python_version': version,
      'python_full_version': f'{version}.1',
      'sys_platform': 'linux',
      'platform_system': 'Linux',
    }
    locked = {}
    for pin in pins:
      if pin.marker is None or pin.marker.evaluate(here):
        assert canonicalize_name(pin.name) not in locked
        locked[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix('==')
    for line in '\n'.join(asked).splitlines():
      if line.strip() and not line.startswith('#'):
        requirement = Requirement(line)
        assert requirement.specifier.contains(
          locked[canonicalize_name(requirement.name)], prereleases=True
        ), (line, version)
