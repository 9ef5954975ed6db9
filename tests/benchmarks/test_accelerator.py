"""The script for a card runs on a CPU with tiny sizes, and finds a wrong lowering."""

import itertools
import json
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from m3net_jax.network import ops
from tests import conftest
from tests.benchmarks import (
  accelerator,
  card_equality,
  card_peaks,
  card_programs,
  card_speed,
  card_studies,
  card_table,
  frameworks,
)
from tests.benchmarks.card_sections import TINY, LeftOut, Log, Settings, content


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
  """The results of all sections with tiny sizes, as written, in this process."""
  path = tmp_path_factory.mktemp('card') / 'card.json'
  settings = TINY._replace(precisions=('float32',), lanes=(2,))
  both = accelerator.here(settings)
  one = accelerator.here(settings._replace(lowerings=('shift',)))  # compiling takes longest

  def run(name, *rest):
    if name == 'resume':  # other tests kill and resume commands
      log = Log()
      log.end(skipped='not here')
      return log.events
    return (both if name == 'equality' else one)(name, *rest)

  with pytest.MonkeyPatch.context() as patch, conftest.optimised(False):
    patch.setattr(frameworks, 'installed', lambda name: False)
    # The same for the studies that it starts.
    patch.setenv('XLA_FLAGS', '--xla_backend_optimization_level=0')
    returned = accelerator.measure(30.0, path, run)
  written = json.loads(path.read_text())
  assert written == returned
  return written['sections']


def test_every_section_is_there(measured):
  assert list(measured) == list(accelerator.SECTIONS)
  for name, section in measured.items():
    assert 'error' not in section, name
    assert not [row for row in section['rows'] if 'error' in row], name
    assert section['rows'] or section['skipped'], name
    assert all('no time' not in left['reason'] for left in section['left_out']), name


def test_lowerings_are_equal(measured):
  rows = measured['equality']['rows']
  assert {row['name'] for row in rows} == {
    *card_equality.CONVOLUTIONS,
    *(f'network {lowering} float32' for lowering in TINY.lowerings),
  }
  assert all(row['equal'] for row in rows)


def test_speed_names_every_cell_and_equal_lanes_have_equal_losses(measured):
  rows = measured['speed']['rows']
  assert {(row['lanes'], row['lowering'], row['lanes_at_once']) for row in rows} == {
    (2, 'shift', at_once) for at_once in (1, 2)
  }
  for row in rows:
    assert row['seconds'] > 0 and row['planned_bytes'] > 0 and 0 < row['share_of_peak'] < 1
  assert max(card_table.first_losses(rows).values()) < 1e-5
  assert all(row['planned_bytes'] > 0 for row in measured['memory']['rows'])


def test_every_number_of_lanes_is_planned_and_those_of_the_study_come_first():
  plan = [card_speed._name(*entry) for entry in card_speed._plan(Settings())]
  assert len(set(plan)) == len(plan)
  count = len(Settings().sizes) * len(Settings().lowerings)
  rest = plan[count * (len(Settings().precisions) + 1) :]
  assert all(' 14 lanes ' in name for name in plan[: -len(rest)])
  lanes = [name.split()[1] for name in rest]
  assert [number for number, _ in itertools.groupby(lanes)] == ['1', '126', '28']
  assert len(rest) == 3 * count


def test_a_cell_without_time_is_estimated(monkeypatch):
  monkeypatch.setattr(card_speed.card_programs, 'limit', lambda: 100 * 2**20)
  size, log = TINY.sizes[0], Log()
  row = {
    'input_shape': list(size.input_shape),
    'lowering': 'shift',
    'precision': 'float32',
    'lanes': 14,
    'lanes_at_once': 14,
    'planned_bytes': 14 * 2**20,
    'compile_seconds': 1.0,
    'seconds': 0.07,
  }
  entry = size, 126, 'shift', 'float32', None
  until = time.monotonic() + 1.0
  got = card_speed._cell(TINY, log, until, {}, [row], 'name', *entry)
  assert got['seconds'] == pytest.approx(0.63) and got['estimated_from'] == 14
  assert got['lanes_at_once'] == 63  # 126 would take 126 MiB


def test_the_digits_are_trained_from_end_to_end(tones, monkeypatch):
  made = []

  class Study:
    def __init__(self, store, path, config):
      made.append((store.path, config))

    def train(self, store):
      time.sleep(0.01)

    def results(self):
      return {'variants': {'full': {'lanes': [0] * 14, 'mean': 0.98}}}

    def metrics(self):
      return [{'seconds': 0.002}, {'seconds': 0.004}]

  monkeypatch.setattr(card_studies, '_find_store', lambda folder, features: tones.path)
  monkeypatch.setattr('m3net_jax.api.create', Study)
  settings = Settings(store_dir='stores', lowerings=('shift',), precisions=('tf32',))
  fast = {
    'input_shape': [64, 64, 1],
    'lanes': 14,
    'precision': 'tf32',
    'seconds': 0.002,
    'lowering': 'shift',
  }
  slow = {**fast, 'seconds': 0.01, 'lowering': 'conv'}
  log = Log()
  accelerator.run_section(
    'digits', settings, log, 60.0, {'speed': {'rows': [slow, fast, {'name': 'x', 'error': 'y'}]}}
  )
  (row,) = content(log.events)['rows']
  ((path, config),) = made
  assert path == tones.path and row['clips'] == len(tones.labels)
  # The settings of the flagfile, and the fastest lowering.
  assert (config.num_seeds, config.num_epochs, config.batch_size) == (14, 30, 32)
  assert config.lowering == row['lowering'] == 'shift'
  assert row['training_seconds'] == 0.004 < row['seconds'] and row['test_accuracy'] == 0.98
  assert '14 lanes, 30 epochs, shift' in card_table._digits([row])


def test_hours_of_the_paper_follow_from_a_step(measured):
  row = next(row for row in measured['paper']['rows'] if not row.get('batch_measured', True))
  steps = 100 * -(-63_497 // TINY.sizes[-1].batch)
  batches = 100 * -(-21_166 // TINY.sizes[-1].batch)
  expected = (steps * row['step_seconds'] + batches * row['step_seconds'] / 3) / 3600
  assert row['hours'] == pytest.approx(expected)


def test_what_is_left_out_says_so(measured, monkeypatch):
  assert measured['pytorch']['skipped'] == 'torch is not installed'
  assert '--raw_dir' in measured['digits']['skipped']
  monkeypatch.setattr(card_equality, 'CONVOLUTIONS', {})
  log = Log()
  accelerator.run_section('equality', TINY, log, 0.0, {})  # no time for a network
  left = content(log.events)['left_out']
  assert {entry['name'] for entry in left} >= {'network matmul tf32', 'network conv float32'}
  assert all('s are left' in entry['reason'] for entry in left)


def test_the_table_fits_a_terminal(measured):
  text = card_table.text({'sections': measured, 'seconds': 1.0, 'minutes': 30.0})
  assert max(map(len, text.splitlines())) <= card_table.WIDTH
  assert 'resume: not here' in text and 'digits: neither --raw_dir' in text
  assert 'failed' not in text


@pytest.mark.parametrize('part', ['value', 'gradient'])
@pytest.mark.parametrize('precision', ['float32', 'tf32'])
def test_a_lowering_that_is_off_by_a_hundredth_is_unequal(part, precision):

  def wrong(x, kernel, _, lowering):
    y = ops.pointwise(x, kernel, 'conv')
    if lowering == 'conv':
      return y
    off = 1.01 * y
    return off if part == 'value' else off - jax.lax.stop_gradient(off - y)

  log = Log()
  kernel_of = card_equality.CONVOLUTIONS['pointwise'][1]
  settings = TINY._replace(precisions=(precision,), lowerings=('conv', 'other'))
  card_equality.compare_convolution(log, settings, 'pointwise', wrong, kernel_of, 1)
  (row,) = content(log.events)['rows']
  assert not row['equal'] and row['unequal'] == [f'other {precision}']


def test_an_error_ends_its_cell_alone():
  log = Log()
  log.plan(['first', 'second', 'third', 'fourth'])
  with log.attempt('first'):
    raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying to allocate\n 9 GiB')
  with log.attempt('second'):
    raise LeftOut('no time')
  with log.attempt('third'):
    log.row('third', seconds=1.0)
  section = content(log.events)
  assert section['rows'] == [
    {'name': 'first', 'error': 'out of memory'},
    {'name': 'third', 'seconds': 1.0},
  ]
  assert [entry['name'] for entry in section['left_out']] == ['second', 'fourth']


def test_a_section_that_hangs_is_ended_and_keeps_its_rows(tmp_path, monkeypatch):
  script = (
    'import sys, time; path = next(a[7:] for a in sys.argv if a.startswith("--rows="));'
    'open(path, \'w\').write(\'{"row": {"name": "one"}}\\n\'); time.sleep(60)'
  )
  popen = accelerator.subprocess.Popen
  monkeypatch.setattr(
    accelerator.subprocess,
    'Popen',
    lambda command, **options: popen([command[0], '-c', script, *command[3:]], **options),
  )
  monkeypatch.setattr(accelerator, '_LAST', 0.5)
  begin = time.monotonic()
  events = accelerator._starter(tmp_path, [])('speed', 1.0, {}, lambda events: None)
  assert time.monotonic() - begin < 20
  section = content(events)
  assert section['rows'] == [{'name': 'one'}] and 'was ended' in section['error']


def test_published_rates_go_by_the_whole_name():
  assert card_peaks.published('NVIDIA H100 80GB HBM3').float32 == 67e12
  assert card_peaks.published('NVIDIA H100 PCIe').float32 == 51e12
  assert card_peaks.published('NVIDIA L40') is None
  assert card_peaks.published('cpu') is None


def test_lanes_go_in_the_largest_equal_groups_that_fit():
  assert card_programs.group(126, 1.0, None) == 126
  assert card_programs.group(126, 1.0, 70.0) == 63
  assert card_programs.group(14, 10.0, 5.0) == 1


def test_a_loss_that_is_not_finite_and_a_plan_above_the_memory_are_errors(monkeypatch):
  programs = SimpleNamespace(
    memory=lambda *call: 3 * 2**30, train_fn=lambda *call: (None, np.array([[np.nan]]))
  )
  started = card_programs.Started(programs, None, None, None)
  monkeypatch.setattr(card_programs, 'start', lambda cell: started)
  cell = card_programs.Cell(*TINY.sizes[0], 2, 'shift', 'float32', 2, TINY.variant)
  with pytest.raises(FloatingPointError):
    card_programs.timed(cell)
  monkeypatch.setattr(card_programs, 'limit', lambda: 2 * 2**30)
  log = Log()
  with log.attempt('large'):
    card_programs.timed(cell)
  (row,) = content(log.events)['rows']
  assert row['error'] == 'out of memory: 3.0 GiB of 2.0 planned'


def test_lanes_of_pytorch_under_vmap_train_as_one_model_does():
  torch = pytest.importorskip('torch')
  from tests.benchmarks import card_torch

  device = torch.device('cpu')
  images = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 1, 16, 16), np.float32))
  arguments = 1, 2, images, torch.arange(4), device, False
  one, both = card_torch.model_step(*arguments), card_torch.vmap_step(*arguments)
  for _ in range(3):
    loss, losses = one(), both()
    np.testing.assert_allclose(losses.detach(), [loss.item()] * 2, rtol=1e-4)
