"""Reads and checks rows of a csv file; errors name the file, the line and the column."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.errors import UserError


def rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
  """Yields the line number and the stripped fields of each row.

  Raises:
    UserError: the file is not csv, lacks a column of `needed`, or has a row without a value in one.
  """
  try:
    with open(path, newline='', encoding='utf-8-sig') as file:
      reader = csv.DictReader(file, skipinitialspace=True)
      reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
      if absent := [name for name in needed if name not in reader.fieldnames]:
        raise UserError(
          f'{path}: no column {", ".join(absent)} in its first line '
          f'({", ".join(reader.fieldnames)}): give the columns {", ".join(needed)}'
        )
      for row in reader:
        row = {name: (value or '').strip() for name, value in row.items() if isinstance(name, str)}
        if empty := [name for name in needed if not row[name]]:
          raise UserError(
            f'{path}: line {reader.line_num}: nothing in column {empty[0]}: complete or remove the '
            'line'
          )
        yield reader.line_num, row
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path}: cannot be read as csv in UTF-8 ({error})') from error


def whole_number(path: Path, line: int, column: str, value: str, low: int, high: int) -> int:
  """The whole number in a field.

  Raises:
    UserError: the value is not a whole number from `low` to `high`.
  """
  try:
    number = int(value)
  except ValueError:
    number = low - 1
  if not low <= number <= high:
    raise UserError(
      f'{path}: line {line}: {column}={value!r}: give a whole number from {low} to {high}'
    )
  return number


def one_of(path: Path, line: int, column: str, value: str, known: Sequence[str]) -> str:
  """The value of a field.

  Raises:
    UserError: the value is not in `known`.
  """
  if value not in known:
    raise UserError(
      f'{path}: line {line}: {column}={value!r}: give one of {", ".join(filter(None, known))}'
    )
  return value
