"""A trained network as .tflite files: float32, int8 and int16x8, each made by a process of its own.

The converter is C++ that ends its process on some graphs; in a process of its own that is an error like any other.
int8 and int16x8 are calibrated on images; their input and output are integers, their kernels have a scale a channel.
"""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from data_prep import workers
from data_prep.errors import UserError
from m3net_jax.network.variants import Architecture

KINDS = ('float32', 'int8', 'int16x8')
MENDS = {'int16x8': '; --noint16x8 leaves it out'}  # where a kind cannot be made or run


class Network(NamedTuple):
  """What is converted: a variant, its architecture and its variables ('params', 'batch_stats')."""

  variant: str
  architecture: Architecture
  num_classes: int
  input_shape: tuple[int, int, int]
  variables: dict[str, Any]


def convert(
  network: Network, calibration: np.ndarray, kinds: tuple[str, ...] = KINDS
) -> dict[str, bytes]:
  """The .tflite file of each kind, input [1, height, width, channels], output [1, classes] logits.

  Args:
    calibration: images [n, height, width, channels] float32, whose values set the integers' ranges.

  Raises:
    UserError: a conversion failed, with the converter's reason.
  """
  with tempfile.TemporaryDirectory(prefix='m3net_convert_') as name:
    folder = Path(name)
    # cloudpickle, for a user's own module may be a class of a notebook, which no import finds.
    (folder / 'network.pickle').write_bytes(cloudpickle.dumps(network))
    np.save(folder / 'calibration.npy', calibration)
    with ThreadPoolExecutor(workers.num_cores()) as pool:
      return dict(
        zip(kinds, pool.map(lambda kind: _in_a_process(folder, network.variant, kind), kinds))
      )


def _in_a_process(folder: Path, variant: str, kind: str) -> bytes:
  settings = {'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': '', 'JAX_PLATFORMS': 'cpu'}
  ended = subprocess.run(
    [sys.executable, '-m', 'm3net_jax.deploy.convert', str(folder), kind],
    env={**os.environ, **settings},
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    errors='replace',
    check=False,
  )
  made = folder / f'{kind}.tflite'
  if ended.returncode or not made.exists():
    raise UserError(
      f'variant {variant}: conversion to {kind} failed ({_how(ended.returncode)}): {_why(ended.stderr)}'
      + MENDS.get(kind, '')
    )
  return made.read_bytes()


def _how(status: int) -> str:
  return (
    f'the converter died of {signal.Signals(-status).name}'
    if status < 0
    else f'exit status {status}'
  )


def _why(said: str) -> str:
  """The line of a converter's output that says most, without the places in programs that it begins with."""
  lines = [' '.join(line.split()) for line in said.splitlines() if line.strip()]
  telling = [line.partition('error: ')[2] for line in lines if 'error: ' in line]
  return (telling or lines[-1:] or ['it said nothing'])[0][:300]


def _worker(folder: Path, kind: str) -> None:
  """Reads what `convert` wrote and writes KIND.tflite; runs in the process of its own."""
  tf = _tensorflow()
  from jax.experimental import jax2tf

  from m3net_jax.network import models

  _, architecture, num_classes, input_shape, variables = cloudpickle.loads(
    (folder / 'network.pickle').read_bytes()
  )
  # Grouped convolutions are what the converter recognises, and static switches leave no selection behind.
  model = models.M3Net(architecture, num_classes, 'tflite')
  logits = lambda images: model.apply(
    variables, images, train=False, switches=architecture.switches
  )[0]
  module = tf.Module()
  module.logits = tf.function(
    jax2tf.convert(logits, with_gradient=False),
    autograph=False,
    input_signature=[tf.TensorSpec((1, *input_shape), tf.float32, 'image')],
  )
  converter = tf.lite.TFLiteConverter.from_concrete_functions(
    [module.logits.get_concrete_function()], module
  )
  if kind != 'float32':
    calibration = np.load(folder / 'calibration.npy')
    operators = tf.lite.OpsSet
    integers, operators = {
      'int8': (tf.int8, operators.TFLITE_BUILTINS_INT8),
      'int16x8': (tf.int16, operators.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8),
    }[kind]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    converter.target_spec.supported_ops = [operators]
    converter.inference_input_type = converter.inference_output_type = integers
  (folder / f'{kind}.tflite').write_bytes(converter.convert())


def _tensorflow() -> Any:
  try:
    import tensorflow as tf
  except ImportError as error:
    raise SystemExit(
      "Error: tensorflow is not installed: in the folder of m3net_jax, pip install -e '.[export]'"
    ) from error
  return tf


if __name__ == '__main__':
  _worker(Path(sys.argv[1]), sys.argv[2])
