"""The 35 words of Speech Commands spoken by eSpeak NG: a corpus for a machine that has no recordings.

Written in the layout of Speech Commands v0.02, and labelled synthetic: an accuracy on
it says that the program works, not how well a network hears people. Every sample is a
pure function of the seed. Twenty speakers, each an accent of English in a variant of the
voice, say every word eight times; each clip has its own pitch, speed, place in the
second, gain and background. Few voices say much, and clearly, so that a few hundred
steps of training show something; with sixty voices of one take each they do not.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import soundfile
import soxr
from tqdm.auto import tqdm

from data_prep import espeak, files, workers
from data_prep.corpora.speech_commands import LISTS, NOISE, WORDS

RATE = 16000  # Hz, as Speech Commands
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
# eSpeak NG's variants that sound like a person. Those with `breath` are left out: their noise differs
# from one process to the next, whatever the seed.
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
SHIFT = 0.04  # seconds, at most, from the middle of the clip to that of the word
_NOISE_SECONDS = 20
_README = """SYNTHETIC SPEECH, NOT RECORDINGS

{clips} clips of 35 words by {speakers} voices of the speech synthesiser eSpeak NG, made by
m3net_jax (data_prep/synthetic.py) with seed {seed}, in the layout of Speech Commands v0.02.
An accuracy measured on them says nothing of human speech.
"""


class Voice(NamedTuple):
  """A speaker: eSpeak NG's accent and variant, and the ranges its clips are drawn around."""

  name: str  # 8 hexadecimal digits, as in Speech Commands
  accent: str
  variant: str
  speed: int  # words a minute
  pitch: int  # 0 to 100
  seed: int


def voices(num_speakers: int, seed: int) -> list[Voice]:
  """Different pairs of accent and variant, all variants before any comes twice."""
  chance = np.random.default_rng([seed, 0])
  made = []
  for number in range(num_speakers):
    turn, place = divmod(number, len(VARIANTS))
    if place == 0:
      order, accents = (
        chance.permutation(len(VARIANTS)),
        chance.integers(len(ACCENTS), size=len(VARIANTS)),
      )
    accent = ACCENTS[(accents[place] + turn) % len(ACCENTS)]
    variant = VARIANTS[order[place]]
    name = hashlib.sha1(f'{seed} {number} {accent} {variant}'.encode()).hexdigest()[:8]
    made.append(
      Voice(
        name,
        accent,
        variant,
        int(chance.integers(135, 190)),
        int(chance.integers(30, 71)),
        number + 1,
      )
    )
  return made


def make(
  root: Path,
  num_processes: int | None = None,
  *,
  seed: int = 0,
  num_speakers: int = 20,
  takes: int = 8,
) -> None:
  """Writes the corpus to `root`, completely or not at all."""
  espeak.loader()  # refused before anything is made if it is not installed
  print(
    f'{root}: making a synthetic corpus, {len(WORDS) * num_speakers * takes} words spoken by eSpeak NG',
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
    # 6:2:2 by speaker; the two lists name the clips that are not for training.
    cut = [round(len(speakers) * share) for share in (0.0, 0.2, 0.4)]
    for (_, name), first, last in zip(LISTS.items(), cut, cut[1:]):
      lines = [
        f'{word}/{_file(voice, take)}\n'
        for word in WORDS
        for voice in speakers[first:last]
        for take in range(takes)
      ]
      (folder / name).write_text(''.join(lines), encoding='utf-8')
    text = _README.format(clips=len(WORDS) * num_speakers * takes, speakers=num_speakers, seed=seed)
    (folder / 'README.txt').write_text(text, encoding='utf-8')


def clip(word: np.ndarray, background: np.ndarray, chance: np.random.Generator) -> np.ndarray:
  """One second at 16 kHz: a word somewhere in it, over a background.

  Args:
    word: [any] float, without silence around it; what is over a second is cut.
    background: [RATE] float of any level.

  Returns:
    [RATE] int16.
  """
  word = word[:RATE]
  samples = np.zeros(RATE)
  free = RATE - len(word)
  start = round(np.clip(free / 2 + chance.uniform(-SHIFT, SHIFT) * RATE, 0, free))
  samples[start : start + len(word)] = word
  ratio = 10.0 ** (chance.uniform(*SNR) / 20)
  samples += background * (_rms(word) / (ratio * max(_rms(background), 1e-9)))
  peak = 10.0 ** (chance.uniform(*LEVEL) / 20)
  return np.round(np.clip(samples * (peak / np.abs(samples).max()), -1, 1) * 32767).astype(np.int16)


def trim(samples: np.ndarray, below: float = 0.02) -> np.ndarray:
  """Samples without what is quieter than `below` times the peak at both ends."""
  loud = np.flatnonzero(np.abs(samples) > below * np.abs(samples).max())
  return samples[loud[0] : loud[-1] + 1]


def _coloured(slope: float) -> Callable[[np.random.Generator, int], np.ndarray]:
  """Noise whose power falls with frequency to the power of `slope`: 0 white, 1 pink, 2 brown."""

  def noise(chance: np.random.Generator, length: int) -> np.ndarray:
    spectrum = np.fft.rfft(chance.standard_normal(length))
    return np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1.0) ** (slope / 2), length)

  return noise


def _hum(chance: np.random.Generator, length: int) -> np.ndarray:
  """Mains hum: odd and even harmonics of 50 or 60 Hz over some white noise."""
  base, times = chance.choice([50.0, 60.0]), np.arange(length) / RATE
  tones = [
    chance.uniform(0.2, 1) / n * np.sin(2 * np.pi * (n * base * times + chance.uniform()))
    for n in range(1, 12)
  ]
  return np.sum(tones, 0) + 0.05 * chance.standard_normal(length)


BACKGROUNDS = {'white': _coloured(0), 'pink': _coloured(1), 'brown': _coloured(2), 'hum': _hum}


def _babble(spoken: list[np.ndarray], chance: np.random.Generator, length: int) -> np.ndarray:
  """Voices nobody understands: words backwards, many at once."""
  samples = np.zeros(length)
  for _ in range(max(6, 8 * length // RATE)):
    word = spoken[chance.integers(len(spoken))][::-1][:length]
    start = int(chance.integers(0, length - len(word) + 1))
    samples[start : start + len(word)] += word * chance.uniform(0.3, 1)
  return samples


def _speak(folder: Path, voice: Voice, seed: int, takes: int) -> None:
  for take in range(takes):
    chance = np.random.default_rng([seed, voice.seed, take])
    spoken = _words(voice, take, chance)
    for word, samples in zip(WORDS, spoken):
      kind = chance.choice([*BACKGROUNDS, 'babble'])
      background = (
        _babble(spoken, chance, RATE) if kind == 'babble' else BACKGROUNDS[kind](chance, RATE)
      )
      soundfile.write(
        folder / word / _file(voice, take),
        clip(samples, background, chance),
        RATE,
        subtype='PCM_16',
      )


def _words(voice: Voice, take: int, chance: np.random.Generator) -> list[np.ndarray]:
  """The 35 words of a speaker, [any] float64 at 16 kHz each, each at a pitch and speed of its own."""
  with espeak.Speaker(voice.accent, voice.variant, 1000 * take + voice.seed) as speaker:
    raw = [
      speaker.say(
        word,
        voice.speed + int(chance.integers(-10, 11)),
        voice.pitch + int(chance.integers(-6, 7)),
        int(chance.integers(40, 61)),
      )
      for word in WORDS
    ]
  return [
    trim(soxr.resample(samples / 32768.0, speaker.rate, RATE, quality='HQ')) for samples in raw
  ]


def _write_background(folder: Path, voice: Voice, seed: int) -> None:
  chance = np.random.default_rng([seed, 0, 1])
  length = _NOISE_SECONDS * RATE
  made = {name: noise(chance, length) for name, noise in BACKGROUNDS.items()}
  made['babble'] = _babble(_words(voice, 0, chance), chance, length)
  for name, samples in made.items():
    soundfile.write(
      folder / NOISE / f'{name}.wav', 0.3 * samples / np.abs(samples).max(), RATE, subtype='PCM_16'
    )


def _file(voice: Voice, take: int) -> str:
  return f'{voice.name}_nohash_{take}.wav'


def _rms(samples: np.ndarray) -> float:
  return float(np.sqrt(np.mean(samples**2)))
