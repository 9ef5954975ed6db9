"""The functions for notebooks and programs, on a small study of tones."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import linen as nn

import m3net_jax as m3
from m3net_jax import api
from m3net_jax.study import checkpoint
from tests.conftest import CLASSES, CLIPS, FEATURES

ROOT = Path(__file__).parents[1]
SETTINGS = {
  'num_seeds': 2,
  'num_epochs': 8,
  'batch_size': 12,
  'learning_rate': 0.01,
  'input_shape': (16, 16, 1),
}


def local_class():
  """A Flax class that no import finds, as in a notebook."""

  class TimeOnly(nn.Module):
    @nn.compact
    def __call__(self, x):
      return x * nn.sigmoid(nn.Dense(x.shape[-1])(jnp.flip(x, 2)))

  return TimeOnly


@pytest.fixture(scope='module')
def recordings(tones_dir):
  """The tones as arrays, and their labels."""
  paths = [tones_dir / name / f'{take}.wav' for name in CLASSES for take in range(CLIPS)]
  return [soundfile.read(path)[0] for path in paths], [path.parent.name for path in paths]


@pytest.fixture(scope='module')
def store(recordings, tmp_path_factory):
  """Their store."""
  return m3.prepare_arrays(
    *recordings,
    8000,
    store_dir=tmp_path_factory.mktemp('stores'),
    **{name: getattr(FEATURES, name) for name in ('sample_rate', 'clip_seconds', 'n_fft')},
    hop_length=128,
    n_mels=16,
  )


@pytest.fixture(scope='module')
def own_class():
  return local_class()


@pytest.fixture(scope='module')
def study(store, own_class, tmp_path_factory):
  """A study of `full` and a class."""
  path = tmp_path_factory.mktemp('studies') / 'own'
  return m3.train(store, workdir=path, variants=['full', own_class], **SETTINGS)


def test_a_store_of_arrays_is_that_of_the_same_files(store, tones, recordings):
  order = np.argsort(
    [
      tones.paths.tolist().index(f'{name}/{take}.wav')
      for name, take in [(label, number % CLIPS) for number, label in enumerate(recordings[1])]
    ]
  )
  np.testing.assert_array_equal(store.mels[order], tones.mels)
  assert store.classes == tones.classes and store.features == tones.features
  again = m3.load_store(store.path)
  assert again.sha256 == store.sha256


def test_a_study_from_arrays_with_a_class_as_variant(study, own_class):
  name = f'{own_class.__module__}:{own_class.__qualname__}'
  assert study.finished and study.config.variants == ('full', name)
  lanes = study.lanes()
  assert [(lane['variant'], lane['seed']) for lane in lanes] == [
    ('full', 0),
    ('full', 1),
    (name, 0),
    (name, 1),
  ]
  assert np.mean([lane['test_accuracy'] for lane in lanes]) > 0.6
  assert study.table().rows[1][0] == name and '| Variant |' in study.table()._repr_markdown_()
  assert 'cannot reach 0.05' in study.tests()._repr_markdown_()
  assert (study.path / 'report.html').exists()
  report = (study.path / 'report.md').read_text()
  assert '--corpus=arrays' not in report and 'm3net_jax.train(' in report


def test_what_computed_it_is_on_record(study):
  (environment,) = study.results()['environments']
  assert environment == json.loads((study.path / 'config.json').read_text())['environments'][0]
  assert environment['versions']['jax'] == jax.__version__
  assert environment['device'] not in ('', 'cpu')  # the processor's name
  assert (environment['lowering'], environment['lanes_at_once'], environment['devices']) == (
    'shift',
    1,
    jax.device_count(),
  )


def test_another_margin_tests_a_finished_study_anew(study, store, own_class, tmp_path):
  path = shutil.copytree(study.path, tmp_path / 'study')
  same = {'workdir': path, 'variants': ['full', own_class], **SETTINGS}
  again = m3.train(store, margin=60.0, **same)
  (test,) = again.results()['tests']
  assert test['margin'] == 0.6 and again.config.margin == 60.0
  assert 'below 60 points' in (path / 'report.md').read_text()
  without = lambda content: {**content, 'tests': []}
  assert without(again.results()) == without(study.results())


def test_train_again_reads_what_is_finished(study, store, own_class):
  times = lambda: {
    path: path.stat().st_mtime_ns for path in study.path.rglob('*') if path.suffix != '.lock'
  }
  before = times()
  again = m3.train(store, workdir=study.path, variants=['full', own_class], **SETTINGS)
  assert again == study and again.results() == study.results()
  assert before == times()
  with pytest.raises(m3.UserError, match='holds a study with batch_size=12, this one has 10'):
    m3.train(
      store, workdir=study.path, variants=['full', own_class], **{**SETTINGS, 'batch_size': 10}
    )


def test_a_study_does_not_go_on_with_other_arrays(study, store):
  """The same clips, computed again by another version of a library for example."""
  others = {**store.manifest, 'files': {'mels.npy': {'sha256': 'other'}}}
  with pytest.raises(m3.UserError, match='is not the store that .* was trained on'):
    m3.open_study(study.path).train(store._replace(manifest=others))


def test_while_seeds_are_added_the_finished_ones_are_read(study, store, tmp_path, capsys):
  path = shutil.copytree(study.path, tmp_path / 'study')
  again = api.create(store, path, study.config)
  again.report()
  report = (path / 'report.md').read_text()
  begun = api.create(store, path, dataclasses.replace(study.config, num_seeds=4))
  assert not begun.finished and begun.results() == study.results()
  begun.report()
  assert (path / 'report.md').read_text() == report
  assert m3.open_study(path).classifier(seed=1).spec.name == study.classifier(seed=1).spec.name
  assert 'seeds 2 to 3 are not finished; this is about seeds 0 to 1' in capsys.readouterr().err
  assert api.create(store, path, study.config).finished


def test_the_best_lane_classifies_arrays_and_files(study, recordings, tones_dir):
  model = study.classifier()
  clips, labels = recordings
  predictions = [m3.classify(model, clip, 8000) for clip in clips]
  assert np.mean([each.label == label for each, label in zip(predictions, labels)]) > 0.8
  path = tones_dir / labels[0] / '0.wav'
  from_file = m3.classify(model, path)
  np.testing.assert_allclose(from_file.probabilities, predictions[0].probabilities, atol=1e-6)
  assert from_file.name == str(path) and len(from_file.top(2)) == 2
  # An array at another rate is resampled: 16 kHz, every sample twice.
  doubled = m3.classify(model, np.repeat(clips[0], 2), 16000)
  assert doubled.label == predictions[0].label
  long = m3.classify(model, np.concatenate(clips[:4]), 8000, hop_seconds=0.25)
  assert len(long.starts) == 4 and long.seconds == 1.0


def test_studies_are_compared(study, store, tmp_path):
  other = m3.train(store, workdir=tmp_path / 'other', **{**SETTINGS, 'num_epochs': 2})
  comparison = m3.compare(study, other.path)
  assert {row['study'] for row in comparison.rows} == {'own', 'other'}
  assert 'against own:full' in str(comparison)


def test_a_lane_of_a_class_is_restored_in_this_process(study, own_class):
  name = study.config.variants[1]
  lane = study.best_lane(name)
  assert lane.name.variant == name and set(lane.variables['params']) >= {'attention', 'head'}


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({'labels': ['a'] * 3}, 'labels: 3 for 4 clips'),
    ({'groups': ['a']}, 'groups: 1 for 4 clips'),
    ({'clips': [np.zeros((2, 2))] * 4}, r'clips\[0\]: shape \(2, 2\)'),
    ({'clips': [np.array([np.nan])] * 4}, r'clips\[0\]'),
    ({'labels': ['a', 'a', 'a', 'b']}, r'fewer than 3 clips in b \(1\)'),
    ({'n_mels': 0}, '--n_mels=0'),
  ],
)
def test_arrays_that_cannot_be(tmp_path, arguments, message):
  arguments = {'clips': [np.zeros(4000)] * 4, 'labels': ['a'] * 4, **arguments}
  with pytest.raises(m3.UserError, match=message):
    m3.prepare_arrays(
      arguments.pop('clips'), arguments.pop('labels'), 8000, store_dir=tmp_path, **arguments
    )
  assert not list(tmp_path.iterdir())


def test_a_class_of_a_notebook_is_exported(study, tmp_path):
  for name in ('tensorflow', 'ai_edge_litert', 'tflite_micro'):
    pytest.importorskip(name)
  lane = study.best_lane(study.config.variants[1])
  exported = study.export(tmp_path / 'bundle', lane, max_drop=1.0, int16x8=False)
  assert exported['lane']['variant'] == study.config.variants[1]
  model = m3.load_model(tmp_path / 'bundle')
  clip = np.sin(2 * np.pi * 300 * np.arange(2000) / 8000)
  assert m3.classify(model, clip, 8000).label in CLASSES


def test_a_notebooks_backend_is_not_needed_and_not_touched(tmp_path, tones_dir):
  """A study with MPLBACKEND of a notebook, whose module is absent, has its results and figures."""
  code = f"""
import sys
import m3net_jax as m3
store = m3.prepare('folder', {str(tones_dir)!r}, sample_rate=8000, clip_seconds=0.25, n_fft=256,
                   hop_length=128, n_mels=16)
study = m3.train(store, workdir='study', num_seeds=1, num_epochs=1, batch_size=12,
                 input_shape=(16, 16, 1))
print(len(study.lanes()), 'matplotlib.pyplot' in sys.modules)
"""
  environment = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'MPLBACKEND': 'module://a_notebook.that_is_absent',
  }
  ended = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert ended.returncode == 0, ended.stderr
  assert ended.stdout.strip() == '1 False'
  assert (tmp_path / 'study/figures/accuracy.png').exists()


def test_checkpoints_are_restored_without_the_trainer():
  code = (
    'import sys, m3net_jax.inference.classifier; print("m3net_jax.study.trainer" in sys.modules)'
  )
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert ended.stdout.strip() == 'False' and checkpoint.restore_lane
