"""ESC-10: 400 environmental recordings of about 5 s, 10 classes, 5 official folds.

Piczak 2015; CC BY 3.0. Two forms are read: the release of 2015, with folders such as
"001 - Dog bark" that contain {fold}-{freesound id}-{take}.ogg, and the ten classes that the csv of
ESC-50 marks. The group is the Freesound recording; all its clips are in one fold.
"""

import re
from pathlib import Path

from data_prep.corpora import base, esc50
from data_prep.errors import UserError

CLIP_SECONDS = 5.0
FIT = 'pad'
DOWNLOAD = esc50.DOWNLOAD
_NAME = re.compile(r'(\d{3} - ([^/]+))/([1-5])-(\d+)-[^/-]+\.(?i:ogg|wav)')


def read(root: Path) -> base.Corpus:
  """Reads the clips of ESC-10 from either form."""
  if (root / esc50.CSV).is_file():
    return esc50.from_csv(root, only_esc10=True)
  clips, classes, ignored = [], {}, []
  for path in base.files(root):
    if name := _NAME.fullmatch(path):
      folder, label, fold, source = name.groups()
      classes[folder] = label
      clips.append(base.Clip(path, label, source, int(fold)))
    else:
      ignored.append(path)
  if not clips:
    raise base.missing_error(
      root,
      '"001 - Dog bark"/{fold}-{id}-{take}.ogg or meta/esc50.csv',
      'give the folder of ESC-10 or ESC-50, or --download to fetch them',
    )
  if len(classes) != 10:
    raise UserError(
      f'--raw_dir: {root} has {len(classes)} of the 10 classes: complete it, or use '
      '--corpus=folder for an incomplete corpus'
    )
  return base.Corpus(
    root, tuple(classes[folder] for folder in sorted(classes)), tuple(clips), tuple(ignored)
  )
