"""Measures of unequal classes against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from m3net_jax.stats import measures


@pytest.mark.parametrize('seed', range(3))
def test_measures_are_those_of_scikit_learn(seed):
  rng = np.random.default_rng(seed)
  labels = rng.choice(4, 200, p=[0.84, 0.1, 0.04, 0.02])
  labels[:4] = range(4)
  predicted = np.where(rng.random(200) < 0.7, labels, rng.integers(0, 4, 200))
  assert measures.balanced_accuracy(predicted, labels, 4) == pytest.approx(
    metrics.balanced_accuracy_score(labels, predicted)
  )
  assert measures.macro_f1(predicted, labels, 4) == pytest.approx(
    metrics.f1_score(labels, predicted, average='macro')
  )
  np.testing.assert_allclose(
    measures.recalls(predicted, labels, 4), metrics.recall_score(labels, predicted, average=None)
  )


def test_a_class_without_clips_has_no_recall_and_is_in_no_mean():
  labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
  recalls = measures.recalls(predicted, labels, 3)
  assert recalls[:2].tolist() == [0.5, 1.0] and np.isnan(recalls[2])
  assert measures.balanced_accuracy(predicted, labels, 3) == 0.75
  assert measures.macro_f1(predicted, labels, 3) == pytest.approx((2 / 3 + 1) / 2)


def test_one_answer_has_the_balanced_accuracy_of_chance():
  labels = np.array([0] * 84 + [1] * 8 + [2] * 8)
  predicted = np.zeros(100, int)
  assert measures.balanced_accuracy(predicted, labels, 3) == pytest.approx(1 / 3)
  assert measures.macro_f1(predicted, labels, 3) == pytest.approx(2 * 84 / 184 / 3)


def test_balanced_weights_give_every_class_the_same_sum():
  labels = np.array([0] * 84 + [1] * 8 + [2] * 8)
  weights = measures.balanced_weights(labels, 3)
  assert weights.dtype == np.float32
  np.testing.assert_allclose(np.bincount(labels, weights[labels]), [100 / 3] * 3, rtol=1e-6)
