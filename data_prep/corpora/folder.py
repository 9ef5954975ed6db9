"""A folder a class: every recording anywhere below RAW_DIR/CLASS/ is a clip of CLASS."""

from pathlib import Path

from data_prep.corpora import base

CLIP_SECONDS = 1.0
FIT = 'pad'


def read(root: Path) -> base.Corpus:
  found, ignored = base.recordings(root)
  clips = tuple(base.Clip(path, path.split('/')[0]) for path in found if '/' in path)
  if not clips:
    raise base.missing(
      root,
      'recordings in class folders',
      'give the folder that holds a folder of recordings a class',
    )
  loose = [path for path in found if '/' not in path]
  return base.Corpus(
    root, tuple(sorted({clip.label for clip in clips})), clips, tuple(ignored + loose)
  )
