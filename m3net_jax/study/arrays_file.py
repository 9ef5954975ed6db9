"""The .npz files of a workdir: written completely or not at all, read with one line of error."""

import hashlib
from pathlib import Path

import numpy as np

from data_prep import files
from data_prep.errors import UserError

_DIGEST = 'digest'  # name of the array that holds the hash of the others


def write(path: Path, **arrays: np.ndarray) -> None:
  """Writes named arrays, compressed, and their hash."""
  with files.replacing(path) as fresh, open(fresh, 'wb') as file:
    np.savez_compressed(file, **arrays, **{_DIGEST: np.array(_digest(arrays))})


def read(
  path: Path, fix: str = 'restore it from a copy, or train again in another --workdir'
) -> dict[str, np.ndarray]:
  """Reads all arrays, without their hash.

  Args:
    fix: what the user can do if the file is damaged; the end of the message.

  Raises:
    UserError: the file is missing or cannot be read, or its hash is absent or not that of its
      arrays.
  """
  try:
    with np.load(path) as saved:
      arrays = dict(saved)
    digest = arrays.pop(_DIGEST, None)
    actual = _digest(arrays)
  except FileNotFoundError as error:
    raise UserError(f'{path}: is missing: {fix}') from error
  except Exception as error:  # numpy raises many kinds for a damaged archive
    raise UserError(f'{path}: cannot be read ({files.one_line(error)}): {fix}') from error
  if digest is None:
    raise UserError(f'{path}: {files.UNSIGNED}: {fix}')
  if digest.shape or digest.item() != actual:
    raise UserError(f'{path}: was altered (its digest is not that of its arrays): {fix}')
  return arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
  """SHA-256 of names, types, shapes and values, in any order of the arrays."""
  digest = hashlib.sha256()
  for name, array in sorted(arrays.items()):
    digest.update(f'{name} {array.dtype.str} {array.shape} '.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
