"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz.

https://github.com/Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0). Files are
recordings/{digit}_{speaker}_{take}.wav; takes 0 to 4 are the test set, as its README says.
"""

import re
from pathlib import Path

from data_prep import download
from data_prep.corpora import base

CLIP_SECONDS = 1.0
FIT = 'pad'
DOWNLOAD = download.Archive(
  'https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip',
  'sha256:c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b',
  'free-spoken-digit-dataset-1.0.10',
)
_NAME = re.compile(r'(\d)_([^_/]+)_(\d+)\.(?i:wav)')


def read(root: Path) -> base.Corpus:
  """Reads the clips of the digits."""
  folder = 'recordings/' if (root / 'recordings').is_dir() else ''
  clips, ignored = [], []
  for path in base.files(root / folder):
    if name := _NAME.fullmatch(path):
      digit, speaker, take = name.groups()
      clips.append(
        base.Clip(folder + path, digit, speaker, part='test' if int(take) < 5 else 'train')
      )
    else:
      ignored.append(folder + path)
  if not clips:
    raise base.missing_error(
      root,
      'recordings/{digit}_{speaker}_{take}.wav',
      'give the folder of the digits, or --download to fetch them',
    )
  return base.Corpus(root, tuple('0123456789'), tuple(clips), tuple(ignored))
