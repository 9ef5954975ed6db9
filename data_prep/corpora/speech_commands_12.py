"""The 12-class task of Speech Commands: ten words, `_unknown_` and `_silence_`.

Warden 2018, arXiv 1804.03209. Two forms are read. The complete v0.02 is used as in the official
training recipe (`prepare_data_index` of TensorFlow's speech_commands example): each part has a
tenth as many clips of other words, drawn at random, as of the ten words, and a tenth as many of
silence, cut from the background noise. The separately published test set has twelve folders; in its
`_unknown_` the word precedes the speaker and the ending is doubled
(backward_0c540988_nohash_0.wav.wav), and `_silence_` has no speaker.
"""

import math
import random
from pathlib import Path

from data_prep.corpora import base, silence, speech_commands
from data_prep.errors import UserError
from data_prep.negatives import SILENCE, UNKNOWN

CLIP_SECONDS = 1.0
FIT = 'pad'
DOWNLOAD = speech_commands.DOWNLOAD
TEN = ('yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go')
CLASSES = (*TEN, SILENCE, UNKNOWN)
# Numbers of the recipe.
_SHARE = 0.10  # clips of unknown words, and of silence, per clip of the ten words in a part
_MAX_GAIN = 0.1  # of the background noise in a clip of silence


def read(root: Path) -> base.Corpus:
  """Reads the clips of the 12 classes from either form."""
  if (root / UNKNOWN).is_dir():
    return _published(root)
  return _recipe(root)


def _published(root: Path) -> base.Corpus:
  """Reads the separately published test set."""
  clips, ignored = [], []
  for path in base.files(root):
    label = path.split('/')[0]
    if label not in CLASSES or not path.lower().endswith('.wav'):
      ignored.append(path)
      continue
    name = speech_commands.speaker(path)
    group = '' if label == SILENCE else name.rpartition('_')[2] if label == UNKNOWN else name
    clips.append(base.Clip(path, label, group, part='test'))
  return base.Corpus(root, CLASSES, tuple(clips), tuple(ignored))


def _recipe(root: Path) -> base.Corpus:
  """Draws the clips from the complete v0.02."""
  paths, ignored = speech_commands.words(root)
  noises = [
    path
    for path in ignored
    if path.startswith(speech_commands.NOISE) and path.lower().endswith('.wav')
  ]
  if not noises:
    raise UserError(
      f'--raw_dir: {root} has no {speech_commands.NOISE}/*.wav, from which {SILENCE} is made: '
      'restore them'
    )
  rng = random.Random(silence.SEED)
  parts = list(zip(paths, speech_commands.parts(root, paths)))
  seconds = {noise: silence.length(root / noise) for noise in noises}
  clips = []
  for part in ('train', 'validation', 'test'):
    ten, unknown = [], []
    for path, clip_part in parts:
      word = path.split('/')[0]
      if clip_part == part:
        label = word if word in TEN else UNKNOWN
        (ten if word in TEN else unknown).append(
          base.Clip(path, label, speech_commands.speaker(path), part=part)
        )
    extra = math.ceil(len(ten) * _SHARE)
    rng.shuffle(unknown)
    clips += ten + sorted(unknown[:extra])
    clips += [
      base.Clip(noise, SILENCE, noise, part=part, start=start, gain=gain)
      for noise, start, gain in silence.places(seconds, extra, rng, CLIP_SECONDS, _MAX_GAIN)
    ]
  return base.Corpus(
    root, CLASSES, tuple(clips), tuple(path for path in ignored if path not in noises)
  )
