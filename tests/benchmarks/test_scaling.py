"""The counts behind docs/scaling.md: against the traced network, and against XLA for one layer."""

import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from m3net_jax.network import cost
from m3net_jax.network.variants import VARIANTS
from tests.benchmarks import scaling

SHAPES = ((64, 64, 1), (256, 256, 3), (45, 38, 1))


@pytest.mark.parametrize('variant', [*scaling.NINE, 'stem16', 'stride4'])
def test_multiply_adds_are_those_of_the_traced_network(variant):
  for shape in SHAPES if variant == 'full' else SHAPES[2:]:
    layers = scaling.layers_of(VARIANTS[variant], 35, shape)
    assert sum(layer.macs for layer in layers) == cost.macs(VARIANTS[variant], 35, shape)


def test_xla_counts_the_same_for_a_pointwise_convolution():
  layers = scaling.layers_of(VARIANTS['full'], 35, (64, 64, 1))
  layer = next(layer for layer in layers if layer.name == 'sfp2 pointwise')
  x, kernel = jnp.zeros((32, 8, 8, 64)), jnp.zeros((64, 64))
  assert layer.inputs * 32 == x.size

  def step(x, kernel, g):
    y, backward = jax.vjp(lambda x, kernel: x @ kernel, x, kernel)
    return y, backward(g)

  counted = jax.jit(step).lower(x, kernel, x).compile().cost_analysis()
  assert counted['flops'] == 32 * layer.flops()
  # XLA counts the kernel too: read twice, its gradient written once.
  least = 32 * layer.bytes() + 3 * scaling.FLOAT * kernel.size
  assert least <= counted['bytes accessed'] <= 1.35 * least  # it copies a map for a product


def test_a_map_is_read_and_written_as_often_as_the_page_says():
  norm = scaling.Layer('norm', 'norm', 0, 10, 10)
  assert norm.bytes() == 4 * 8 * 10 and norm.bytes(fused=True) == 4 * 2 * 10
  stem, *_ = scaling.layers_of(VARIANTS['full'], 35, (64, 64, 1))
  assert stem.bytes() == 4 * 2 * (64 * 64 + 32 * 32 * 32)  # no gradient of the images


def test_lanes_go_to_cards_program_by_program():
  step = lambda variant: 1.0 if variant == 'full' else 0.5
  unit = scaling.study_steps(scaling.PAPER) / 3600
  of = lambda variants, cards: scaling.hours(variants, scaling.PAPER, cards, step) / unit
  assert of(('full',), 1) == pytest.approx(14)
  assert of(('full',), 8) == pytest.approx(2)
  assert of(('full',), 64) == pytest.approx(1)
  # `full` shares its program with the four that switch mirrors and weights off: 70 lanes.
  assert of(scaling.NINE, 64) == pytest.approx(math.ceil(70 / 64) + 4 * 0.5)


def test_the_page_has_the_tables_of_the_script():
  page = (Path(__file__).parents[2] / 'docs' / 'scaling.md').read_text()
  h100 = scaling.CARDS['H100']
  tables = scaling.bound_table(), scaling.hours_table(), scaling.host_table()
  for table in (scaling.layer_table(h100), *tables):
    for row in table.splitlines()[2:]:
      assert row in page, row
  assert f'{scaling.lane_bytes():,} bytes' in page
  gib = float(re.search(r'\*\*([\d.]+) GiB\*\*', page)[1])
  assert gib == pytest.approx(scaling.CLIPS * scaling.CLIP_BYTES / 2**30, abs=0.005)
