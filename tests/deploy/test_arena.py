"""The edge flagfiles: what their comments say of memory is what TFLite Micro measures."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from m3net_jax.deploy import convert, firmware
from m3net_jax.inference import runtimes
from m3net_jax.network import cost, models
from m3net_jax.network.variants import VARIANTS, architecture_of

pytest.importorskip('tensorflow')
pytest.importorskip('ai_edge_litert')
pytest.importorskip('tflite_micro')

LAUNCH = Path(__file__).parents[2] / 'launch'
CLASSES = 12


def arena(variant, shape):
  """Bytes of the int8 model.

  They depend on the shapes only, if no value is the zero that the converter leaves out.
  """
  chance = np.random.default_rng(0)
  network = models.M3Net(architecture_of(variant), CLASSES, 'conv')
  variables = jax.tree.map(
    lambda leaf: chance.uniform(0.05, 1.2, leaf.shape).astype(np.float32),
    jax.eval_shape(lambda: models.init(network, jax.random.key(0), shape)),
  )
  images = chance.standard_normal((2, *shape)).astype(np.float32)
  made = convert.Network(variant, architecture_of(variant), CLASSES, shape, variables)
  return runtimes.arena(dict(convert.convert_here(made, images, ('int8',)))['int8']).total


def test_the_edge_configurations_stay_below_their_names():
  for kib in (64, 128, 256):
    text = (LAUNCH / f'edge_{kib}k.flags').read_text()
    shape = tuple(map(int, re.search(r'--input_shape=(\S+)', text)[1].split(',')))
    variants = re.search(r'--variants=(\S+)', text)[1].split(',')
    comment = ' '.join(re.findall(r'^# (.*)', text, re.MULTILINE))
    told = re.search(
      r'of full takes ([\d,]+) bytes, that of stem16 ([\d,]+) and of stride4 ([\d,]+);.* full has '
      r'([\d.]+) million multiply-adds, stride4 ([\d.]+)\.',
      comment,
    )
    assert variants == ['full', 'stem16', 'stride4']
    millions = [
      round(sum(cost.block_macs(VARIANTS[variant], CLASSES, shape).values()) / 1e6, 1)
      for variant in ('full', 'stride4')
    ]
    assert [float(number) for number in told.groups()[3:]] == millions
    promised = [int(size.replace(',', '')) for size in told.groups()[:3]]
    assert [arena(variant, shape) for variant in variants] == promised
    assert firmware.arena_bytes(max(promised)) <= 1024 * kib  # with the headroom too
