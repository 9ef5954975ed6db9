"""Lanes on 1, 2, 4 and 8 devices of a host, and batches that devices share."""

import os
import subprocess
import sys

import numpy as np
import pytest

LANES = 14
SCRIPT = r'''
import sys
import jax
jax.config.update('jax_num_cpu_devices', int(sys.argv[1]))
import numpy as np
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches
from m3net_jax.study import hyper, lanes, mapping
from m3net_jax.study.input_pipeline import Clips

rng = np.random.default_rng(0)
CLIPS = Clips(
  (10 * rng.standard_normal((40, 16, 12)) - 40).astype(np.float32),
  rng.integers(0, 4, 40).astype(np.int32),
)

def train(count, devices_per_lane):
  """Losses [lanes, steps] and parameters [lanes, all]; the devices; the compiled text."""
  mesh = mapping.make_mesh(count, devices_per_lane)
  total = mapping.padded(count, mesh)
  seeds = np.arange(total, dtype=np.int32) % count
  programs = lanes.make_programs(
    M3Net(VARIANTS['no_ma'], 4, 'shift'), (16, 16, 1), lanes.Training(), channels='magma',
    normalisation='train', lanes_at_once=1, mesh=mesh,
  )
  ones = np.ones(total, np.float32)
  state = programs.init_fn(
    seeds, Switches(*[np.ones(total, bool)] * 4), Scaling(-40 * ones, 10 * ones), None,
    hyper.stack([hyper.PAPER] * total), np.zeros(total, np.int32),
  )
  order = np.stack([np.random.default_rng(s).integers(0, 40, (4, 8)) for s in seeds])
  clips = mapping.place_clips(CLIPS, mesh)
  order = mapping.place_lanes(order.astype(np.int32), mesh)
  text = programs.train_text(state, clips, order)
  state, losses = programs.train_fn(state, clips, order)
  state, losses = programs.train_fn(state, clips, order)
  leaves = jax.tree.leaves(mapping.fetch(state.variables))
  flat = np.concatenate([leaf[:count].reshape(count, -1) for leaf in leaves], 1)
  return mapping.fetch(losses)[:count], flat, mesh.size, text

found = {}
for case in sys.argv[3:]:
  count, per = map(int, case.split('x'))
  losses, flat, size, text = train(count, per)
  words = ('all-reduce', 'all-gather', 'collective-permute', 'all-to-all', 'reduce-scatter')
  found[f'{case}_losses'], found[f'{case}_values'] = losses, flat
  found[f'{case}_devices'], found[f'{case}_sends'] = size, any(word in text for word in words)
np.savez(sys.argv[2], **found)
'''


def run(path, devices, *cases):
  """What each case, lanes x devices per lane, gives with that many devices."""
  file = path / f'{devices}.npz'
  # Compiling takes longest.
  environment = {**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'}
  command = [sys.executable, '-c', SCRIPT, str(devices), str(file), *cases]
  subprocess.run(command, check=True, env=environment)
  with np.load(file) as found:
    return dict(found)


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  path = tmp_path_factory.mktemp('mesh')
  return run(path, 8, f'{LANES}x1', '2x2') | {
    f'alone_{name}': value for name, value in run(path, 1, '2x1').items()
  }


def test_a_lane_is_the_same_on_any_number_of_devices(found):
  """Bit for bit: 14 lanes on 8 devices, 2 on 1."""
  assert (int(found[f'{LANES}x1_devices']), int(found['alone_2x1_devices'])) == (8, 1)
  np.testing.assert_array_equal(found['alone_2x1_values'], found[f'{LANES}x1_values'][:2])


def test_nothing_is_sent_between_lanes(found):
  assert not found[f'{LANES}x1_sends']


def test_devices_that_share_a_batch_give_the_same_to_rounding(found):
  """Batch norm is over the whole batch: were it over the part of a device, losses would differ."""
  assert int(found['2x2_devices']) == 4 and found['2x2_sends']
  losses = found['2x2_losses']
  np.testing.assert_allclose(losses, found[f'{LANES}x1_losses'][: len(losses)], rtol=1e-4)
