"""The store's clips in the order in which each lane sees them, read by grain.

The order of a lane is a pure function of its seed and its training clips: that of a grain pipeline
that shuffles them anew for each epoch, joins the epochs and cuts them into full batches
(`order_of`). No clip is dropped, and each step is computed without the steps before it. So the
lane's step, which every checkpoint holds, is the state of the pipeline.

A small store is copied to the device once, and then only positions are sent. A large store is read
from disk in a background thread, block by block. Training gets `Clips` and positions in both cases.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import grain
import jax
import numpy as np

from data_prep.store import Store
from m3net_jax.study.config import Config
from m3net_jax.study.index_shuffle import shuffled
from m3net_jax.study.splits import SHARES, Split

RESIDENT_BYTES = 2**30  # a store up to this size stays on the device
BLOCK_BYTES = 2**28  # approximate size of a streamed block


class Clips(NamedTuple):
  """Clips on the device, and what training mixes into them.

  Attributes:
    mels: [clips, n_mels, frames] in dB.
    labels: [clips] int32.
    noise: [windows, n_mels, frames] float32 powers of level 1, or None.
    teacher: logits [clips, splits, classes] float32, or None.
  """

  mels: jax.Array
  labels: jax.Array
  noise: jax.Array | None = None
  teacher: jax.Array | None = None


class Block(NamedTuple):
  """The input of one call of a program.

  Attributes:
    clips: all clips that `order` can refer to.
    order: [lanes, steps, batch] int32 positions in `clips`; -1 means no clip.
  """

  clips: Clips
  order: np.ndarray


def order_of(
  train: np.ndarray, seed: int, first_step: int, steps: int, batch_size: int
) -> np.ndarray:
  """The training clips of a lane in the steps from `first_step` on.

  They are `pipeline[first_step : first_step + steps]` of

      grain.MapDataset.source(train).seed(seed).shuffle().repeat().batch(batch_size)

  (but for the lengths of `index_shuffle.shuffled`), at the same cost for any number of clips.

  Args:
    train: [clips] positions of the training clips.

  Returns:
    Positions, [steps, batch_size].
  """
  # The seed that grain derives for the first transformation after `seed`.
  first_epoch_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
  first, last = first_step * batch_size, (first_step + steps) * batch_size
  epochs, positions = np.divmod(np.arange(first, last), len(train))
  order = [
    shuffled(positions[epochs == epoch], len(train), (first_epoch_seed + epoch) % 2**32)
    for epoch in range(first // len(train), -(-last // len(train)))
  ]
  return train[np.concatenate(order)].reshape(steps, batch_size)


def batch_size(splits: Sequence[Split], config: Config) -> int:
  """Clips per step: those of the settings, at most all training clips of a lane."""
  return min(config.batch_size, _training_clips(splits, config))


def steps_per_epoch(splits: Sequence[Split], config: Config) -> int:
  """Number of steps in which a lane sees every training clip; the same for every lane."""
  return -(-_training_clips(splits, config) // batch_size(splits, config))


def _training_clips(splits: Sequence[Split], config: Config) -> int:
  """Training clips of a lane, those of the largest fold if folds differ by a few clips.

  If seeds draw their own splits it is that of 6:2:2, so that it does not depend on which seeds are
  trained together.
  """
  if config.split_seeds:
    return round(SHARES[0] * sum(splits[0].sizes.values()))
  return max(len(split.train) for split in splits)


def in_batches(indices: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
  """Cuts the clips of each lane into batches [lanes, steps, batch_size], filled with -1."""
  steps = -(-max(map(len, indices)) // batch_size)
  padded = np.full((len(indices), steps * batch_size), -1, np.int32)
  for row, clips in zip(padded, indices):
    row[: len(clips)] = clips
  return padded.reshape(len(indices), steps, batch_size)


class Source:
  """The clips of a store and their teacher's logits, as a grain `RandomAccessDataSource`.

  An array of positions reads many clips at once. Clips that stay on disk are read when asked for.
  """

  def __init__(self, store: Store, teacher: np.ndarray | None = None):
    self._store, self._teacher = store, teacher

  def __len__(self) -> int:
    return len(self._store.labels)

  def __getitem__(self, clips: SupportsIndex | slice | np.ndarray) -> Clips:
    read = lambda array: None if array is None else np.asarray(array[clips])
    return Clips(read(self._store.mels), read(self._store.labels), None, read(self._teacher))


class Feeder:
  """Turns positions in a store into blocks on the device.

  If several hosts train a study, each has its own feeder and an equal share of the lanes: those of
  the first host are the first ones. From a streamed store a host reads only the clips of its lanes.

  Args:
    store: the clips.
    put: a function that moves a pytree of arrays to the device, for all lanes of this host.
    noise, teacher: of `Clips`; noise stays on the device, teacher goes with the clips.
    resident_bytes: a store up to this size stays on the device.
    block_bytes: approximate size of a block of a larger store, on each host.
    hosts: number of hosts.
    host: number of this host, from 0.

  Attributes:
    resident: whether the store stays on the device.
  """

  def __init__(
    self,
    store: Store,
    put,
    noise: np.ndarray | None = None,
    teacher: np.ndarray | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    block_bytes: int = BLOCK_BYTES,
    hosts: int = 1,
    host: int = 0,
  ):
    self._source, self._put = Source(store, teacher), put
    self._noise = None if noise is None else put(noise)
    self._clip_bytes = int(np.prod(store.mels.shape[1:])) * store.mels.dtype.itemsize
    self._block_bytes, self._hosts, self._host = block_bytes, hosts, host
    self.resident = store.mels.nbytes <= resident_bytes
    self._clips: Clips | None = put(self._source[:]) if self.resident else None

  def steps_per_block(self, lanes: int, batch_size: int, steps: int) -> int:
    """The number of steps of the lanes of all hosts that fit in a block, at most `steps`."""
    step_bytes = lanes // self._hosts * batch_size * self._clip_bytes
    return steps if self.resident else max(1, min(steps, self._block_bytes // step_bytes))

  def blocks(self, orders: Sequence) -> Iterator[Block]:
    """Yields one block per order.

    The rows of the lanes of other hosts are -1 in blocks of a streamed store. All hosts get blocks
    of equal shapes.

    Args:
      orders: functions without arguments that return positions in the store, [lanes, steps,
        batch], for the lanes of all hosts. A background thread calls them and reads the clips, two
        blocks ahead.
    """
    dataset = grain.MapDataset.source(orders).map(lambda order: self._read(order()))
    threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    for clips, order in dataset.to_iter_dataset(threads):
      on_device = self._put(clips) if self._clips is None else self._clips
      yield Block(on_device._replace(noise=self._noise), order)

  def _read(self, order: np.ndarray) -> tuple[Clips | None, np.ndarray]:
    if self.resident:
      return None, order.astype(np.int32)
    shares = order.reshape(self._hosts, -1)
    # Lanes that share a split need the same clips: each clip is read once per block.
    clips = [np.unique(share[share >= 0]) for share in shares]
    # Filled up to a power of two: blocks have few sizes, so few programs are compiled.
    size = 1 << (max(1, *map(len, clips)) - 1).bit_length()
    own, share = clips[self._host], shares[self._host]
    positions = np.full(shares.shape, -1, np.int32)
    positions[self._host] = np.where(share < 0, -1, np.searchsorted(own, share))
    return (
      jax.tree.map(lambda array: _filled(array, size), self._source[own]),
      positions.reshape(order.shape),
    )


def _filled(array: np.ndarray, size: int) -> np.ndarray:
  """The rows of an array, then zeros, `size` rows together."""
  filled = np.zeros((size, *array.shape[1:]), array.dtype)
  filled[: len(array)] = array
  return filled
