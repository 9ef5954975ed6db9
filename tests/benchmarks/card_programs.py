"""The engine's programs in one lowering and precision, started on random clips, and their times."""

import contextlib
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches
from m3net_jax.study import lanes, mapping
from tests.benchmarks import engines

_OF_JAX = {'float32': 'float32', 'tf32': 'tensorfloat32', 'bfloat16': 'float32'}
_CALLS, _ENOUGH = 5, 0.5  # timed calls at most, and seconds of them that are enough


class Cell(NamedTuple):
  """What is timed.

  Attributes:
    input_shape: height, width and channels.
    batch: clips per step of a lane.
    steps: training steps per call of the program.
    lanes: number of lanes.
    lowering, precision: of the network.
    lanes_at_once: lanes that the device works on together; 1: one after another.
    variant: the network.
  """

  input_shape: tuple[int, int, int]
  batch: int
  steps: int
  lanes: int
  lowering: str
  precision: str
  lanes_at_once: int
  variant: str = 'full'

  @property
  def shape(self) -> str:
    """The input as text, such as 64x64x1."""
    return 'x'.join(map(str, self.input_shape))

  @property
  def name(self) -> str:
    """All but the batch, the steps and the variant in one line."""
    return (
      f'{self.shape} {self.lanes} lanes {self.lowering} {self.precision} '
      f'{self.lanes_at_once} at once'
    )


class Started(NamedTuple):
  """A cell's programs with all that a call takes.

  Attributes:
    programs: of the lanes.
    state: the lanes before their first step.
    clips: random clips on the device.
    order: [lanes, steps, batch] positions of clips.
  """

  programs: lanes.Programs
  state: lanes.Lane
  clips: Any
  order: np.ndarray


def in_precision(precision: str) -> contextlib.AbstractContextManager:
  """Products that are traced or called within it have this precision, on devices with a choice.

  Without it jax takes TF32 on an NVIDIA card that has it, for float32 arrays.
  """
  return jax.default_matmul_precision(_OF_JAX[precision])


def start(cell: Cell) -> Started:
  """Makes a cell's programs and its lanes; compiles nothing but one lane's first values."""
  mesh = mapping.make_mesh(cell.lanes)
  count = mapping.padded(cell.lanes, mesh)
  programs = lanes.make_programs(
    M3Net(VARIANTS[cell.variant], engines.CLASSES, cell.lowering, cell.precision),
    cell.input_shape,
    lanes.Training(),
    channels='magma',
    normalisation='train',
    lanes_at_once=cell.lanes_at_once,
    mesh=mesh,
  )
  data = engines.make_data(cell.batch)
  order = np.array(
    [
      [data.batches[data.batch_number(lane, step)] for step in range(cell.steps)]
      for lane in range(count)
    ]
  )
  one = _first_lane(cell.variant, cell.input_shape)
  state = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *leaf.shape)), one)
  state = state._replace(seed=np.arange(count, dtype=np.int32))
  clips = mapping.place_clips(data.clips, mesh)
  return Started(programs, mapping.place_lanes(state, mesh), clips, order)


@functools.cache
def _first_lane(variant: str, input_shape: tuple[int, int, int]) -> lanes.Lane:
  """A lane before its first step, in numpy arrays; its seed is 0."""
  model = M3Net(VARIANTS[variant], engines.CLASSES, 'conv')
  switches = Switches(*(jnp.asarray(value) for value in VARIANTS[variant].switches))
  lane = jax.jit(
    lambda seed: lanes.init_lane(
      model, input_shape, lanes.Training(), seed, switches, engines.SCALING
    )
  )(jnp.int32(0))
  return jax.tree.map(np.asarray, lane)


def limit() -> int | None:
  """Bytes of memory that a program may take on the device; None if the device does not say."""
  return (jax.devices()[0].memory_stats() or {}).get('bytes_limit')


def highest_use() -> int | None:
  """The most bytes that were in use on the device so far; None if the device does not say."""
  return (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')


def timed(cell: Cell) -> dict[str, Any]:
  """Compiles a cell's training program and times its calls.

  Returns:
    'planned_bytes' of memory on the device, 'compile_seconds', 'seconds' of a step of all lanes,
    and 'loss', of the first step of lane 0.

  Raises:
    MemoryError: the program plans more memory than the device has.
    FloatingPointError: a loss is not finite.
  """
  with in_precision(cell.precision):
    started = start(cell)
    begin = time.perf_counter()
    planned = planned_bytes(started)
    compiled = time.perf_counter() - begin
    train, state = started.programs.train_fn, started.state
    seconds, first = [], None
    while len(seconds) < 2 or (len(seconds) <= _CALLS and sum(seconds[1:]) < _ENOUGH):
      begin = time.perf_counter()
      state, losses = train(state, started.clips, started.order)
      losses = np.asarray(losses)
      seconds.append(time.perf_counter() - begin)  # the first call allocates memory
      first = losses if first is None else first
      if not np.isfinite(losses).all():
        raise FloatingPointError('a loss is not finite')
  return {
    'planned_bytes': planned,
    'compile_seconds': compiled,
    'seconds': min(seconds[1:]) / cell.steps,
    'loss': float(first[0, 0]),
  }


def planned_bytes(started: Started) -> int:
  """Memory that a started cell plans on the device, bytes; compiles its training program.

  Raises:
    MemoryError: it is more than the device has.
  """
  planned = started.programs.memory(started.state, started.clips, started.order)
  if (most := limit()) is not None and planned > most:
    raise MemoryError(f'out of memory: {planned / 2**30:.1f} GiB of {most / 2**30:.1f} planned')
  return planned


def evaluated(cell: Cell) -> float:
  """Seconds of the evaluation of one batch of all lanes."""
  with in_precision(cell.precision):
    started = start(cell)
    state, seconds = started.state, []
    for _ in range(3):  # the first call compiles
      begin = time.perf_counter()
      jax.block_until_ready(
        started.programs.eval_fn(
          state.variables, state.switches, state.scaling, started.clips, started.order
        )
      )
      seconds.append(time.perf_counter() - begin)
  return min(seconds[1:]) / cell.steps


def group(lanes_: int, lane_bytes: float, most: int | None) -> int:
  """The largest equal groups of lanes that fit in memory.

  Args:
    lanes_: number of lanes.
    lane_bytes: memory that each lane of a group needs.
    most: bytes of memory; None if that is not known.

  Returns:
    A divisor of `lanes_`; 1 if not even one lane fits.
  """
  sizes = (size for size in range(lanes_, 1, -1) if lanes_ % size == 0)
  return next((size for size in sizes if most is None or size * lane_bytes <= most), 1)
