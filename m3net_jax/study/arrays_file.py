"""The .npz files of a workdir: written completely or not at all, read with one line of error."""

from pathlib import Path
from typing import Any

import numpy as np

from data_prep import files
from data_prep.errors import UserError


def write(path: Path, **arrays: np.ndarray) -> None:
  """Writes named arrays, compressed."""
  with files.replacing(path) as fresh, open(fresh, 'wb') as file:
    np.savez_compressed(file, **arrays)


def read(path: Path, *names: str) -> tuple[Any, ...]:
  """Reads arrays by their names.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: the file cannot be read or lacks an array.
  """
  try:
    with np.load(path) as saved:
      return tuple(saved[name] for name in names)
  except FileNotFoundError:
    raise
  except Exception as error:  # numpy raises many kinds for a damaged archive
    raise UserError(
      f'{path}: cannot be read ({error}): restore it from a copy, or train again in another '
      '--workdir'
    ) from error
