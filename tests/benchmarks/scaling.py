"""The tables of docs/scaling.md: what whole studies cost on 1, 8 and 64 cards, from counts alone.

    python -m tests.benchmarks.scaling

Counts the floating-point operations and the bytes of every layer, forward and backward. On a card
a layer takes at least the longer of the time of its operations and of its bytes (its roofline).
Nothing is measured here but what `Host` and `MEASURED` say, with their sources.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from m3net_jax.network import cost
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import CHANNELS, M3Net
from m3net_jax.network.variants import VARIANTS, Architecture, Switches
from m3net_jax.study import lanes
from tests.benchmarks.card_peaks import PEAKS, Peak

FLOAT = 4  # bytes of a float32
CLIPS, CLASSES, SEEDS, EPOCHS = 105_829, 35, 14, 100  # the paper's study of Speech Commands
CLIP_BYTES = 128 * 32 * 2  # of a store: a second at 16 kHz, 128 filters, float16
NINE = tuple(VARIANTS)[:9]  # those of the paper's Tables 3 to 5
CARDS = {
  'A100 80 GB': PEAKS['NVIDIA A100-SXM4-80GB'],
  'H100': PEAKS['NVIDIA H100'],
  'H200': PEAKS['NVIDIA H200'],
}
COUNTS = (1, 8, 64)  # cards
# Passes over a map [clips, height, width, channels] in training. A convolution reads its input and
# writes its output; backward it reads both again for the kernel's gradient, and reads the gradient
# of its output and writes that of its input. Batch norm and ReLU read the map for its statistics,
# read it and write the result; backward the same with the gradient read beside it. If everything
# that can be is computed while a convolution reads or writes, two reads of the backward statistics
# remain.
_NORM_PASSES, _FUSED_NORM_PASSES = 8, 2
_ADAM_PASSES = 7  # reads parameter, gradient and both moments; writes all but the gradient


class Study(NamedTuple):
  """An input and a batch to count for."""

  name: str
  input_shape: tuple[int, int, int]
  batch: int


SMALL, PAPER = (
  Study('64x64x1, 32 clips', (64, 64, 1), 32),
  Study('256x256x3, 64 clips', (256, 256, 3), 64),
)


class Host(NamedTuple):
  """What the host takes, measured on one core of the machine of docs/results.md.

  Attributes:
    order: seconds for the order of a lane of 63,497 training clips, once a call
      (`input_pipeline.order_of`).
    fed: clips/s of a store that is streamed from disk (`tests.benchmarks.feeding`).
    checkpoint: seconds of a checkpoint of 14 lanes (`tests.benchmarks.checkpoints`).
    call: seconds of a call of a program that computes next to nothing, at most
      (`tests.benchmarks.accelerator --tiny`).
  """

  order: float = 0.07e-3
  fed: float = 177_000.0
  checkpoint: float = 0.14
  call: float = 0.9e-3


HOST = Host()
# Seconds of a step of 14 lanes on an H100, jax's own precision (docs/benchmarks.md#on-a-gpu).
MEASURED = {SMALL: 0.002, PAPER: 0.040}


class Layer(NamedTuple):
  """A layer, counted for one clip.

  Attributes:
    name: such as 'sfp1 pointwise'.
    kind: 'dense' (a product of matrices), 'depthwise', or 'norm' (batch norm and ReLU) and
      'other', which have no multiply-adds that are counted.
    macs: multiply-adds of the forward pass.
    inputs, outputs: elements of the maps.
    passes: of the training step over the maps, which have these multiply-adds each.
  """

  name: str
  kind: str
  macs: int
  inputs: int
  outputs: int
  passes: int = cost.PASSES

  def flops(self) -> int:
    """Operations of a training step for one clip, two for a multiply-add."""
    return 2 * self.passes * self.macs

  def bytes(self, fused: bool = False) -> int:
    """Bytes of the maps that a training step reads and writes for one clip.

    Args:
      fused: batch norms, sums and products are computed while a convolution reads or writes.
    """
    if self.kind == 'norm':
      return FLOAT * (_FUSED_NORM_PASSES if fused else _NORM_PASSES) * self.outputs
    if self.kind == 'other' and fused:  # forward and backward, each beside a convolution
      return 0
    return FLOAT * self.passes * (self.inputs + self.outputs)


def layers_of(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> list[Layer]:
  """The layers of one of `VARIANTS` in the order of the network."""
  return [*_layers(variant, num_classes, input_shape)]


def _layers(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> Iterator[Layer]:
  height, width, depth = input_shape
  size, channels = (height, width), depth

  def convolution(name: str, features: int, stride: int, separable: bool) -> Iterator[Layer]:
    nonlocal size, channels
    before = math.prod(size) * channels
    size = tuple(-(-side // stride) for side in size)
    places = math.prod(size)
    if separable:
      middle = places * channels
      yield Layer(f'{name} depthwise', 'depthwise', 9 * middle, before, middle)
      yield Layer(f'{name} pointwise', 'dense', middle * features, middle, places * features)
    else:  # the stem: nothing needs the gradient of the images
      yield Layer(name, 'dense', 9 * channels * places * features, before, places * features, 2)
    channels = features
    yield Layer(f'{name} norm', 'norm', 0, places * features, places * features)

  yield from convolution('stem', variant.stem_channels, variant.stem_stride, False)
  yield from convolution('sfp1', CHANNELS, 2, True)
  if variant.sfp2:
    yield from convolution('sfp2', CHANNELS, 4 // variant.stem_stride, True)
  places = math.prod(size)
  elements = places * CHANNELS
  if variant.mfp:
    yield Layer('mfp mirrors', 'other', 0, elements, 2 * elements, 2)
    channels = 2 * CHANNELS
    yield from convolution('mfp align', CHANNELS, 1, True)
    yield Layer('mfp sum', 'other', 0, 2 * elements, elements, 2)
    yield from convolution('mfp mix', CHANNELS, 1, True)
  if variant.dfp:
    yield Layer('dfp mirror', 'other', 0, elements, elements, 2)
    yield from convolution('dfp', CHANNELS, 1, True)
    if variant.switches.eca:
      yield Layer('dfp weights', 'dense', 3 * CHANNELS, elements, elements)
    yield Layer('product', 'other', 0, 2 * elements, elements, 2)
  yield Layer('mean', 'other', 0, elements, CHANNELS, 2)
  yield Layer('head', 'dense', CHANNELS * num_classes, CHANNELS, num_classes)


def lane_step(
  variant: str, study: Study, peak: Peak, tf32: bool = False, fused: bool = False
) -> float:
  """Seconds of a training step of one lane at least: its layers one after another, and Adam.

  Args:
    tf32: products of matrices run on the tensor cores; depthwise convolutions never do.
    fused: see `Layer.bytes`.
  """
  architecture = VARIANTS[variant]
  rates = {'dense': peak.tf32 if tf32 else peak.float32}
  seconds = sum(
    max(
      study.batch * layer.flops() / rates.get(layer.kind, peak.float32),
      study.batch * layer.bytes(fused) / peak.bytes,
    )
    for layer in layers_of(architecture, CLASSES, study.input_shape)
  )
  parameters = cost.size(architecture, CLASSES, study.input_shape).trainable
  return seconds + FLOAT * _ADAM_PASSES * parameters / peak.bytes


def cohorts(variants: tuple[str, ...]) -> list[list[str]]:
  """The variants that share a program; programs run one after another."""
  by_program: dict[Architecture, list[str]] = {}
  for variant in variants:
    by_program.setdefault(VARIANTS[variant].program, []).append(variant)
  return list(by_program.values())


def study_steps(study: Study) -> float:
  """Steps of a lane in the paper's study; a validation batch counts as a third of a step."""
  train, validation = round(0.6 * CLIPS), round(0.2 * CLIPS)
  batches = -(-validation // study.batch) / cost.PASSES
  return EPOCHS * (-(-train // study.batch) + batches)


def hours(variants: tuple[str, ...], study: Study, cards: int, step) -> float:
  """Hours of a study whose lanes are spread over cards, program after program.

  Args:
    step: seconds of a training step of one lane of a variant.
  """
  seconds = 0.0
  for shared in cohorts(variants):
    # One program computes for all its variants what the largest of them needs.
    most = max(step(variant) for variant in shared)
    seconds += -(-SEEDS * len(shared) // cards) * most * study_steps(study)
  return seconds / 3600


def lane_bytes() -> int:
  """Bytes of the state of a lane of `full`, as a checkpoint keeps it."""
  model = M3Net(VARIANTS['full'], CLASSES, 'conv')
  state = jax.eval_shape(
    lambda: lanes.init_lane(
      model,
      PAPER.input_shape,
      lanes.Training(),
      0,
      Switches(*[np.bool_(True)] * 4),
      Scaling(np.float32(0), np.float32(1)),
    )
  )
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _table(head: list[str], rows: list[list[str]]) -> str:
  line = lambda cells: f'| {" | ".join(cells)} |'
  return '\n'.join([line(head), line(['---'] * len(head)), *map(line, rows)])


def layer_table(peak: Peak) -> str:
  """Every layer of `full`: operations, bytes and least time of a lane-step, for both inputs."""
  columns = []
  for study in (SMALL, PAPER):
    cells = []
    for layer in layers_of(VARIANTS['full'], CLASSES, study.input_shape):
      flops, moved = study.batch * layer.flops(), study.batch * layer.bytes()
      cells.append((flops, moved, max(flops / peak.float32, moved / peak.bytes)))
    cells.append(tuple(map(sum, zip(*cells))))
    columns.append([[f'{f / 1e6:,.0f}', f'{b / 1e6:,.1f}', f'{1e6 * s:,.1f}'] for f, b, s in cells])
  names = [
    *(layer.name for layer in layers_of(VARIANTS['full'], CLASSES, PAPER.input_shape)),
    'all',
  ]
  head = ['layer', *(f'{unit}, {size}' for size in ('64', '256') for unit in ('MFLOP', 'MB', 'us'))]
  return _table(head, [[name, *a, *b] for name, a, b in zip(names, *columns)])


def bound_table() -> str:
  """Lane-steps per second at most."""
  rows = []
  for study in (SMALL, PAPER):
    for name, peak in CARDS.items():
      rate = lambda **how: f'{1 / lane_step("full", study, peak, **how):,.0f}'
      rows.append([study.name, name, rate(), rate(tf32=True), rate(tf32=True, fused=True)])
  return _table(['input', 'card', 'float32', 'TF32', 'TF32, fused'], rows)


def hours_table() -> str:
  """Hours of both studies on H100s: by the roofline and from the measured step."""
  rows = []
  bound = lambda variant: lane_step(variant, PAPER, CARDS['H100'])
  scale = MEASURED[PAPER] / SEEDS / bound('full')
  measured = lambda variant: scale * bound(variant)
  for name, variants in (("the paper's", ('full',)), ('nine variants', NINE)):
    for cards in COUNTS:
      each = [hours(variants, PAPER, cards, step) for step in (bound, measured)]
      rows.append([name, f'{SEEDS * len(variants)}', f'{cards}', *(f'{h:.2f}' for h in each)])
  return _table(['study', 'lanes', 'cards', 'at least, h', 'from the measured step, h'], rows)


def host_table() -> str:
  """Lane-steps per second at which the host becomes the limit."""
  rows = [
    ['orders of 63,497 clips', f'{lanes.STEPS_PER_CALL / HOST.order:,.0f}'],
    *(
      [f'a streamed store, {clips} clips a step', f'{HOST.fed / clips:,.0f}'] for clips in (32, 64)
    ),
    *(
      [f'calls, {count} lanes', f'{count * lanes.STEPS_PER_CALL / HOST.call:,.0f}']
      for count in (1, 14)
    ),
  ]
  return _table(['what the host does', 'lane-steps/s at most'], rows)


def main() -> None:
  """Prints all tables."""
  print('full, float32, H100: one lane-step, 64x64x1 with 32 clips and 256x256x3 with 64\n')
  print(layer_table(CARDS['H100']), '\n')
  print('lane-steps per second at most\n')
  print(bound_table(), '\n')
  for study, seconds in MEASURED.items():
    print(f'measured on an H100, {study.name}: {SEEDS / seconds:,.0f} lane-steps per second')
  print()
  print(hours_table(), '\n')
  print(host_table(), '\n')
  for count in (14, 126):
    print(
      f'{count} lanes: checkpoint {count * lane_bytes() / 1e6:.1f} MB, positions of a step of 64 '
      f'clips {count * 64 * 4 / 1e3:.1f} kB, its clips if streamed '
      f'{count * 64 * CLIP_BYTES / 1e6:.1f} MB'
    )
  print(f'store: {CLIPS * CLIP_BYTES / 2**30:.2f} GiB')


if __name__ == '__main__':
  main()
