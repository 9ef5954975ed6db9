"""The order of clips; blocks are equal from a store on the device and from a streamed store."""

import grain
import jax
import numpy as np
import pytest

from m3net_jax.study import input_pipeline
from m3net_jax.study.input_pipeline import Feeder, Source, in_batches, order_of


def pipeline(train, seed, batch_size):
  """What defines the order of a lane."""
  return grain.MapDataset.source(train).seed(seed).shuffle().repeat().batch(batch_size)


@pytest.mark.parametrize('clips, batch_size', [(50, 6), (20, 50), (3000, 64), (70_001, 64)])
@pytest.mark.parametrize('seed', [3, 2**31 - 1])
def test_the_order_is_that_of_a_grain_pipeline(clips, batch_size, seed):
  """Also where one epoch ends in a batch and the next begins."""
  train = np.random.default_rng(0).permutation(2 * clips)[:clips]
  batches = pipeline(train, seed, batch_size)
  for first in (0, clips // batch_size - 1, 5 * clips // batch_size):
    expected = np.stack([batches[step] for step in range(max(first, 0), max(first, 0) + 3)])
    np.testing.assert_array_equal(order_of(train, seed, max(first, 0), 3, batch_size), expected)


def test_the_step_is_the_state_of_the_pipeline():
  """A lane that resumes within an epoch goes on as an iterator of grain that does."""
  train = np.arange(1000, 1300)
  no_threads = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  batches = iter(pipeline(train, 5, 64).to_iter_dataset(no_threads))
  for _ in range(7):
    next(batches)
  state = batches.get_state()
  resumed = iter(pipeline(train, 5, 64).to_iter_dataset(no_threads))
  resumed.set_state(state)
  expected = np.stack([next(resumed) for _ in range(6)])
  np.testing.assert_array_equal(order_of(train, 5, 7, 6, 64), expected)


def test_every_epoch_sees_every_clip_once():
  train = np.arange(100, 150)
  stream = order_of(train, 3, 0, 25, 6).ravel()
  assert len(stream) == 150
  for epoch in range(3):
    assert sorted(stream[50 * epoch : 50 * epoch + 50]) == train.tolist()
  assert not np.array_equal(stream[:50], stream[50:100])


@pytest.mark.parametrize('first, steps', [(0, 4), (3, 9), (8, 1), (17, 20)])
def test_any_steps_are_computed_without_the_steps_before(first, steps):
  train = np.arange(37)
  every_step = order_of(train, 5, 0, 40, 8)
  np.testing.assert_array_equal(
    order_of(train, 5, first, steps, 8), every_step[first : first + steps]
  )


def test_the_order_depends_on_the_seed():
  train = np.arange(64)
  assert np.array_equal(order_of(train, 1, 0, 4, 16), order_of(train, 1, 0, 4, 16))
  assert not np.array_equal(order_of(train, 1, 0, 4, 16), order_of(train, 2, 0, 4, 16))


def test_a_batch_larger_than_the_corpus_repeats_it():
  counts = np.bincount(order_of(np.arange(5), 0, 0, 2, 10).ravel())
  assert counts.tolist() == [4] * 5


def test_in_batches_drops_no_clip():
  order = in_batches([np.arange(7), np.arange(10, 15)], 4)
  assert order.shape == (2, 2, 4)
  assert order[0].ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, -1]
  assert order[1].ravel().tolist() == [10, 11, 12, 13, 14, -1, -1, -1]


def test_a_streamed_store_gives_the_clips_of_a_resident_store(tones):
  rng = np.random.default_rng(0)
  orders = [rng.integers(-1, len(tones.labels), (3, 2, 5)) for _ in range(4)]
  functions = [lambda order=order: order for order in orders]
  resident, streaming = (
    Feeder(tones, jax.device_put),
    Feeder(tones, jax.device_put, resident_bytes=0),
  )
  assert resident.resident and not streaming.resident
  for order, resident_block, streamed_block in zip(
    orders, resident.blocks(functions), streaming.blocks(functions), strict=True
  ):
    is_clip = order >= 0
    np.testing.assert_array_equal(streamed_block.order >= 0, is_clip)
    for field in ('mels', 'labels'):
      expected, streamed = (
        np.asarray(getattr(block.clips, field))[block.order[is_clip]]
        for block in (resident_block, streamed_block)
      )
      np.testing.assert_array_equal(expected, streamed)
      np.testing.assert_array_equal(expected, getattr(tones, field)[order[is_clip]])


def test_each_host_reads_the_clips_of_its_lanes(tones):
  rng = np.random.default_rng(0)
  orders = [rng.integers(-1, size, (4, 2, 5)) for size in (60, 3, 40)]
  orders[1][2:] = 7  # the second host needs one clip
  orders[2][:2] = -1  # the first host needs none, as in a test of some lanes
  functions = [lambda order=order: order for order in orders]
  teacher = rng.normal(size=(60, 1, 3)).astype(np.float32)
  of_hosts = [
    list(Feeder(tones, jax.device_put, None, teacher, 0, hosts=2, host=host).blocks(functions))
    for host in (0, 1)
  ]
  assert [[len(block.clips.labels) for block in blocks] for blocks in of_hosts] == [[32, 4, 16]] * 2
  for host, blocks in enumerate(of_hosts):
    own = slice(2 * host, 2 * host + 2)
    for order, (clips, positions) in zip(orders, blocks, strict=True):
      assert positions.shape == order.shape and positions.dtype == np.int32
      assert (np.delete(positions, np.r_[own], 0) == -1).all()
      is_clip = order[own] >= 0
      np.testing.assert_array_equal(positions[own] >= 0, is_clip)
      for field, all_clips in (
        ('mels', tones.mels),
        ('labels', tones.labels),
        ('teacher', teacher),
      ):
        read = np.asarray(getattr(clips, field))
        np.testing.assert_array_equal(read[positions[own][is_clip]], all_clips[order[own][is_clip]])
        # Nothing but these clips.
        assert not read[len(np.unique(order[own][is_clip])) :].any()


def test_the_store_is_a_source_for_grain(tones):
  source = Source(tones)
  assert isinstance(source, grain.sources.RandomAccessDataSource)
  assert len(source) == len(tones.labels)
  batch = grain.MapDataset.source(source).seed(3).shuffle().batch(4)[0]
  order = order_of(np.arange(len(source)), 3, 0, 1, 4)[0]
  np.testing.assert_array_equal(batch.mels, tones.mels[order])
  np.testing.assert_array_equal(batch.labels, tones.labels[order])


def test_blocks_stay_below_their_size(tones):
  feeder = Feeder(tones, jax.device_put, resident_bytes=0, block_bytes=20 * tones.mels[0].nbytes)
  assert feeder.steps_per_block(2, 5, 100) == 2
  assert feeder.steps_per_block(2, 50, 100) == 1
  one_of_two = Feeder(
    tones, jax.device_put, None, None, 0, 20 * tones.mels[0].nbytes, hosts=2, host=1
  )
  assert one_of_two.steps_per_block(2, 5, 100) == 4
  assert Feeder(tones, jax.device_put).steps_per_block(2, 50, 100) == 100
  assert input_pipeline.RESIDENT_BYTES >= tones.mels.nbytes
