"""The shuffle of `grain.MapDataset`, for many positions at once.

Grain encrypts a position with a small block cipher, again and again until the result is a position
of the corpus (cycle walking). So what stands at a position of an epoch costs the same at any number
of clips, and no permutation of a large corpus is ever made. Grain's own function takes one position
per call and 3 to 16 microseconds for it; lanes on an accelerator need one in 2. Here numpy computes
the same, 12 to 40 times as fast (docs/benchmarks.md), and tests compare the two. An order that is
computed here also stays the same with later versions of grain.

The cipher is Simon (https://eprint.iacr.org/2013/404) with four rounds, words of at least 8 bits
and the keys of `std::seed_seq` in C++.
"""

import functools

import numpy as np

_MIN_BITS = 8  # of a word; a value that is encrypted has two
# Up to this length walks are long, and all positions are computed together.
_SMALL = 4 ** (_MIN_BITS - 1)


def shuffled(positions: np.ndarray, length: int, seed: int) -> np.ndarray:
  """What stands at positions of the shuffled numbers below `length`.

  It is `grain.experimental.index_shuffle(position, length - 1, seed, rounds=4)`, but at lengths of
  65,537, 262,145 and so on (4**n + 1): there grain never returns the last number, and another one
  twice.

  Args:
    positions: [any] int64, from 0 to `length` - 1.
    seed: from 0 to 2**32 - 1.

  Returns:
    [any] int64.
  """
  if length <= _SMALL:
    return _all_shuffled(length, seed)[positions]
  bits = max(_MIN_BITS, -(-(length - 1).bit_length() // 2))
  keys = _keys(seed)
  values = _encrypted(positions, bits, keys)
  while len(outside := np.flatnonzero(values >= length)):
    values[outside] = _encrypted(values[outside], bits, keys)
  return values


@functools.lru_cache(128)  # of at most 128 KiB; a lane's next block needs the same epoch
def _all_shuffled(length: int, seed: int) -> np.ndarray:
  """The shuffled numbers below a small `length`, [length] int64."""
  numbers = np.arange(4**_MIN_BITS)
  # Where walks are after 1, 2, 4 and more steps; a walk stays at the first number below `length`.
  walks = _encrypted(numbers, _MIN_BITS, _keys(seed))
  values = walks[:length].copy()
  walks[:length] = numbers[:length]
  while (values >= length).any():
    values, walks = walks[values], walks[walks]
  return values


def _encrypted(values: np.ndarray, bits: int, keys: tuple[int, ...]) -> np.ndarray:
  """Encrypts values [any] of two words of `bits` bits each; each value becomes another one."""
  mask = (1 << bits) - 1
  mixed = _mixed(bits)
  left, right = values >> bits, values & mask
  for key in keys:
    left, right = right, left ^ mixed[right] ^ (key & mask)
  return left << bits | right


@functools.cache
def _mixed(bits: int) -> np.ndarray:
  """Simon's function of every word of `bits` bits, [2**bits] int64."""
  words = np.arange(1 << bits)
  rotated = lambda by: (words << by | words >> (bits - by)) & ((1 << bits) - 1)
  return rotated(1) & rotated(8) ^ rotated(2)


@functools.lru_cache(4096)
def _keys(seed: int) -> tuple[int, ...]:
  """The keys of the four rounds: those of `std::seed_seq{seed}` ([rand.util.seedseq] in C++)."""
  low = 2**32 - 1
  word = [0x8B8B8B8B] * 4
  for k in range(8):
    a, b, c, d = k % 4, (k + 1) % 4, (k + 2) % 4, (k - 1) % 4
    if k < 4:
      mixed = word[a] ^ word[b] ^ word[d]
      first = 1664525 * (mixed ^ mixed >> 27) & low
      second = first + k + (1, seed, 0, 0)[k] & low
      word[a], word[b], word[c] = second, word[b] + first & low, word[c] + second & low
    else:
      mixed = word[a] + word[b] + word[d] & low
      first = 1566083941 * (mixed ^ mixed >> 27) & low
      second = first - a & low
      word[a], word[b], word[c] = second, word[b] ^ first, word[c] ^ second
  return tuple(word)
