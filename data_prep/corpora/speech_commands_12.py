"""The 12-class task of Speech Commands: ten words, `_unknown_`, `_silence_` (Warden 2018, arXiv 1804.03209).

Two forms are read. From the whole of v0.02 it is made as the official training recipe
does (`prepare_data_index` of TensorFlow's speech_commands example): in each part, a
tenth as many clips of other words as of the ten, drawn at random, and a tenth as many
of silence, cut from the background noise. The separately published test set has the
twelve folders ready; in its `_unknown_` the word stands before the speaker and the
ending is doubled (backward_0c540988_nohash_0.wav.wav), and `_silence_` has no speaker.
"""

import math
import random
from pathlib import Path

from data_prep.corpora import base, speech_commands
from data_prep.errors import UserError

CLIP_SECONDS = 1.0
FIT = 'pad'
DOWNLOAD = speech_commands.DOWNLOAD
TEN = ('yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go')
SILENCE, UNKNOWN = '_silence_', '_unknown_'
CLASSES = (*TEN, SILENCE, UNKNOWN)
# The recipe's own numbers.
_SEED = 59185
_SHARE = 0.10  # of unknown words and of silence, each, to the ten words of a part
_LOUDEST, _HEARD = 0.1, 0.8  # loudest background noise, and how often there is any


def read(root: Path) -> base.Corpus:
  if (root / UNKNOWN).is_dir():
    return _published(root)
  return _recipe(root)


def _published(root: Path) -> base.Corpus:
  clips, ignored = [], []
  for path in base.files(root):
    label = path.split('/')[0]
    if label not in CLASSES or not path.endswith('.wav'):
      ignored.append(path)
      continue
    name = speech_commands.speaker(path)
    group = '' if label == SILENCE else name.rpartition('_')[2] if label == UNKNOWN else name
    clips.append(base.Clip(path, label, group, part='test'))
  return base.Corpus(root, CLASSES, tuple(clips), tuple(ignored))


def _recipe(root: Path) -> base.Corpus:
  found, ignored = speech_commands.words(root)
  noises = [
    path for path in ignored if path.startswith(speech_commands.NOISE) and path.endswith('.wav')
  ]
  if not noises:
    raise UserError(
      f'--raw_dir: {root} has no {speech_commands.NOISE}/*.wav, of which {SILENCE} is made: put it back'
    )
  chance = random.Random(_SEED)
  every = list(zip(found, speech_commands.parts(root, found)))
  seconds = {noise: _seconds(root / noise) for noise in noises}
  clips = []
  for part in ('train', 'validation', 'test'):
    ten, unknown = [], []
    for path, own in every:
      word = path.split('/')[0]
      if own == part:
        label = word if word in TEN else UNKNOWN
        (ten if word in TEN else unknown).append(
          base.Clip(path, label, speech_commands.speaker(path), part=part)
        )
    extra = math.ceil(len(ten) * _SHARE)
    chance.shuffle(unknown)
    clips += ten + sorted(unknown[:extra])
    for _ in range(extra):
      noise = chance.choice(noises)
      start = round(chance.uniform(0, max(0.0, seconds[noise] - CLIP_SECONDS)), 4)
      gain = round(chance.uniform(0, _LOUDEST), 6) if chance.random() < _HEARD else 0.0
      clips.append(base.Clip(noise, SILENCE, noise, part=part, start=start, gain=gain))
  return base.Corpus(
    root, CLASSES, tuple(clips), tuple(path for path in ignored if path not in noises)
  )


def _seconds(path: Path) -> float:
  import soundfile

  try:
    return soundfile.info(path).duration
  except soundfile.SoundFileError as error:
    raise UserError(f'{path}: cannot be decoded ({error}): put the original back') from error
