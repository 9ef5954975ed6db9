"""ESC-50: 2,000 environmental recordings of 5 s, 44.1 kHz, 50 classes, 5 official folds.

Piczak 2015; https://github.com/karolpiczak/ESC-50; CC BY-NC 3.0. meta/esc50.csv lists the files of
audio/. The group is the Freesound recording from which a clip was cut (src_file); all its clips
are in one fold.
"""

from pathlib import Path

from data_prep import download
from data_prep.corpora import base, table

CLIP_SECONDS = 5.0
FIT = 'pad'
DOWNLOAD = download.Archive(
  'https://github.com/karoldvl/ESC-50/archive/master.zip',
  'md5:7771e4b9d86d0945acce719c7a59305a',
  'ESC-50-master',
)
CSV = 'meta/esc50.csv'
_NUM_CLASSES = 50


def read(root: Path) -> base.Corpus:
  """Reads the clips of ESC-50."""
  return from_csv(root, only_esc10=False)


def from_csv(root: Path, only_esc10: bool) -> base.Corpus:
  """Reads the clips of meta/esc50.csv, or only those of ESC-10."""
  if not (root / CSV).is_file():
    raise base.missing_error(
      root, CSV, 'give the unpacked folder of ESC-50, or --download to fetch it'
    )
  clips, positions, others = [], {}, []
  for line, row in table.rows(
    root / CSV, ('filename', 'fold', 'target', 'category', 'esc10', 'src_file')
  ):
    path = f'audio/{row["filename"]}'
    if only_esc10 and row['esc10'] != 'True':
      others.append(path)
      continue
    fold = table.whole_number(root / CSV, line, 'fold', row['fold'], 1, 5)
    positions[row['category']] = table.whole_number(
      root / CSV, line, 'target', row['target'], 0, _NUM_CLASSES - 1
    )
    clips.append(base.Clip(path, row['category'], row['src_file'], fold))
  known = {clip.path for clip in clips} | {CSV, *others}
  return base.Corpus(
    root,
    tuple(sorted(positions, key=positions.get)),
    tuple(clips),
    tuple(path for path in base.files(root) if path not in known),
  )
