"""Scalars of a study for TensorBoard (`--tensorboard`).

One run per lane, and for each variant the mean, lowest and highest of its lanes. Needs the extra
`tensorboard` (tensorboardX). A continued study writes all rows of metrics.jsonl again, so that no
epoch appears twice.
"""

import shutil
from pathlib import Path
from typing import Any

from data_prep.errors import UserError

_TAGS = {
  'train_loss': 'loss/train',
  'validation_loss': 'loss/validation',
  'validation_accuracy': 'accuracy/validation',
  'learning_rate': 'learning_rate',
}
_AGGREGATES = {'mean': lambda values: sum(values) / len(values), 'lowest': min, 'highest': max}


class Board:
  """Writes rows of `metrics.jsonl` to event files in a folder; a context manager.

  Args:
    folder: replaced if it exists.
    lanes: lanes per variant; an aggregate is written when all of them have finished an epoch.

  Raises:
    UserError: tensorboardX is not installed.
  """

  def __init__(self, folder: Path, lanes: int):
    try:
      from tensorboardX import SummaryWriter
    except ImportError as error:
      raise UserError(
        '--tensorboard: needs tensorboardX: in the folder of m3net_jax, '
        "pip install -e '.[tensorboard]'"
      ) from error
    shutil.rmtree(folder, ignore_errors=True)
    self._folder, self._lanes, self._make = folder, lanes, SummaryWriter
    self._writers: dict[str, Any] = {}
    self._epochs: dict[tuple[str, int], list[dict[str, Any]]] = {}

  def __enter__(self) -> 'Board':
    return self

  def __exit__(self, *_) -> None:
    for writer in self._writers.values():
      writer.close()

  def add(self, rows: list[dict[str, Any]]) -> None:
    """Writes rows of lanes at the end of an epoch, without values that are None (not finite)."""
    for row in rows:
      run = f'{_folder(row["variant"])}/{_folder(row["split"])}_seed_{row["seed"]}'
      if 'setting' in row:
        run += f'_setting_{row["setting"]}'
      self._write(run, row['epoch'], {field: row[field] for field in _TAGS})
      epoch_rows = self._epochs.setdefault((row['variant'], row['epoch']), [])
      epoch_rows.append(row)
      if len(epoch_rows) == self._lanes:
        self._aggregate(row['variant'], row['epoch'], epoch_rows)
    for writer in self._writers.values():
      writer.flush()

  def _aggregate(self, variant: str, epoch: int, rows: list[dict[str, Any]]) -> None:
    values = {field: [row[field] for row in rows if row[field] is not None] for field in _TAGS}
    for name, aggregate in _AGGREGATES.items():
      self._write(
        f'{_folder(variant)}/{name}',
        epoch,
        {field: aggregate(lanes) if lanes else None for field, lanes in values.items()},
      )

  def _write(self, run: str, epoch: int, values: dict[str, float | None]) -> None:
    if run not in self._writers:
      self._writers[run] = self._make(str(self._folder / run))
    for field, value in values.items():
      if value is not None:
        self._writers[run].add_scalar(_TAGS[field], value, epoch)


def _folder(name: str) -> str:
  return name.replace(':', '.').replace(' ', '_')
