"""Classes of unequal size: weights of the loss, the measure that selects, what is said about it."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from m3net_jax.inference import best_lane
from m3net_jax.network import models
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches
from m3net_jax.reporting import summary, text
from m3net_jax.stats import measures
from m3net_jax.study import lanes
from m3net_jax.study.hyper import Hyper
from m3net_jax.study.lanes import Training
from tests import small_study
from tests.example_store import part_of


@pytest.fixture(scope='module')
def unequal(tones):
  """20 clips of the first class, 3 of each other."""
  return part_of(tones, np.r_[:20, 20:23, 40:43])


def test_a_step_with_class_weights_is_that_of_a_weighted_mean():
  """Against plain Flax and optax."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=(6, 16, 16, 1)).astype(np.float32)
  labels = np.array([0, 0, 0, 0, 1, 2])
  weights = np.array([0.5, 2.0, 4.0], np.float32)
  model, training = M3Net(VARIANTS['full'], 3, 'conv'), Training()
  lane = lanes.init_lane(
    model,
    (16, 16, 1),
    training,
    3,
    Switches(*[np.bool_(True)] * 4),
    Scaling(0.0, 1.0),
    weights,
    Hyper(learning_rate=0.01),
  )
  step = jax.jit(functools.partial(lanes.train_step, model, training, lambda mels, _: mels))
  stepped, loss = step(lane, images, labels)

  def loss_of(params):
    variables = {**models.init(model, jax.random.key(3), (16, 16, 1)), 'params': params}
    (logits, _), _ = model.apply(variables, images, train=True, mutable=['batch_stats'])
    losses = [
      weights[label] * optax.softmax_cross_entropy_with_integer_labels(row, label)
      for row, label in zip(logits, labels)
    ]
    return sum(losses) / 6

  expected, gradient = jax.jit(jax.value_and_grad(loss_of))(lane.variables['params'])
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  # The first step of Adam is the sign of the gradient, where that is not rounding error.
  for leaf, old, new in zip(
    *map(jax.tree.leaves, (gradient, lane.variables['params'], stepped.variables['params']))
  ):
    clear = np.abs(leaf) > 1e-4
    np.testing.assert_allclose((new - old)[clear], -0.01 * np.sign(leaf)[clear], rtol=1e-2)


@pytest.fixture(scope='module', params=['accuracy', 'balanced_accuracy', 'loss'])
def selected(request, tones, tmp_path_factory):
  """A study with unequal classes for every measure that selects, with its store."""
  store = part_of(tones, np.r_[:20, 20:30, 40:46])
  config = dataclasses.replace(
    small_study.QUICK,
    num_seeds=3,
    num_epochs=6,
    select=request.param,
    class_weights='balanced' if request.param == 'loss' else 'none',
  )
  return small_study.train(store, tmp_path_factory.mktemp('selected') / 'study', config), store


def test_the_best_epoch_and_lane_are_best_in_what_was_asked_for(selected):
  study, _ = selected
  select = study.config.select
  sign = -1 if select == 'loss' else 1
  rows = study.results()['variants']['no_ma']['lanes']
  for row in rows:
    epochs = [metrics for metrics in study.metrics() if metrics['seed'] == row['seed']]
    values = [sign * metrics[f'validation_{select}'] for metrics in epochs]
    # The lane keeps the score as float32; epochs this close do not occur here.
    assert row['best_epoch'] == 1 + int(np.argmax(values))
    for field in ('accuracy', 'balanced_accuracy', 'loss'):
      best = epochs[row['best_epoch'] - 1]
      assert row[f'validation_{field}'] == best[f'validation_{field}']
  best = best_lane.load(study).row
  assert sign * best[f'validation_{select}'] == max(
    sign * row[f'validation_{select}'] for row in rows
  )


def test_measures_of_results_are_those_of_the_predictions(selected):
  study, store = selected
  (split,) = study.splits(store)
  labels, content = store.labels[split.test], study.results()['variants']['no_ma']
  recalls = []
  for lane in content['lanes']:
    predicted = study.predictions()[f'no_ma/random/{lane["seed"]}']
    assert lane['balanced_accuracy'] == measures.balanced_accuracy(predicted, labels, 3)
    assert lane['macro_f1'] == measures.macro_f1(predicted, labels, 3)
    recalls.append(measures.recalls(predicted, labels, 3))
  np.testing.assert_allclose(list(content['recall'].values()), np.mean(recalls, 0))
  assert content['balanced_accuracy'] == pytest.approx(np.mean(recalls))


def test_lanes_that_answer_one_class_are_named(unequal, tmp_path):
  config = dataclasses.replace(small_study.QUICK, num_epochs=1, learning_rate=1e-6)
  study = small_study.train(unequal, tmp_path / 'study', config)
  content = study.results()
  largest = content['corpus']['largest_class']
  (split,) = study.splits(unequal)
  assert largest['name'] == unequal.classes[0]
  assert largest['accuracy'] == (unequal.labels[split.test] == 0).mean()
  said = summary.text(content)
  assert 'lanes answer every test clip with one class' in said
  assert 'not shown to be better than always answering high' in ' '.join(said.split())
  assert f'{100 * largest["accuracy"]:.2f}' in said
  assert any('one class' in warning for warning in text.warnings(content))
  assert 'Always answering the largest class' in text.headline(content)[1]
