"""Rows of a csv file that somebody wrote, checked; a complaint names the file, the line and the column."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.errors import UserError


def rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
  """Line number and fields, stripped, of each row.

  Raises:
    UserError: not readable as csv, without a column of `needed`, or with a row that lacks a value in one.
  """
  try:
    with open(path, newline='', encoding='utf-8-sig') as file:
      reader = csv.DictReader(file, skipinitialspace=True)
      reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
      if absent := [name for name in needed if name not in reader.fieldnames]:
        raise UserError(
          f'{path}: no column {", ".join(absent)} in its first line '
          f'({", ".join(reader.fieldnames)}); needed are {", ".join(needed)}'
        )
      for row in reader:
        row = {name: (value or '').strip() for name, value in row.items() if isinstance(name, str)}
        if empty := [name for name in needed if not row[name]]:
          raise UserError(
            f'{path}: line {reader.line_num}: nothing in column {empty[0]}: complete or remove the line'
          )
        yield reader.line_num, row
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path}: cannot be read as csv in UTF-8 ({error})') from error


def whole_number(path: Path, line: int, column: str, value: str, low: int, high: int) -> int:
  try:
    number = int(value)
  except ValueError:
    number = low - 1
  if not low <= number <= high:
    raise UserError(
      f'{path}: line {line}: {column}={value!r}: a whole number from {low} to {high} is needed'
    )
  return number


def one_of(path: Path, line: int, column: str, value: str, known: Sequence[str]) -> str:
  if value not in known:
    raise UserError(f'{path}: line {line}: {column}={value!r}: known are {", ".join(known)}')
  return value
