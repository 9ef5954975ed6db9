"""Compares converted files with the trained network, in every runtime.

Pure functions on logits; their rows are the "runtimes" of export.json (test clips) and those of its
"gate" (validation clips). Only the rows of the gate are checked.
"""

from typing import Any

import numpy as np
from scipy import stats

from data_prep.errors import UserError

PARITY = 1e-4  # largest allowed difference between the logits of the float32 file and of JAX


def measure(
  runtime: str,
  kind: str,
  logits: np.ndarray,
  reference: np.ndarray,
  labels: np.ndarray,
  classes: tuple[str, ...],
) -> dict[str, Any]:
  """Measures one runtime.

  Args:
    logits, reference: logits [clips, classes] of the runtime and of JAX.
    labels: [clips].

  Returns:
    A row of export.json. Accuracies and agreement (the same class as JAX) are fractions; `lost` and
    `won` count the clips that only JAX or only this runtime classifies correctly; `change_by_class`
    is the accuracy on each class minus that of JAX, None if the class has no clip.
  """
  right, right_before = (values.argmax(1) == labels for values in (logits, reference))
  change = {}
  for index, name in enumerate(classes):
    of_class = labels == index
    change[name] = (
      float(right[of_class].mean() - right_before[of_class].mean()) if of_class.any() else None
    )
  return {
    'runtime': runtime,
    'kind': kind,
    'clips': len(labels),
    'correct': int(right.sum()),
    'lost': int((right_before & ~right).sum()),
    'won': int((right & ~right_before).sum()),
    'accuracy': float(right.mean()),
    'agreement': float((logits.argmax(1) == reference.argmax(1)).mean()),
    'largest_logit_difference': float(np.abs(logits - reference).max()),
    'change_by_class': change,
  }


def check(rows: list[dict[str, Any]], max_drop: float) -> None:
  """Raises UserError with the first reason not to trust the converted files.

  Args:
    rows: rows of `measure` on the validation clips, that of JAX first.
    max_drop: largest allowed loss of accuracy of an integer file, as a fraction of the clips.
  """
  trained = rows[0]
  for row in rows[1:]:
    where = f'{row["kind"]} in {row["runtime"]}'
    difference = row['largest_logit_difference']
    if row['kind'] == 'float32' and not difference <= PARITY:
      raise UserError(
        f'{where}: a logit differs from JAX by {difference:.3g}, more than {PARITY:g}: the '
        'converted network or its normalisation (mean and std in model.json) is not the trained one'
      )
    drop = trained['accuracy'] - row['accuracy']
    if not drop <= max_drop + 1e-12:
      raise UserError(
        f'{where}: {100 * row["accuracy"]:.2f} % of {row["clips"]} validation clips against '
        f'{100 * trained["accuracy"]:.2f} % in JAX, {100 * drop:.2f} points less: more than '
        f'--max_drop={100 * max_drop:g}. {row["lost"]} right answers are lost and {row["won"]} '
        f'won: chance alone does as much {_one_in(row["lost"], row["won"])}. If that is often, '
        'give a larger --max_drop, otherwise other --calibration_clips or another --seed'
      )


def _one_in(lost: int, won: int) -> str:
  """How often at least as many are lost by chance: the sign test on the changed answers."""
  return f'once in {1 / stats.binomtest(lost, lost + won, alternative="greater").pvalue:.3g} times'


def same_as_study(predicted: np.ndarray, stored: np.ndarray | None, workdir: str) -> None:
  """Raises UserError if a restored lane classifies its test clips differently than after training.

  One clip in a hundred may differ, because the convolutions are computed in another order.

  Args:
    predicted: classes [clips] of the restored lane.
    stored: classes [clips] in predictions.npz; None if the lane is not there.
  """
  if stored is None or len(stored) != len(predicted):
    raise UserError(
      f'{workdir}: predictions.npz has no such lane, or other test clips: train the study again'
    )
  if (differing := int((predicted != stored).sum())) > 0.01 * len(predicted):
    raise UserError(
      f'{workdir}: {differing} of {len(predicted)} test clips are classified differently than in '
      'predictions.npz: a checkpoint or the store was altered; train the study again'
    )
