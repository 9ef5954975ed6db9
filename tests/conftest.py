"""Shared by all tests: two host devices (a study makes one per core) and a small store of tones.

The class of a tone is its pitch.
"""

import contextlib
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from data_prep import store
from data_prep.features import Features
from data_prep.prepare import prepare

# A background job of a shell ignores Ctrl-C; commands that tests stop with Ctrl-C must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update('jax_num_cpu_devices', 2)
# Compiling takes most of the tests' time; compiled programs are kept for other tests and runs.
CACHE = str(Path(__file__).parents[1] / '.pytest_cache' / 'compiled')
jax.config.update('jax_compilation_cache_dir', CACHE)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
# The same for commands and notebooks that tests start.
os.environ['JAX_COMPILATION_CACHE_DIR'] = CACHE
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.3'

# The files that take longest begin first, so that no process is left alone with one at the end.
LONGEST = (
  'tests/study/test_whole',
  'tests/commands/test_main',
  'tests/commands/test_hosts',
  'tests/deploy/',
  'tests/examples/',
  'tests/study/',
  'tests/test_api.py',
  'tests/network/',
  'tests/benchmarks/',
)

# Lanes alone, among others, resumed and streamed are the same bit for bit as users have them.
OPTIMISED = (
  'tests/study/test_whole_studies',
  'tests/study/test_lanes',
  'tests/benchmarks/',
)

FEATURES = Features(sample_rate=8000, clip_seconds=0.25, n_fft=256, hop_length=128, n_mels=16)
CLASSES, CLIPS = ('high', 'low', 'middle'), 20


def pytest_collection_modifyitems(items):
  places = [*LONGEST, '']
  items.sort(key=lambda item: next(i for i, p in enumerate(places) if item.nodeid.startswith(p)))


@pytest.fixture(scope='session')
def tones_dir(tmp_path_factory):
  """Recordings in the `folder` layout: three classes of twenty recordings."""
  root = tmp_path_factory.mktemp('tones')
  rng = np.random.default_rng(0)
  for pitch, name in zip((1800, 300, 800), CLASSES):
    (root / name).mkdir()
    for take in range(CLIPS):
      seconds = np.arange(2000) / 8000
      tone = np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * seconds + rng.uniform(0, 6))
      soundfile.write(
        root / name / f'{take}.wav', 0.3 * tone + 0.05 * rng.standard_normal(2000), 8000
      )
  return root


@pytest.fixture(scope='session')
def tones(tones_dir, tmp_path_factory):
  """The store of the recordings in `tones_dir`."""
  return store.load(
    prepare('folder', tones_dir, tmp_path_factory.mktemp('stores'), FEATURES, num_processes=1)
  )


@pytest.fixture(scope='session')
def trained(tones, tmp_path_factory):
  """The workdir of a finished study of the tones, by optimised programs whoever asks first."""
  from tests import small_study

  with optimised(True):
    return small_study.train(tones, tmp_path_factory.mktemp('trained') / 'study')


@contextlib.contextmanager
def optimised(wanted):
  """Programs are compiled with or without the compiler's optimisations."""
  before = jax.config.values['jax_disable_most_optimizations']
  jax.config.update('jax_disable_most_optimizations', not wanted)
  try:
    yield
  finally:
    jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='module', autouse=True)
def compiling(request):
  """Tests that compare no bits do without optimisations: compiling takes most of their time."""
  with optimised(request.node.nodeid.startswith(OPTIMISED)):
    yield
