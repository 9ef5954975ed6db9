"""Your own corpus, listed clip by clip: a csv file with the columns path and label.

Further columns are optional: group (speaker or recording), fold (from 1), part (train, validation
or test, or another usual name of theirs), start (seconds) and gain. Paths are relative to the csv's
folder; --raw_dir is the csv file, or the folder of the file if its name is clips.csv.
"""

import math
import unicodedata
from pathlib import Path

from data_prep.audio import SUFFIXES
from data_prep.corpora import base, layout, table
from data_prep.errors import UserError

CLIP_SECONDS = 1.0
FIT = 'pad'
LISTING = 'clips.csv'


def read(root: Path) -> base.Corpus:
  """Reads the clips of a csv file, or of clips.csv in a folder."""
  path = root if root.is_file() else root / LISTING
  if not path.is_file():
    raise base.missing_error(
      root, LISTING, 'give a csv file with the columns path and label, or its folder'
    )
  clips, lines = [], {}
  spellings: dict[str, str] = {}
  for line, row in table.rows(path, ('path', 'label')):
    fold = table.whole_number(path, line, 'fold', row.get('fold') or '0', 0, 2**31 - 1)
    given = row.get('part', '')
    part = layout.part_of(given) or table.one_of(path, line, 'part', given, ('', *layout.PARTS))
    clip = base.Clip(
      _found(path, line, row['path'], spellings),
      row['label'],
      row.get('group', ''),
      fold,
      part,
      _number(path, line, 'start', row.get('start') or '0'),
      _number(path, line, 'gain', row.get('gain') or '1'),
    )
    clips.append(clip)
    first = lines.setdefault((clip.path, clip.label, clip.start, clip.gain), line)
    if first != line:
      raise UserError(
        f'{path}: line {line}: path={row["path"]!r} is the clip of line {first}: remove one of them'
      )
  if not clips:
    raise UserError(f'{path}: no clips in it: give one line per clip, with path and label')
  classes = tuple(sorted({clip.label for clip in clips}))
  return base.Corpus(path.parent, classes, tuple(clips), listing=path.name)


def _found(path: Path, line: int, given: str, spellings: dict[str, str]) -> str:
  """The path of a recording as the disk spells it, with '/'; as it was given if it is not there.

  Args:
    spellings: the paths on the disk by their NFC form; filled when it is first needed.

  Raises:
    UserError: only the suffix is missing.
  """
  name = Path(given).as_posix()
  if (path.parent / name).exists():
    return name
  name = name.replace('\\', '/')
  if not spellings:
    spellings |= {unicodedata.normalize('NFC', each): each for each in base.files(path.parent)}
  nfc = unicodedata.normalize('NFC', name)
  if complete := [nfc + suffix for suffix in SUFFIXES if nfc + suffix in spellings]:
    raise UserError(
      f'{path}: line {line}: path={given!r}: is not there, {complete[0]} is: write the suffix too'
    )
  return spellings.get(nfc, name)


def _number(path: Path, line: int, column: str, value: str) -> float:
  try:
    number = float(value)
  except ValueError:
    number = math.nan
  if not 0 <= number < math.inf:
    raise UserError(f'{path}: line {line}: {column}={value!r}: give a number of 0 or more')
  return number
