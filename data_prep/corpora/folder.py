"""One folder per class: every recording anywhere below RAW_DIR/CLASS/ is a clip of CLASS."""

from pathlib import Path

from data_prep.corpora import base

CLIP_SECONDS = 1.0
FIT = 'pad'


def read(root: Path) -> base.Corpus:
  """Reads the clips of all class folders below `root`."""
  paths, ignored = base.recordings(root)
  clips = tuple(base.Clip(path, path.split('/')[0]) for path in paths if '/' in path)
  if not clips:
    raise base.missing_error(
      root,
      'recordings in class folders',
      'give a folder with one folder of recordings per class',
    )
  loose = [path for path in paths if '/' not in path]
  return base.Corpus(
    root, tuple(sorted({clip.label for clip in clips})), clips, tuple(ignored + loose)
  )
