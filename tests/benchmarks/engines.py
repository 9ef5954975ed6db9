"""The contenders of `tests.benchmarks.lanes`: the engine, plain JAX, Keras and PyTorch.

Each becomes a `Contender`, two functions to time, on the same clips.
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
from m3net_jax.study import hyper, lanes, mapping
from m3net_jax.study.hyper import PAPER
from m3net_jax.study.input_pipeline import Clips
from tests.benchmarks.frameworks import Framework, Images, Ways

CLASSES, CLIPS, MELS, FRAMES = 10, 256, 64, 63
SCALING = Scaling(np.float32(-40), np.float32(20))


class Setting(NamedTuple):
  """The size of the training.

  Attributes:
    input_shape: height, width and channels.
    lanes: number of lanes.
    batch: clips per step of each lane.
  """

  input_shape: tuple[int, int, int]
  lanes: int
  batch: int


class Started(NamedTuple):
  """Lanes before their first step.

  Attributes:
    programs: which train and evaluate the lanes.
    state: `mapping.padded` lanes; the extra lanes repeat the first ones.
    mesh: the devices.
  """

  programs: lanes.Programs
  state: lanes.Lane
  mesh: Mesh


class Contender(NamedTuple):
  """One way to train the lanes and to evaluate them.

  Attributes:
    choices: its settings, for the table.
    train: takes `steps` steps of all lanes; returns the losses of the first step, from lane 0 on.
    evaluate: evaluates `steps` batches of all lanes in inference mode; returns after the last one.
    steps: steps per call.
  """

  choices: str
  train: Callable[[], np.ndarray]
  evaluate: Callable[[], Any]
  steps: int


class Data(NamedTuple):
  """The clips of all contenders.

  Attributes:
    clips: the input of the engine.
    batches: [batches, batch] positions in `clips`; step s of lane l takes batch l + s, modulo the
      number of batches.
  """

  clips: Clips
  batches: np.ndarray

  def batch_number(self, lane: int, step: int) -> int:
    """Number of the batch for a step of a lane."""
    return (lane + step) % len(self.batches)


def make_data(batch: int) -> Data:
  """Random clips in full batches."""
  rng = np.random.default_rng(0)
  count = max(CLIPS, batch)
  mels = rng.uniform(-80, 0, (count, MELS, FRAMES)).astype(np.float16)
  batched = count // batch * batch
  return Data(
    Clips(mels, rng.integers(0, CLASSES, count).astype(np.int32)),
    np.arange(batched, dtype=np.int32).reshape(-1, batch),
  )


def images(setting: Setting, data: Data) -> Images:
  """The batches as images and labels, for the frameworks."""
  to_image = jax.jit(lambda mels: _to_image(setting.input_shape)(mels, SCALING))
  return [
    (np.asarray(to_image(data.clips.mels[batch])), data.clips.labels[batch])
    for batch in data.batches
  ]


def model(lowering: str) -> M3Net:
  """The full network."""
  return M3Net(VARIANTS['full'], CLASSES, lowering)


def initial(input_shape: tuple[int, int, int]) -> dict[str, Any]:
  """The initial variables of lane 0."""
  lane = lanes.init_lane(
    model('conv'), input_shape, lanes.Training(), jnp.int32(0), Switches(), SCALING
  )
  return jax.tree.map(np.asarray, lane.variables)


def use_all_cores() -> None:
  """Makes every core a JAX device, as the main command does; call it before any computation."""
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', workers.num_cores())


def start(setting: Setting, seeds: np.ndarray, switches: Sequence[Switches]) -> Started:
  """Initialises lanes as a study does on a CPU.

  Args:
    setting: the size of the training.
    seeds: [setting.lanes] seeds.
    switches: one per lane.
  """
  mesh = mapping.make_mesh(setting.lanes)
  count = mapping.padded(setting.lanes, mesh)
  programs = lanes.make_programs(
    model(ops.lowering_for(jax.default_backend())),
    setting.input_shape,
    lanes.Training(),
    channels='magma',
    normalisation='train',
    lanes_at_once=1,
    mesh=mesh,
  )
  padded_switches = Switches(*(np.resize(values, count) for values in zip(*switches)))
  state = programs.init_fn(
    np.resize(seeds, count).astype(np.int32),
    padded_switches,
    Scaling(*(np.full(count, value) for value in SCALING)),
    None,
    hyper.stack([PAPER] * count),
    np.zeros(count, np.int32),
  )
  return Started(programs, state, mesh)


def engine(setting: Setting, data: Data, steps: int) -> Contender:
  """The engine as in a study: one call scans `steps` steps of every lane, starting from clips."""
  order = np.array(
    [
      [data.batches[data.batch_number(lane, step)] for step in range(steps)]
      for lane in range(setting.lanes)
    ]
  )
  programs, state, mesh = start(setting, np.arange(setting.lanes), [Switches()] * setting.lanes)
  padded_order = np.resize(order, (mapping.padded(setting.lanes, mesh), *order.shape[1:]))
  clips = jax.device_put(data.clips, NamedSharding(mesh, PartitionSpec()))

  def train() -> np.ndarray:
    nonlocal state
    state, losses = programs.train_fn(state, clips, padded_order)
    return np.asarray(losses)[: setting.lanes, 0]

  def evaluate() -> None:
    jax.block_until_ready(
      programs.eval_fn(state.variables, state.switches, state.scaling, clips, padded_order)
    )

  return Contender(
    f'{ops.lowering_for(jax.default_backend())}, scanned, {mesh.size} devices',
    train,
    evaluate,
    steps,
  )


def natural(setting: Setting, data: Data) -> Contender:
  """One step of all lanes under `vmap` with `lax.conv_general_dilated`, which becomes grouped."""
  order = np.array([data.batches[data.batch_number(lane, 0)] for lane in range(setting.lanes)])
  net, training, to_image = model('conv'), lanes.Training(), _to_image(setting.input_shape)
  init = lambda seed: lanes.init_lane(net, setting.input_shape, training, seed, Switches(), SCALING)
  state = jax.vmap(lambda seed: init(seed)._replace(switches=jnp.zeros(())))(
    jnp.arange(setting.lanes)
  )

  @jax.jit
  def step_all(state, clips, order):
    step = lambda lane, batch: lanes.train_step(
      net,
      training,
      to_image,
      lane._replace(switches=Switches()),
      clips.mels[batch],
      clips.labels[batch],
    )
    new, losses = jax.vmap(step)(state, order)
    return new._replace(switches=state.switches), losses

  @jax.jit
  def evaluate_all(variables, clips, order):
    step = lambda variables, batch: lanes.eval_step(
      net, to_image, variables, Switches(), SCALING, clips.mels[batch], clips.labels[batch]
    )
    return jax.vmap(step)(variables, order)

  def train() -> np.ndarray:
    nonlocal state
    state, losses = step_all(state, data.clips, order)
    return np.asarray(losses)

  evaluate = lambda: jax.block_until_ready(evaluate_all(state.variables, data.clips, order))
  return Contender('vmap of lax.conv', train, evaluate, 1)


def from_framework(
  framework: Framework, ways: Ways, setting: Setting, data: Data, steps: int
) -> Contender:
  """The lanes of a framework one after another, each on all cores.

  One model takes the steps of all lanes. This takes as long as one model per lane, because the
  models are equal, and compiles once.
  """
  numbers = [
    data.batch_number(lane, step) for lane in range(setting.lanes) for step in range(steps)
  ]
  choices = ways.train if ways.train == ways.evaluate else f'{ways.train}/{ways.evaluate}'
  return Contender(
    choices,
    lambda: np.array([framework.train(ways.train, numbers)]),
    lambda: framework.evaluate(ways.evaluate, numbers),
    steps,
  )


def _to_image(input_shape: tuple[int, int, int]) -> Callable[[jax.Array, Scaling], jax.Array]:
  return lambda mels, scaling: image.to_image(
    mels, input_shape, scaling, channels='magma', normalisation='train'
  )
