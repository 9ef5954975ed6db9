"""Predictions of a study's lanes per clip: confusions, accuracy per class, the hardest clips.

Pure functions on labels and predictions. A clip is a position in the store.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from m3net_jax.stats import measures
from m3net_jax.study.splits import Split


class LanePredictions(NamedTuple):
  """A lane on its test clips: `clips` [n] positions in the store, `predicted` [n] classes."""

  variant: str
  seed: int
  clips: np.ndarray
  predicted: np.ndarray


class Confusion(NamedTuple):
  """`counts` [classes, classes] of (true, predicted), summed over `lanes` lanes."""

  classes: tuple[str, ...]
  counts: np.ndarray
  lanes: int


class HardClip(NamedTuple):
  """A clip that `wrong` of `lanes` lanes misclassify.

  Attributes:
    taken_for: (class, lanes) of the wrong answers, the most frequent first.
  """

  clip: int
  label: int
  wrong: int
  lanes: int
  taken_for: tuple[tuple[int, int], ...]


def lane_predictions(
  predictions: Mapping[str, np.ndarray], splits: Sequence[Split]
) -> list[LanePredictions]:
  """The lanes of `Workdir.predictions`, whose keys are 'variant/split/seed'."""
  clips = {split.name: split.test for split in splits}
  parts = [(key.rsplit('/', 2), predicted) for key, predicted in predictions.items()]
  return [
    LanePredictions(variant, int(seed), clips[split], predicted)
    for (variant, split, seed), predicted in parts
  ]


def confusion(lanes: Sequence[LanePredictions], labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Answers of all lanes, [true class, predicted class] int64; `labels` is [clips]."""
  counts = np.zeros((num_classes, num_classes), np.int64)
  for lane in lanes:
    np.add.at(counts, (labels[lane.clips], lane.predicted), 1)
  return counts


def class_accuracies(
  lanes: Sequence[LanePredictions], labels: np.ndarray, num_classes: int
) -> np.ndarray:
  """Accuracy of each lane on each class, [lanes, classes]; NaN if it tests no clip of the class."""
  return np.stack(
    [measures.recalls(lane.predicted, labels[lane.clips], num_classes) for lane in lanes]
  )


def hardest(
  lanes: Sequence[LanePredictions],
  labels: np.ndarray,
  most: int,
  others: Sequence[LanePredictions] = (),
) -> list[HardClip]:
  """Up to `most` clips that the largest fraction of lanes misclassifies.

  Ties are ordered by the fraction of `others` that misclassifies the clip, then by position.
  """
  fraction, fraction_of_others = _wrong(lanes, labels), _wrong(others, labels)
  missed = np.flatnonzero(fraction > 0)
  clips = []
  for clip in missed[np.lexsort((missed, -fraction_of_others[missed], -fraction[missed]))][:most]:
    answers = [
      int(lane.predicted[position])
      for lane in lanes
      for position in np.flatnonzero(lane.clips == clip)
    ]
    mistakes = Counter(answer for answer in answers if answer != labels[clip])
    taken_for = tuple(sorted(mistakes.items(), key=lambda item: (-item[1], item[0])))
    clips.append(HardClip(int(clip), int(labels[clip]), mistakes.total(), len(answers), taken_for))
  return clips


def _wrong(lanes: Sequence[LanePredictions], labels: np.ndarray) -> np.ndarray:
  """Fraction of lanes that misclassify each clip, [clips]; 0 if no lane tests it."""
  wrong, tested = np.zeros(len(labels)), np.zeros(len(labels))
  for lane in lanes:
    wrong[lane.clips] += lane.predicted != labels[lane.clips]
    tested[lane.clips] += 1
  return wrong / np.maximum(tested, 1)
