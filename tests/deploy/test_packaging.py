"""A bundle as an Arduino library, a component of ESP-IDF and a CMake project."""

import dataclasses
import re
import shutil
from urllib.parse import urlparse

import numpy as np
import pytest

from m3net_jax.deploy import bundle, packaging
from tests.deploy import boards
from tests.deploy.test_bundle import SPEC, sources

KINDS = ('float32', 'int8')
ODD = ('a: b', 'x=y # no', '"quoted"', "it's", 'drei\\vier', 'two\nlines', '日本', '- {}', '👏')
# Of Arduino's library specification, rev. 2.2.
CATEGORIES = {
  'Display',
  'Communication',
  'Signal Input/Output',
  'Sensors',
  'Device Control',
  'Timing',
  'Data Storage',
  'Data Processing',
  'Other',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A bundle without its models and its card."""
  place = tmp_path_factory.mktemp('bundle')
  bundle.write_sources(place, sources(SPEC), packaging.files('digits', SPEC, KINDS))
  return place


@pytest.mark.parametrize(
  'folder_name, name',
  [
    ('digits', 'M3Net_digits'),
    ('my words (2)', 'M3Net_my_words_2'),
    ('Straße', 'M3Net_Stra_e'),
    ('日本', 'M3Net'),
    ('../..', 'M3Net'),
    ('x' * 100, 'M3Net_' + 'x' * 57),
  ],
)
def test_the_name_of_a_library_from_that_of_a_folder(folder_name, name):
  assert packaging.name_of(folder_name) == name
  assert re.fullmatch('[A-Za-z][A-Za-z0-9_]{0,62}', name)


@pytest.mark.parametrize('classes', [SPEC.classes, ODD], ids=['plain', 'odd'])
def test_arduinos_manifest_has_the_fields_of_its_specification(classes):
  made = packaging.files('my words', dataclasses.replace(SPEC, classes=classes), KINDS)
  lines = made['library.properties'].splitlines()
  fields = dict(line.split('=', 1) for line in lines)
  required = ['name', 'version', 'author', 'maintainer', 'sentence', 'paragraph', 'category']
  required += ['url', 'architectures']
  assert len(fields) == len(lines) and not set(required) - set(fields) and all(fields.values())
  assert not set(fields) - {*required, 'depends', 'includes'}
  assert re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}', fields['name'])
  assert not fields['name'].lower().startswith('arduino')
  assert re.fullmatch(r'\d+\.\d+\.\d+', fields['version'])
  assert fields['category'] in CATEGORIES and fields['architectures'] == '*'
  assert urlparse(fields['url']).scheme == 'https'
  for label in classes:
    assert ' '.join(label.split()) in fields['paragraph']


@pytest.mark.parametrize('classes', [SPEC.classes, ODD], ids=['plain', 'odd'])
def test_the_component_names_tflite_micro(classes):
  yaml = pytest.importorskip('yaml')
  made = packaging.files('x', dataclasses.replace(SPEC, classes=classes), KINDS)
  manifest = yaml.safe_load(made['idf_component.yml'])
  assert re.fullmatch(r'\d+\.\d+\.\d+', manifest['version'])
  assert set(manifest['dependencies']) == {'idf', 'espressif/esp-tflite-micro'}
  assert manifest['description'].endswith(', '.join(' '.join(each.split()) for each in classes))


def test_cmake_lists_every_source(folder):
  text = (folder / 'CMakeLists.txt').read_text()
  listed = re.search(r'set\(sources (.*?)\)', text)[1].split()
  assert listed == sorted(str(path.relative_to(folder)) for path in folder.glob('src/*.cc'))


def test_the_readme_lists_every_file(folder):
  text = (folder / 'README.md').read_text()
  table = '\n'.join(line for line in text.splitlines() if line.startswith('| '))
  for path in folder.rglob('*'):
    if path.is_dir() or path.name == 'README.md':
      continue
    name = path.relative_to(folder)
    stem = str(name.with_suffix(''))
    known = [f'`{name}`', f'`{name.name}`', f'`{stem}.h`, `.cc`', f'`{"/".join(name.parts[:2])}`']
    assert any(each in table for each in known), name
  assert '`model_float32.tflite`, `model_int8.tflite` |' in table
  assert '8,000 Hz' in text and '-ar 8000' in text and 'less than 63 ms' in text
  # The sketch's folder has its name, as Arduino asks.
  assert [path.parent.name for path in folder.rglob('*.ino')] == ['listen']


@pytest.mark.parametrize('compiler', ['g++', 'arm-none-eabi-g++'])
def test_the_programs_of_boards_compile(folder, tmp_path, compiler):
  """As Arduino and ESP-IDF do it: a sketch is C++ that includes Arduino.h."""
  if not shutil.which(compiler):
    pytest.skip(f'needs {compiler}')
  boards.tflite_micro(tmp_path, int(np.prod(SPEC.input_shape)), len(SPEC.classes))
  boards.arduino(tmp_path)
  boards.esp_idf(tmp_path)
  sketch = (folder / 'examples' / 'listen' / 'listen.ino').read_text()
  (tmp_path / 'sketch.cc').write_text('#include <Arduino.h>\n' + sketch)
  boards.compile_all(
    [compiler, '-O1'],
    [tmp_path, folder / 'src'],
    [tmp_path / 'sketch.cc', folder / 'examples' / 'esp_idf' / 'main' / 'main.cc']
    + [*folder.glob('src/*.cc'), folder / 'host' / 'listen.cc'],
    tmp_path,
    std='gnu++14',  # of some of Arduino's cores
  )
