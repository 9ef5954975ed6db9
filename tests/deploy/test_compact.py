"""A .tflite file without names computes the same."""

from pathlib import Path

import numpy as np
import pytest

from m3net_jax.deploy import operators
from m3net_jax.deploy.compact import compact
from m3net_jax.inference import runtimes

pytest.importorskip('ai_edge_litert')
pytest.importorskip('tflite_micro')

MODEL = Path(__file__).parents[2] / 'models' / 'digits' / 'model_int8.tflite'


def test_the_same_answers_in_fewer_bytes():
  model = MODEL.read_bytes()
  smaller = compact(model)
  assert compact(smaller) == smaller
  assert len(smaller) <= len(model)
  assert operators.count(smaller) == operators.count(model)
  images = np.random.default_rng(0).integers(-128, 128, (5, 64, 64, 1), np.int8)
  for runtime in runtimes.RUNTIMES:
    before, after = runtimes.Model(model, runtime), runtimes.Model(smaller, runtime)
    assert before.input == after.input and before.output == after.output
    for image in images:
      np.testing.assert_array_equal(before.invoke(image), after.invoke(image))
  assert runtimes.arena(smaller) == runtimes.arena(model)


def test_constants_are_aligned_and_no_name_is_long():
  from ai_edge_litert import schema_py_generated as schema

  parsed = schema.Model.GetRootAs(compact(MODEL.read_bytes()), 0)
  buffers = [parsed.Buffers(i) for i in range(parsed.BuffersLength())]
  starts = [each._tab.Vector(each._tab.Offset(4)) for each in buffers if each.DataLength()]
  assert len(starts) > 20
  assert not any(start % 16 for start in starts)
  graph = parsed.Subgraphs(0)
  names = [graph.Tensors(i).Name() for i in range(graph.TensorsLength())]
  assert len(set(names)) == len(names)
  assert max(map(len, names)) <= 3
