"""Converts a trained network to .tflite files: float32, int8 and int16x8, in a process of its own.

The converter is C++ and ends its process on some graphs; in its own process that is an error like
any other. int8 and int16x8 are calibrated on images. Their inputs and outputs are integers, and
their kernels have one scale per channel.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import files
from data_prep.errors import UserError
from m3net_jax.deploy.compact import compact
from m3net_jax.network.variants import Architecture

KINDS = ('float32', 'int8', 'int16x8')
FIXES = {'int16x8': '; --noint16x8 leaves it out'}  # if a kind cannot be converted or run


class Network(NamedTuple):
  """A network to convert.

  Attributes:
    variables: its parameters and batch statistics.
    mirrors: one of `options.MIRRORS`; 'slices' is for runtimes without REVERSE_V2.
  """

  variant: str
  architecture: Architecture
  num_classes: int
  input_shape: tuple[int, int, int]
  variables: dict[str, Any]
  mirrors: str = 'reverse'


def convert(
  network: Network, calibration: np.ndarray, kinds: tuple[str, ...] = KINDS
) -> Iterator[tuple[str, bytes]]:
  """Converts a network to .tflite files: images [1, height, width, channels] to logits.

  Args:
    calibration: images [n, height, width, channels] float32 that set the ranges of the integers.
    kinds: some of `KINDS`.

  Yields:
    A kind and its file, in the order of `kinds`.

  Raises:
    UserError: the next conversion failed, with the converter's reason.
  """
  with tempfile.TemporaryDirectory(prefix='m3net_convert_') as name:
    folder = Path(name)
    content = _compute(network)
    with files.naming(folder):
      (folder / 'network.mlir').write_bytes(content)
      np.save(folder / 'calibration.npy', calibration)
    settings = {'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': '', 'JAX_PLATFORMS': 'cpu'}
    process = subprocess.run(
      [sys.executable, '-m', 'm3net_jax.deploy.convert', name, *kinds],
      env={**os.environ, **settings},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      errors='replace',
      check=False,
    )
    for kind in kinds:
      converted = folder / f'{kind}.tflite'
      if not converted.exists():
        raise UserError(
          f'variant {network.variant}: conversion to {kind} failed '
          f'({_ending(process.returncode)}): {_reason(process.stderr)}{FIXES.get(kind, "")}'
        )
      yield kind, converted.read_bytes()


def _ending(status: int) -> str:
  if status < 0:
    return f'the converter died of {signal.Signals(-status).name}'
  return f'exit status {status}'


def _reason(output: str) -> str:
  """The most useful line of a converter's output: its first error, otherwise its last line."""
  lines = [' '.join(line.split()) for line in output.splitlines() if line.strip()]
  errors = [line.partition('error: ')[2] for line in lines if 'error: ' in line]
  return (errors or lines[-1:] or ['it printed nothing'])[0][:300]


def convert_here(
  network: Network, calibration: np.ndarray, kinds: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
  """As `convert`, in this process, which the converter ends on some graphs."""
  return _convert(_compute(network), calibration, kinds)


def _compute(network: Network) -> bytes:
  """The computation of the network, with its parameters, as StableHLO that JAX serialised.

  So the other process needs no class of a user's own module, which may be in a notebook.

  Raises:
    UserError: the network cannot be written without conditionals and with grouped convolutions.
  """
  import jax

  from m3net_jax.deploy import slices
  from m3net_jax.network import models

  # The converter recognises grouped convolutions; static switches leave no conditional.
  model = models.M3Net(network.architecture, network.num_classes, 'tflite')
  logits = lambda images: model.apply(
    network.variables, images, train=False, switches=network.architecture.switches
  )[0]
  image = jax.ShapeDtypeStruct((1, *network.input_shape), np.float32)
  try:
    if network.mirrors == 'slices':
      computed = slices.without_reverse(logits, image)
      logits = lambda images: computed(images)[0]
    return bytes(jax.export.export(jax.jit(logits), platforms=('cpu',))(image).serialize())
  except Exception as error:  # of a user's own module
    raise UserError(
      f'variant {network.variant}: cannot be traced for conversion '
      f'({type(error).__name__}: {files.one_line(error)[:300]})'
    ) from error


def _convert(
  computation: bytes, calibration: np.ndarray, kinds: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
  """`convert` of what `_compute` returned."""
  tf = _tensorflow()
  import jax
  from jax.experimental import jax2tf

  logits = jax.export.deserialize(bytearray(computation))
  module = tf.Module()
  module.logits = tf.function(
    jax2tf.convert(logits.call, with_gradient=False),
    autograph=False,
    input_signature=[tf.TensorSpec(logits.in_avals[0].shape, tf.float32, 'image')],
  )
  traced = module.logits.get_concrete_function()
  sets = tf.lite.OpsSet
  integers = {
    'int8': (tf.int8, sets.TFLITE_BUILTINS_INT8),
    'int16x8': (tf.int16, sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8),
  }
  for kind in kinds:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
    if kind in integers:
      dtype, operators = integers[kind]
      converter.optimizations = [tf.lite.Optimize.DEFAULT]
      converter.representative_dataset = lambda: ([image[None]] for image in calibration)
      converter.target_spec.supported_ops = [operators]
      converter.inference_input_type = converter.inference_output_type = dtype
    yield kind, compact(converter.convert())


def _worker(folder: Path, kinds: tuple[str, ...]) -> None:
  """Reads what `convert` wrote and writes KIND.tflite for each kind; runs in its own process."""
  computation = (folder / 'network.mlir').read_bytes()
  calibration = np.load(folder / 'calibration.npy')
  for kind, content in _convert(computation, calibration, kinds):
    files.write_bytes(folder / f'{kind}.tflite', content)


def _tensorflow() -> Any:
  try:
    import tensorflow as tf
  except ImportError as error:
    raise SystemExit(
      "Error: tensorflow is not installed: in the folder of m3net_jax, pip install -e '.[export]'"
    ) from error
  return tf


if __name__ == '__main__':
  _worker(Path(sys.argv[1]), tuple(sys.argv[2:]))
