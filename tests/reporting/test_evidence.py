"""Confusions, accuracy per class and hardest clips, against scikit-learn and hand counts."""

import numpy as np
from sklearn import metrics

from m3net_jax.reporting import evidence
from m3net_jax.study.splits import Split

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
LANES = [
  evidence.LanePredictions('full', 0, np.array([0, 1, 2, 3]), np.array([0, 2, 2, 1])),
  evidence.LanePredictions('full', 1, np.array([0, 1, 2, 3]), np.array([0, 2, 0, 1])),
  evidence.LanePredictions('full', 2, np.array([1, 4, 5]), np.array([0, 1, 1])),
]


def test_confusions_and_class_accuracies_are_those_of_scikit_learn():
  true = np.concatenate([LABELS[lane.clips] for lane in LANES])
  predicted = np.concatenate([lane.predicted for lane in LANES])
  counts = evidence.confusion(LANES, LABELS, 3)
  assert np.array_equal(counts, metrics.confusion_matrix(true, predicted, labels=[0, 1, 2]))
  by_lane = evidence.class_accuracies(LANES, LABELS, 3)
  for lane, accuracy in zip(LANES, by_lane):
    labels = LABELS[lane.clips]
    present = np.unique(labels)
    expected = metrics.recall_score(labels, lane.predicted, labels=present, average=None)
    assert np.allclose(accuracy[present], expected)
  assert np.isnan(by_lane[2, 0])  # it tests no clip of class 0


def test_the_hardest_clips_are_wrong_in_the_largest_share_of_the_lanes_that_test_them():
  hard = evidence.hardest(LANES, LABELS, 10)
  # Clip 1: wrong in 3 of 3; 3: in 2 of 2; 5: in 1 of 1; 2: in 1 of 2; 0 and 4 never.
  assert [(clip.clip, clip.wrong, clip.lanes) for clip in hard] == [
    (1, 3, 3),
    (3, 2, 2),
    (5, 1, 1),
    (2, 1, 2),
  ]
  assert hard[0].taken_for == ((2, 2), (0, 1)) and hard[0].label == 1
  # Clip 3 is right, 5 is wrong.
  others = [evidence.LanePredictions('no_ma', 0, np.array([3, 5]), np.array([0, 0]))]
  assert [clip.clip for clip in evidence.hardest(LANES, LABELS, 2, others)] == [5, 1]


def test_predictions_are_read_by_variant_split_and_seed():
  splits = [Split(f'fold {i}', *[np.arange(0)] * 2, np.array([i, i + 1])) for i in (1, 2)]
  lanes = evidence.lane_predictions({'a.b:C/fold 2/13': np.array([0, 1])}, splits)
  assert lanes[0].variant == 'a.b:C' and lanes[0].seed == 13 and lanes[0].clips.tolist() == [2, 3]
