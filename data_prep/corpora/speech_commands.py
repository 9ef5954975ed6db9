"""Speech Commands v0.02: 105,829 clips of 35 words, 16 kHz, 1 s.

Warden 2018, arXiv 1804.03209; CC BY 4.0. One folder per word with {speaker}_nohash_{take}.wav.
validation_list.txt and testing_list.txt give the part of a clip; without them the part follows from
the speaker's hash by the rule of the data set's README, which gives the same lists.
"""

import hashlib
import re
from pathlib import Path

from data_prep import download
from data_prep.corpora import base
from data_prep.errors import UserError

CLIP_SECONDS = 1.0
FIT = 'pad'
DOWNLOAD = download.Archive(
  'http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz',
  'sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58',
)
WORDS = tuple(
  'backward bed bird cat dog down eight five follow forward four go happy house learn left marvin '
  'nine no off on one right seven sheila six stop three tree two up visual wow yes zero'.split()
)
LISTS = {'validation': 'validation_list.txt', 'test': 'testing_list.txt'}
NOISE = '_background_noise_'
_LARGEST = 2**27 - 1  # the rule's "maximum number of WAVs per class"


def speaker(path: str) -> str:
  """The speaker in a path: '0a7c2a8d' for 'bed/0a7c2a8d_nohash_0.wav'."""
  return re.sub(r'_nohash_.*$', '', path.rpartition('/')[2])


def part_by_hash(path: str, validation: float = 10.0, test: float = 10.0) -> str:
  """The official part of a clip by its speaker; `validation` and `test` are in per cent."""
  number = int(hashlib.sha1(speaker(path).encode()).hexdigest(), 16)
  share = number % (_LARGEST + 1) * (100.0 / _LARGEST)
  return 'validation' if share < validation else 'test' if share < validation + test else 'train'


def parts(root: Path, paths: list[str]) -> list[str]:
  """The part of each path, by the official lists if they exist, otherwise by the hash rule."""
  if not all((root / name).is_file() for name in LISTS.values()):
    return [part_by_hash(path) for path in paths]
  listed = {}
  for part, name in LISTS.items():
    try:
      lines = (root / name).read_text(encoding='utf-8-sig').replace('\\', '/').split()
    except (OSError, UnicodeDecodeError) as error:
      raise UserError(
        f'{root / name}: cannot be read as a list of clips ({error}): restore the original'
      ) from error
    # Lists that were made anew may begin with "./" and name capitals as another system does.
    listed |= {line.removeprefix('./').lower(): part for line in lines}
  paths = [path.lower() for path in paths]
  if not listed.keys() & set(paths):
    raise UserError(
      f'--raw_dir: {root}: {" and ".join(LISTS.values())} name none of the recordings: restore the '
      'originals, or remove both to get the same parts from the names'
    )
  return [listed.get(path, 'train') for path in paths]


def words(root: Path) -> tuple[list[str], list[str]]:
  """Paths of the recordings of the 35 words, and of all other files."""
  paths, ignored = [], []
  for path in base.files(root):
    word = path.split('/')[0]
    (paths if word in WORDS and path.lower().endswith('.wav') else ignored).append(path)
  folders = {path.split('/')[0] for path in paths}
  if not folders:
    raise base.missing_error(
      root, 'folders of the 35 words', 'give the folder of Speech Commands v0.02, or --download it'
    )
  if absent := [word for word in WORDS if word not in folders]:
    raise UserError(
      f'--raw_dir: {root} has no recordings of {", ".join(absent)}: complete it, or use '
      '--corpus=folder for an incomplete corpus'
    )
  return paths, ignored


def read(root: Path) -> base.Corpus:
  """Reads the clips of the 35 words."""
  paths, ignored = words(root)
  clips = tuple(
    base.Clip(path, path.split('/')[0], speaker(path), part=part)
    for path, part in zip(paths, parts(root, paths))
  )
  return base.Corpus(
    root, WORDS, clips, tuple(path for path in ignored if not path.startswith(NOISE))
  )
