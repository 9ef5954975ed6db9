"""Background sounds of the synthetic corpus."""

from collections.abc import Callable

import numpy as np

RATE = 16000  # Hz, as Speech Commands


def coloured(slope: float) -> Callable[[np.random.Generator, int], np.ndarray]:
  """Noise whose power falls with frequency to the power of `slope`: 0 white, 1 pink, 2 brown.

  Returns:
    A function of a generator and a length, which returns samples [length].
  """

  def noise(rng: np.random.Generator, length: int) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    return np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1.0) ** (slope / 2), length)

  return noise


def hum(rng: np.random.Generator, length: int) -> np.ndarray:
  """Mains hum [length]: odd and even harmonics of 50 or 60 Hz and some white noise."""
  base, times = rng.choice([50.0, 60.0]), np.arange(length) / RATE
  tones = [
    rng.uniform(0.2, 1) / n * np.sin(2 * np.pi * (n * base * times + rng.uniform()))
    for n in range(1, 12)
  ]
  return np.sum(tones, 0) + 0.05 * rng.standard_normal(length)


def babble(words: list[np.ndarray], rng: np.random.Generator, length: int) -> np.ndarray:
  """Unintelligible voices [length]: many words at once, played backwards."""
  samples = np.zeros(length)
  for _ in range(max(6, 8 * length // RATE)):
    word = words[rng.integers(len(words))][::-1][:length]
    start = int(rng.integers(0, length - len(word) + 1))
    samples[start : start + len(word)] += word * rng.uniform(0.3, 1)
  return samples


BACKGROUNDS = {'white': coloured(0), 'pink': coloured(1), 'brown': coloured(2), 'hum': hum}
