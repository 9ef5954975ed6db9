"""Your own corpus, listed clip by clip: a csv file with the columns path and label.

Further columns are optional: group (speaker or recording), fold (from 1), part (train, validation
or test), start (seconds) and gain. Paths are relative to the csv's folder; --raw_dir is the csv
file, or the folder of the file if its name is clips.csv.
"""

import math
from pathlib import Path

from data_prep.corpora import base, table
from data_prep.errors import UserError

CLIP_SECONDS = 1.0
FIT = 'pad'
PARTS = ('', 'train', 'validation', 'test')


def read(root: Path) -> base.Corpus:
  """Reads the clips of a csv file, or of clips.csv in a folder."""
  path = root if root.is_file() else root / 'clips.csv'
  if not path.is_file():
    raise base.missing_error(
      root, 'clips.csv', 'give a csv file with the columns path and label, or its folder'
    )
  clips, lines = [], {}
  for line, row in table.rows(path, ('path', 'label')):
    fold = table.whole_number(path, line, 'fold', row.get('fold') or '0', 0, 2**31 - 1)
    part = table.one_of(path, line, 'part', row.get('part', ''), PARTS)
    clip = base.Clip(
      Path(row['path']).as_posix(),
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
  return base.Corpus(path.parent, tuple(sorted({clip.label for clip in clips})), tuple(clips))


def _number(path: Path, line: int, column: str, value: str) -> float:
  try:
    number = float(value)
  except ValueError:
    number = math.nan
  if not 0 <= number < math.inf:
    raise UserError(f'{path}: line {line}: {column}={value!r}: give a number of 0 or more')
  return number
