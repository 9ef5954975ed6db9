"""UrbanSound8K: 8,732 slices of at most 4 s, 10 classes, 10 official folds.

Salamon, Jacoby and Bello 2014; https://urbansounddataset.weebly.com/urbansound8k.html, where a web
form must be filled in before the download. metadata/UrbanSound8K.csv lists the slices of
audio/fold1 ... fold10, each with its class and the Freesound recording from which it was cut
(fsID), which is the group.
"""

from pathlib import Path

from data_prep.corpora import base, table

CLIP_SECONDS = 4.0
FIT = 'repeat'
# In the order of classID.
CLASSES = (
  'air_conditioner',
  'car_horn',
  'children_playing',
  'dog_bark',
  'drilling',
  'engine_idling',
  'gun_shot',
  'jackhammer',
  'siren',
  'street_music',
)
CSV = 'metadata/UrbanSound8K.csv'
FIX = (
  'request UrbanSound8K through the web form at '
  'https://urbansounddataset.weebly.com/download-urbansound8k.html and '
  f'unpack it so that {CSV} and audio/fold1 to audio/fold10 are in --raw_dir'
)


def read(root: Path) -> base.Corpus:
  """Reads the clips of UrbanSound8K."""
  if not (root / CSV).is_file():
    raise base.missing_error(root, CSV, FIX)
  clips = []
  for line, row in table.rows(root / CSV, ('slice_file_name', 'fsID', 'fold', 'class')):
    fold = table.whole_number(root / CSV, line, 'fold', row['fold'], 1, 10)
    label = table.one_of(root / CSV, line, 'class', row['class'], CLASSES)
    clips.append(base.Clip(f'audio/fold{fold}/{row["slice_file_name"]}', label, row['fsID'], fold))
  named = {clip.path for clip in clips} | {CSV}
  return base.Corpus(
    root, CLASSES, tuple(clips), tuple(path for path in base.files(root) if path not in named)
  )
