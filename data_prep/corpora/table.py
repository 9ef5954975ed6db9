"""Reads and checks rows of a csv file; errors name the file, the line and the column."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_prep.errors import UserError


def rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
  """Yields the line number and the stripped fields of each row.

  The columns are separated by commas, semicolons or tabs; their names may be in capitals. The text
  is UTF-8, or UTF-16 with its mark.

  Raises:
    UserError: the file is not csv, lacks a column of `needed`, or has a row without a value in one.
  """
  text = _text(path)
  try:
    reader = csv.DictReader(
      io.StringIO(text, newline=''), skipinitialspace=True, delimiter=_delimiter(text, needed)
    )
    reader.fieldnames = _columns(reader.fieldnames or (), needed)
    if absent := [name for name in needed if name not in reader.fieldnames]:
      raise UserError(
        f'{path}: no column {", ".join(absent)} in its first line '
        f'({", ".join(reader.fieldnames)}): give the columns {", ".join(needed)}'
      )
    for row in reader:
      row = {name: (value or '').strip() for name, value in row.items() if isinstance(name, str)}
      if not any(row.values()):
        continue  # tables end with rows of separators
      if empty := [name for name in needed if not row[name]]:
        raise UserError(
          f'{path}: line {reader.line_num}: nothing in column {empty[0]}: complete or remove the '
          'line'
        )
      yield reader.line_num, row
  except csv.Error as error:
    raise UserError(f'{path}: cannot be read as csv ({error}): save it again as csv') from error


def _text(path: Path) -> str:
  try:
    content = path.read_bytes()
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return content.decode('utf-16' if is_utf16 else 'utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(
      f'{path}: cannot be read as csv in UTF-8 ({error}): save it again in UTF-8'
    ) from error


def _columns(names: Iterable[str], needed: Sequence[str]) -> list[str]:
  """Names of columns as `needed` has them, the others in small letters."""
  known = {name.lower(): name for name in needed}
  names = [name.strip() for name in names]
  return [known.get(name.lower(), name.lower()) for name in names]


def _delimiter(text: str, needed: Sequence[str]) -> str:
  """The separator by which the first line has most of the needed columns; a comma if in doubt."""
  first = next(iter(text.splitlines()), '')

  def found(delimiter: str) -> int:
    names = next(csv.reader([first], delimiter=delimiter), [])
    return len({name.strip().lower() for name in names} & {name.lower() for name in needed})

  return max(',;\t', key=found)


def whole_number(path: Path, line: int, column: str, value: str, low: int, high: int) -> int:
  """The whole number in a field; a spreadsheet may have made 1.0 of it.

  Raises:
    UserError: the value is not a whole number from `low` to `high`.
  """
  try:
    number = int(re.sub(r'\.0+$', '', value))
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
