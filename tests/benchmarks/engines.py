"""What `tests.benchmarks.lanes` compares: the engine, the natural JAX form, Keras and PyTorch, on the same clips.

Each becomes a `Contender`, two functions to time. Knows nothing of flags, clocks or printing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_prep import workers
from m3net_jax.network import image, ops
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches
from m3net_jax.study import lanes
from m3net_jax.study.input_pipeline import Clips
from tests.benchmarks.frameworks import Framework, Images, Ways

CLASSES, CLIPS, MELS, FRAMES = 10, 256, 64, 63
SCALING = Scaling(np.float32(-40), np.float32(20))


class Setting(NamedTuple):
  """What is trained: `batch` clips of `input_shape` (height, width, channels) a step of each of `lanes`."""

  input_shape: tuple[int, int, int]
  lanes: int
  batch: int


class Started(NamedTuple):
  """Lanes before their first step, and what trains them: `lanes.padded` of them, the last ones repeating the first."""

  programs: lanes.Programs
  state: lanes.Lane
  mesh: Mesh


class Contender(NamedTuple):
  """One way to train the lanes and to evaluate them.

  Attributes:
    how: the choices that it made, for the table.
    train: takes `steps` steps of all lanes and returns the first losses of lane 0 on.
    evaluate: as many batches of all lanes in inference mode; returns when they are done.
    steps: of one call.
  """

  how: str
  train: Callable[[], np.ndarray]
  evaluate: Callable[[], Any]
  steps: int


class Data(NamedTuple):
  """The clips of all contenders.

  Attributes:
    clips: as the engine takes them.
    batches: [batches, batch] positions in `clips`; step s of lane l takes batch l + s, and so on around.
  """

  clips: Clips
  batches: np.ndarray

  def of(self, lane: int, step: int) -> int:
    """Which of the batches."""
    return (lane + step) % len(self.batches)


def data(batch: int) -> Data:
  """Random clips, cut into full batches."""
  rng = np.random.default_rng(0)
  count = max(CLIPS, batch)
  mels = rng.uniform(-80, 0, (count, MELS, FRAMES)).astype(np.float16)
  whole = count // batch * batch
  return Data(
    Clips(mels, rng.integers(0, CLASSES, count).astype(np.int32)),
    np.arange(whole, dtype=np.int32).reshape(-1, batch),
  )


def images(setting: Setting, some: Data) -> Images:
  """The batches as the frameworks are given them."""
  make = jax.jit(lambda mels: _to_image(setting.input_shape)(mels, SCALING))
  return [
    (np.asarray(make(some.clips.mels[batch])), some.clips.labels[batch]) for batch in some.batches
  ]


def model(lowering: str) -> M3Net:
  return M3Net(VARIANTS['full'], CLASSES, lowering)


def initial(input_shape: tuple[int, int, int]) -> dict[str, Any]:
  """The variables with which lane 0 begins."""
  lane = lanes.init_lane(
    model('conv'), input_shape, lanes.Training(), jnp.int32(0), Switches(), SCALING
  )
  return jax.tree.map(np.asarray, lane.variables)


def use_all_cores() -> None:
  """Makes every core a device of JAX, as the main command does; before anything is computed."""
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', workers.num_cores())


def start(setting: Setting, seeds: np.ndarray, switches: Sequence[Switches]) -> Started:
  """Lanes of these seeds and switches, one each of `setting.lanes`, as a study makes them on a CPU."""
  mesh = lanes.lane_mesh(setting.lanes)
  count = lanes.padded(setting.lanes, mesh)
  programs = lanes.make_programs(
    model(ops.lowering_for(jax.default_backend())),
    setting.input_shape,
    lanes.Training(),
    channels='magma',
    normalisation='train',
    lanes_at_once=1,
    mesh=mesh,
  )
  filled = Switches(*(np.resize(each, count) for each in zip(*switches)))
  state = programs.init_fn(
    np.resize(seeds, count).astype(np.int32),
    filled,
    Scaling(*(np.full(count, each) for each in SCALING)),
  )
  return Started(programs, state, mesh)


def engine(setting: Setting, some: Data, steps: int) -> Contender:
  """The engine as a study runs it: a call scans `steps` steps of every lane, from clips to parameters."""
  order = np.array(
    [[some.batches[some.of(lane, step)] for step in range(steps)] for lane in range(setting.lanes)]
  )
  programs, state, mesh = start(setting, np.arange(setting.lanes), [Switches()] * setting.lanes)
  filled = np.resize(order, (lanes.padded(setting.lanes, mesh), *order.shape[1:]))
  held = [state]
  clips = jax.device_put(some.clips, NamedSharding(mesh, PartitionSpec()))

  def train() -> np.ndarray:
    held[0], losses = programs.train_fn(held[0], clips, filled)
    return np.asarray(losses)[: setting.lanes, 0]

  def evaluate() -> None:
    now = held[0]
    jax.block_until_ready(programs.eval_fn(now.variables, now.switches, now.scaling, clips, filled))

  return Contender(
    f'{ops.lowering_for(jax.default_backend())}, scanned, {mesh.size} devices',
    train,
    evaluate,
    steps,
  )


def natural(setting: Setting, some: Data) -> Contender:
  """A step of all lanes under `vmap`, with `lax.conv_general_dilated`: grouped, of lanes times the groups."""
  order = np.array([some.batches[some.of(lane, 0)] for lane in range(setting.lanes)])
  net, training, to_image = model('conv'), lanes.Training(), _to_image(setting.input_shape)
  init = lambda seed: lanes.init_lane(net, setting.input_shape, training, seed, Switches(), SCALING)
  state = jax.vmap(lambda seed: init(seed)._replace(switches=jnp.zeros(())))(
    jnp.arange(setting.lanes)
  )

  @jax.jit
  def step_all(state, clips, order):
    one = lambda lane, batch: lanes.train_step(
      net,
      training,
      to_image,
      lane._replace(switches=Switches()),
      clips.mels[batch],
      clips.labels[batch],
    )
    new, losses = jax.vmap(one)(state, order)
    return new._replace(switches=state.switches), losses

  @jax.jit
  def evaluate_all(variables, clips, order):
    one = lambda variables, batch: lanes.eval_step(
      net, to_image, variables, Switches(), SCALING, clips.mels[batch], clips.labels[batch]
    )
    return jax.vmap(one)(variables, order)

  held = [state]

  def train() -> np.ndarray:
    held[0], losses = step_all(held[0], some.clips, order)
    return np.asarray(losses)

  evaluate = lambda: jax.block_until_ready(evaluate_all(held[0].variables, some.clips, order))
  return Contender('vmap of lax.conv', train, evaluate, 1)


def of_framework(
  framework: Framework, ways: Ways, setting: Setting, some: Data, steps: int
) -> Contender:
  """The lanes one after another, each with all cores, in the chosen ways.

  One model takes all their steps, as long as a model a lane would, for they are equal; it is compiled once.
  """
  seen = [some.of(lane, step) for lane in range(setting.lanes) for step in range(steps)]
  how = ways.train if ways.train == ways.evaluate else f'{ways.train}/{ways.evaluate}'
  return Contender(
    how,
    lambda: np.array([framework.train(ways.train, seen)]),
    lambda: framework.evaluate(ways.evaluate, seen),
    steps,
  )


def _to_image(input_shape: tuple[int, int, int]) -> Callable[[jax.Array, Scaling], jax.Array]:
  return lambda mels, scaling: image.to_image(
    mels, input_shape, scaling, channels='magma', normalisation='train'
  )
