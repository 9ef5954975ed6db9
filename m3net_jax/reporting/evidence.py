"""What the lanes of a study answered, clip by clip: confusions, accuracy of every class, the hardest clips.

Pure functions on labels and predictions; knows nothing of files. A clip is a position in the store.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from m3net_jax.study.splits import Split


class LanePredictions(NamedTuple):
  """A lane on its test clips: `clips` [n] positions in the store, `predicted` [n] classes."""

  variant: str
  seed: int
  clips: np.ndarray
  predicted: np.ndarray


class HardClip(NamedTuple):
  """A clip that `wrong` of `lanes` lanes get wrong, and what they took it for, most often first."""

  clip: int
  label: int
  wrong: int
  lanes: int
  taken_for: tuple[tuple[int, int], ...]  # (class, lanes)


def lane_predictions(
  predictions: Mapping[str, np.ndarray], made: Sequence[Split]
) -> list[LanePredictions]:
  """The lanes of `Workdir.predictions`, whose keys are 'variant/split/seed'."""
  clips = {split.name: split.test for split in made}
  parts = [(key.rsplit('/', 2), predicted) for key, predicted in predictions.items()]
  return [
    LanePredictions(variant, int(seed), clips[split], predicted)
    for (variant, split, seed), predicted in parts
  ]


def confusion(lanes: Sequence[LanePredictions], labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Answers of all lanes, [true class, predicted class] int64, of labels [clips]."""
  counts = np.zeros((num_classes, num_classes), np.int64)
  for lane in lanes:
    np.add.at(counts, (labels[lane.clips], lane.predicted), 1)
  return counts


def class_accuracies(
  lanes: Sequence[LanePredictions], labels: np.ndarray, num_classes: int
) -> np.ndarray:
  """Share of a class's test clips that a lane gets right, [lanes, classes]; NaN where it tests none."""
  counts = np.stack([confusion([lane], labels, num_classes) for lane in lanes])
  clips = counts.sum(2)
  right = np.diagonal(counts, axis1=1, axis2=2)
  return np.where(clips > 0, right / np.maximum(clips, 1), np.nan)


def hardest(
  lanes: Sequence[LanePredictions],
  labels: np.ndarray,
  most: int,
  others: Sequence[LanePredictions] = (),
) -> list[HardClip]:
  """Up to `most` clips by the share of lanes that get them wrong; then by that of `others`, then in order."""
  share, of_others = _wrong(lanes, labels), _wrong(others, labels)
  missed = np.flatnonzero(share > 0)
  found = []
  for clip in missed[np.lexsort((missed, -of_others[missed], -share[missed]))][:most]:
    answers = [
      int(lane.predicted[position])
      for lane in lanes
      for position in np.flatnonzero(lane.clips == clip)
    ]
    mistakes = Counter(answer for answer in answers if answer != labels[clip])
    taken_for = tuple(sorted(mistakes.items(), key=lambda item: (-item[1], item[0])))
    found.append(HardClip(int(clip), int(labels[clip]), mistakes.total(), len(answers), taken_for))
  return found


def _wrong(lanes: Sequence[LanePredictions], labels: np.ndarray) -> np.ndarray:
  """Share of the lanes testing a clip that get it wrong, [clips]; 0 where none tests it."""
  wrong, seen = np.zeros(len(labels)), np.zeros(len(labels))
  for lane in lanes:
    wrong[lane.clips] += lane.predicted != labels[lane.clips]
    seen[lane.clips] += 1
  return wrong / np.maximum(seen, 1)
