"""The edge flagfiles: what their comments say of memory is what TFLite Micro measures."""

import re
from concurrent.futures import ThreadPoolExecutor
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
  made = models.init(
    models.M3Net(architecture_of(variant), CLASSES, 'conv'), jax.random.key(0), shape
  )
  moved = jax.tree.map(
    lambda leaf: np.asarray(leaf) + chance.uniform(0.05, 0.2, leaf.shape).astype(np.float32), made
  )
  images = chance.standard_normal((2, *shape)).astype(np.float32)
  network = convert.Network(variant, architecture_of(variant), CLASSES, shape, moved)
  return runtimes.arena(convert.convert(network, images, ('int8',))['int8']).total


def test_the_edge_configurations_stay_below_their_names():
  asked, promised = [], []
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
    for variant, size in zip(variants, told.groups()):
      asked.append((variant, shape))
      promised.append(int(size.replace(',', '')))
      assert firmware.arena_bytes(promised[-1]) <= 1024 * kib  # with the headroom too
  with ThreadPoolExecutor(2) as pool:
    assert list(pool.map(lambda each: arena(*each), asked)) == promised
