"""The 35 words of Speech Commands spoken by eSpeak NG: a corpus for a machine without recordings.

The layout is that of Speech Commands v0.02, and the corpus is labelled synthetic: an accuracy on it
shows that the program works, not how well a network recognises people. The seed determines every
sample. Twenty speakers, each with an accent of English and a variant of the voice, say every word
eight times; each clip has its own pitch, speed, position in the second, gain and background. With
these numbers a few hundred training steps show progress; with sixty voices of one take they do not.
"""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import soxr
from tqdm.auto import tqdm

from data_prep import audio, espeak, files, workers
from data_prep.corpora.speech_commands import LISTS, NOISE, WORDS
from data_prep.noises import BACKGROUNDS, RATE, babble

ACCENTS = (
  'en-us',
  'en',
  'en-gb-scotland',
  'en-gb-x-rp',
  'en-gb-x-gbclan',
  'en-gb-x-gbcwmd',
  'en-029',
  'en-us-nyc',
)
# The variants of eSpeak NG that sound like a person, except those with `breath`: their noise
# differs between processes even with the same seed.
VARIANTS = (
  'f1',
  'f4',
  'm1',
  'm2',
  'm3',
  'm4',
  'm5',
  'm6',
  'm7',
  'm8',
  'Alex',
  'Andrea',
  'Andy',
  'Annie',
  'Denis',
  'Diogo',
  'Gene',
  'Gene2',
  'Henrique',
  'Hugo',
  'Lee',
  'Mario',
  'Michael',
  'Mike',
  'Nguyen',
  'adam',
  'anika',
  'announcer',
  'antonio',
  'aunty',
  'belinda',
  'benjamin',
  'boris',
  'david',
  'edward',
  'grandma',
  'grandpa',
  'gustave',
  'ian',
  'iven3',
  'iven4',
  'john',
  'kaukovalta',
  'linda',
  'marcelo',
  'max',
  'michel',
  'miguel',
  'norbert',
  'pablo',
  'paul',
  'pedro',
  'quincy',
  'rob',
  'robert',
  'shelby',
  'steph',
  'steph2',
  'travis',
  'zac',
)
SNR = (20.0, 40.0)  # dB, of the word over its background
LEVEL = (-18.0, -6.0)  # dB relative to full scale, of the clip's peak
SHIFT = 0.04  # seconds; largest distance between the middle of the clip and of the word
_NOISE_SECONDS = 20
_README = """SYNTHETIC SPEECH, NOT RECORDINGS

{clips} clips of 35 words by {speakers} voices of the speech synthesiser eSpeak NG, made by
m3net_jax (data_prep/synthetic.py) with seed {seed}, in the layout of Speech Commands v0.02.
An accuracy on these clips says nothing about human speech.
"""


class Voice(NamedTuple):
  """A speaker.

  Attributes:
    name: 8 hexadecimal digits, as in Speech Commands.
    accent, variant: of eSpeak NG.
    speed: mean speed of its clips, in words per minute.
    pitch: mean pitch of its clips, 0 to 100.
    seed: of the speaker, from 1.
  """

  name: str
  accent: str
  variant: str
  speed: int
  pitch: int
  seed: int


def voices(num_speakers: int, seed: int) -> list[Voice]:
  """Draws different pairs of accent and variant; a variant repeats only after all were used."""
  rng = np.random.default_rng([seed, 0])
  speakers = []
  for number in range(num_speakers):
    turn, place = divmod(number, len(VARIANTS))
    if place == 0:
      order = rng.permutation(len(VARIANTS))
      accents = rng.integers(len(ACCENTS), size=len(VARIANTS))
    accent = ACCENTS[(accents[place] + turn) % len(ACCENTS)]
    variant = VARIANTS[order[place]]
    name = hashlib.sha1(f'{seed} {number} {accent} {variant}'.encode()).hexdigest()[:8]
    speakers.append(
      Voice(
        name,
        accent,
        variant,
        int(rng.integers(135, 190)),
        int(rng.integers(30, 71)),
        number + 1,
      )
    )
  return speakers


def make(
  root: Path,
  num_processes: int | None = None,
  *,
  seed: int = 0,
  num_speakers: int = 20,
  takes: int = 8,
) -> None:
  """Writes the corpus to the folder `root`, completely or not at all.

  Args:
    root: the folder; it is replaced if it exists.
    num_processes: number of processes; None for one per core.
    seed: determines every sample.
    num_speakers: number of voices.
    takes: clips per word and voice.

  Raises:
    UserError: the extra `synthetic` is not installed.
  """
  espeak.loader()  # raises the error before any file is written
  num_clips = len(WORDS) * num_speakers * takes
  print(
    f'{root}: making a synthetic corpus, {num_clips} words spoken by eSpeak NG',
    file=sys.stderr,
    flush=True,
  )
  with files.replacing_folder(root) as folder:
    for name in (*WORDS, NOISE):
      (folder / name).mkdir()
    speakers = voices(num_speakers, seed)
    work = workers.parallel(num_processes or workers.num_cores())
    for _ in tqdm(
      work(joblib.delayed(_speak)(folder, voice, seed, takes) for voice in speakers),
      root.name,
      len(speakers),
      unit='speaker',
      disable=None,
      dynamic_ncols=True,
    ):
      pass
    _write_background(folder, speakers[0], seed)
    # 6:2:2 by speaker; the two lists contain the validation and the test clips.
    cut = [round(len(speakers) * share) for share in (0.0, 0.2, 0.4)]
    for (_, name), first, last in zip(LISTS.items(), cut, cut[1:]):
      lines = [
        f'{word}/{_file(voice, take)}\n'
        for word in WORDS
        for voice in speakers[first:last]
        for take in range(takes)
      ]
      (folder / name).write_text(''.join(lines), encoding='utf-8')
    text = _README.format(clips=num_clips, speakers=num_speakers, seed=seed)
    (folder / 'README.txt').write_text(text, encoding='utf-8')


def clip(word: np.ndarray, background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """One second at 16 kHz: a word somewhere in it, over a background.

  Args:
    word: [any] float, without silence around it; cut after one second.
    background: [RATE] float of any level.
    rng: draws the position, the ratio of word to background, and the level.

  Returns:
    [RATE] int16.
  """
  word = word[:RATE]
  samples = np.zeros(RATE)
  free = RATE - len(word)
  start = round(np.clip(free / 2 + rng.uniform(-SHIFT, SHIFT) * RATE, 0, free))
  samples[start : start + len(word)] = word
  ratio = 10.0 ** (rng.uniform(*SNR) / 20)
  samples += background * (_rms(word) / (ratio * max(_rms(background), 1e-9)))
  peak = 10.0 ** (rng.uniform(*LEVEL) / 20)
  return np.round(np.clip(samples * (peak / np.abs(samples).max()), -1, 1) * 32767).astype(np.int16)


def trim(samples: np.ndarray, below: float = 0.02) -> np.ndarray:
  """Cuts both ends of samples as long as they are quieter than `below` times the peak."""
  loud = np.flatnonzero(np.abs(samples) > below * np.abs(samples).max())
  return samples[loud[0] : loud[-1] + 1]


def _speak(folder: Path, voice: Voice, seed: int, takes: int) -> None:
  """Writes all clips of one speaker."""
  for take in range(takes):
    rng = np.random.default_rng([seed, voice.seed, take])
    spoken = _words(voice, take, rng)
    for word, samples in zip(WORDS, spoken):
      kind = rng.choice([*BACKGROUNDS, 'babble'])
      background = babble(spoken, rng, RATE) if kind == 'babble' else BACKGROUNDS[kind](rng, RATE)
      content = audio.wave(clip(samples, background, rng), RATE)
      (folder / word / _file(voice, take)).write_bytes(content)


def _words(voice: Voice, take: int, rng: np.random.Generator) -> list[np.ndarray]:
  """One take of the 35 words, [any] float64 at 16 kHz each, with varied pitch and speed."""
  with espeak.Speaker(voice.accent, voice.variant, 1000 * take + voice.seed) as speaker:
    raw = [
      speaker.say(
        word,
        voice.speed + int(rng.integers(-10, 11)),
        voice.pitch + int(rng.integers(-6, 7)),
        int(rng.integers(40, 61)),
      )
      for word in WORDS
    ]
  return [
    trim(soxr.resample(samples / 32768.0, speaker.rate, RATE, quality='HQ')) for samples in raw
  ]


def _write_background(folder: Path, voice: Voice, seed: int) -> None:
  rng = np.random.default_rng([seed, 0, 1])
  length = _NOISE_SECONDS * RATE
  noises = {name: noise(rng, length) for name, noise in BACKGROUNDS.items()}
  noises['babble'] = babble(_words(voice, 0, rng), rng, length)
  for name, samples in noises.items():
    content = audio.wave(0.3 * samples / np.abs(samples).max(), RATE)
    (folder / NOISE / f'{name}.wav').write_bytes(content)


def _file(voice: Voice, take: int) -> str:
  return f'{voice.name}_nohash_{take}.wav'


def _rms(samples: np.ndarray) -> float:
  return float(np.sqrt(np.mean(samples**2)))
