"""Setup of the devices: a cache of compiled programs that the user chose stays."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from data_prep import workers
from data_prep.errors import UserError
from m3net_jax.study import devices

CODE = """
import jax
from m3net_jax.study import devices
devices.use_all_cores('ours')
print(jax.device_count(), jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize('chosen', [None, '/tmp/chosen'])
def test_one_device_per_core_and_the_users_cache(tmp_path, chosen):
  environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2]), 'JAX_PLATFORMS': 'cpu'}
  environment.pop('JAX_COMPILATION_CACHE_DIR')
  if chosen:
    environment['JAX_COMPILATION_CACHE_DIR'] = chosen
  ended = subprocess.run(
    [sys.executable, '-c', CODE],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  devices, cache = ended.stdout.split()
  assert int(devices) == workers.num_cores() and cache == (chosen or str(tmp_path / 'ours'))


@pytest.mark.parametrize(
  'name, value, needed',
  [
    ('jax_enable_x64', True, 'False'),
    ('jax_default_prng_impl', 'rbg', "'threefry2x32'"),
    ('jax_threefry_partitionable', False, 'True'),
  ],
)
def test_a_notebook_that_computes_otherwise_is_told(name, value, needed, tmp_path):
  before = getattr(jax.config, name)
  jax.config.update(name, value)
  try:
    with pytest.raises(UserError, match=f'{name}={value}: a study needs {needed}: call jax.config'):
      devices.use_all_cores(tmp_path)
  finally:
    jax.config.update(name, before)
