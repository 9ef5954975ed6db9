"""The store's clips in the order in which each lane sees them, streamed by grain.

A lane's order is a pure function of its seed and its training clips: one shuffle an epoch, one after another, cut into
full batches, so that no clip is dropped and any step can be made without those before it.
A small store lies whole on the device and only positions travel; a large one is gathered from disk in background
threads, block by block. Training sees the same `Clips` and positions either way.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import jax
import numpy as np

from data_prep.store import Store
from m3net_jax.study.splits import Split

RESIDENT_BYTES = 2**30  # a store up to this size lies on the device as a whole
BLOCK_BYTES = 2**28  # a streamed block is about this large


class Clips(NamedTuple):
  """Clips on the device: `mels` [clips, n_mels, frames] in dB, `labels` [clips] int32."""

  mels: jax.Array
  labels: jax.Array


class Block(NamedTuple):
  """What one call of a program works on.

  Attributes:
    clips: all clips that `order` may name.
    order: [lanes, steps, batch] int32 positions in `clips`; -1 is no clip.
  """

  clips: Clips
  order: np.ndarray


def order_of(
  train: np.ndarray, seed: int, first_step: int, steps: int, batch_size: int
) -> np.ndarray:
  """The clips of `steps` steps of a lane from step `first_step` on, [steps, batch_size], of `train` [clips]."""
  first, last = first_step * batch_size, (first_step + steps) * batch_size
  epochs = range(first // len(train), -(-last // len(train)))
  shuffled = np.concatenate(
    [np.random.default_rng([seed, epoch]).permutation(train) for epoch in epochs]
  )
  start = first - epochs[0] * len(train)
  return shuffled[start : start + last - first].reshape(steps, batch_size)


def steps_per_epoch(splits: Sequence[Split], batch_size: int) -> int:
  """Steps in which a lane sees every training clip; the same for every lane, even if folds differ by a few clips."""
  return -(-max(len(split.train) for split in splits) // batch_size)


def in_batches(indices: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
  """Lanes' clips in their own order, [lanes, steps, batch_size], filled up with -1."""
  steps = -(-max(map(len, indices)) // batch_size)
  padded = np.full((len(indices), steps * batch_size), -1, np.int32)
  for row, clips in zip(padded, indices):
    row[: len(clips)] = clips
  return padded.reshape(len(indices), steps, batch_size)


class Feeder:
  """Turns positions in a store into blocks on the device."""

  def __init__(
    self, store: Store, put, resident_bytes: int = RESIDENT_BYTES, block_bytes: int = BLOCK_BYTES
  ):
    """Args: `put` moves a pytree of arrays that all lanes share to the device."""
    self._store, self._put = store, put
    self._clip_bytes = int(np.prod(store.mels.shape[1:])) * store.mels.dtype.itemsize
    self._block_bytes = block_bytes
    self.resident = store.mels.nbytes <= resident_bytes
    self._whole = put(Clips(np.asarray(store.mels), store.labels)) if self.resident else None

  def steps_per_block(self, lanes: int, batch_size: int, steps: int) -> int:
    """How many of `steps` steps fit in a block."""
    return (
      steps
      if self.resident
      else max(1, min(steps, self._block_bytes // (lanes * batch_size * self._clip_bytes)))
    )

  def blocks(self, orders: Sequence) -> Iterator[Block]:
    """A block for each of `orders`, functions without arguments that return [lanes, steps, batch] positions in the store.

    Orders are made, and clips read, in a background thread, two blocks ahead.
    """
    dataset = grain.MapDataset.range(len(orders)).map(
      lambda position: self._read(orders[position]())
    )
    threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    for clips, order in dataset.to_iter_dataset(threads):
      yield Block(self._whole if self.resident else self._put(clips), order)

  def _read(self, order: np.ndarray) -> tuple[Clips | None, np.ndarray]:
    if self.resident:
      return None, order.astype(np.int32)
    # Lanes that share a split ask for the same clips: each is read once a block.
    named, positions = np.unique(order, return_inverse=True)
    gap = int(named[0] == -1)
    clips = named[gap:]
    # Blocks of one size, so that a program is compiled once: the number of clips is filled up to a power of two.
    size = 1 << int(len(clips) - 1).bit_length()
    mels = np.zeros((size, *self._store.mels.shape[1:]), self._store.mels.dtype)
    mels[: len(clips)] = self._store.mels[clips]
    labels = np.zeros(size, np.int32)
    labels[: len(clips)] = self._store.labels[clips]
    return Clips(mels, labels), (positions.reshape(order.shape) - gap).astype(np.int32)
