"""Runs .tflite files: ai-edge-litert as on computers, TFLite Micro as on microcontrollers.

Knows bytes and arrays only. Both packages are in the extra `export`.
"""

import importlib
import re
from typing import Any, NamedTuple

import numpy as np

from data_prep import files, stderr
from data_prep.errors import UserError

RUNTIMES = ('ai-edge-litert', 'TFLite Micro')
_LARGEST_ARENA = 2**27  # bytes for TFLite Micro, which reports how many it used


class Tensor(NamedTuple):
  """An input or output of a model.

  Attributes:
    scale, zero_point: a real value is `scale` * (stored - `zero_point`); scale 0 means that real
      values are stored.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  scale: float
  zero_point: int

  def stored(self, values: np.ndarray) -> np.ndarray:
    """Real values in the form that the tensor stores."""
    if not self.scale:
      return values.astype(self.dtype)
    limits = np.iinfo(self.dtype)
    # In float32, as firmware divides.
    scaled = np.round(values.astype(np.float32) / np.float32(self.scale)) + self.zero_point
    return np.clip(scaled, limits.min, limits.max).astype(self.dtype)

  def real(self, stored: np.ndarray) -> np.ndarray:
    """Stored values as real values, float32."""
    if not self.scale:
      return stored.astype(np.float32)
    return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class Model:
  """A .tflite file that is ready to run.

  Attributes:
    input: tensor [1, height, width, channels].
    output: tensor [1, classes].
  """

  def __init__(self, content: bytes, runtime: str):
    """Raises UserError if the runtime is not installed or refuses the file, with its reason."""
    try:
      with stderr.captured() as messages:
        self._open(content, runtime)
    except (RuntimeError, ValueError) as error:
      reason = files.one_line(' '.join([str(error), *messages]))
      raise UserError(f'{runtime} refuses the model: {reason}') from error

  def _open(self, content: bytes, runtime: str) -> None:
    if runtime == 'TFLite Micro':
      self._program = package('tflite_micro').runtime.Interpreter.from_bytes(
        content, arena_size=_LARGEST_ARENA
      )
      self.input = _micro_tensor(self._program.get_input_details(0))
      self.output = _micro_tensor(self._program.get_output_details(0))
      self._put = lambda stored: self._program.set_input(stored, 0)
      self._get = lambda: self._program.get_output(0)
    else:
      self._program = package('ai_edge_litert.interpreter').Interpreter(model_content=content)
      self._program.allocate_tensors()
      inputs, outputs = self._program.get_input_details()[0], self._program.get_output_details()[0]
      self.input, self.output = _tensor(inputs), _tensor(outputs)
      self._put = lambda stored: self._program.set_tensor(inputs['index'], stored)
      self._get = lambda: self._program.get_tensor(outputs['index'])

  def invoke(self, stored: np.ndarray) -> np.ndarray:
    """Runs one inference: stored input [height, width, channels] to stored output [classes]."""
    self._put(stored[None])
    self._program.invoke()
    return self._get()[0].copy()

  def logits(self, images: np.ndarray) -> np.ndarray:
    """Maps images [n, height, width, channels] to logits [n, classes], both float32, one by one."""
    return self.output.real(np.stack([self.invoke(image) for image in self.input.stored(images)]))


class Arena(NamedTuple):
  """Bytes of the tensor arena.

  Attributes:
    head: memory that the tensors of an inference share.
    tail: memory that lasts.
  """

  total: int
  head: int
  tail: int


def arena(content: bytes) -> Arena:
  """Measures the arena with TFLite Micro's recording allocator in one inference.

  It counts for this computer. A microcontroller has shorter pointers and needs less.
  """
  model = Model(content, 'TFLite Micro')
  with stderr.captured() as messages:
    model.invoke(np.zeros(model.input.shape[1:], model.input.dtype))
    model._program.print_allocations()
  counts = dict(re.findall(r'Arena allocation (total|head|tail) (\d+) bytes', ''.join(messages)))
  return Arena(*(int(counts[part]) for part in Arena._fields))


def allocates(content: bytes, arena_size: int) -> bool:
  """Whether TFLite Micro can run a model in an arena of `arena_size` bytes."""
  with stderr.captured():
    try:
      package('tflite_micro').runtime.Interpreter.from_bytes(content, arena_size=arena_size)
    except RuntimeError:
      return False
  return True


def package(name: str) -> Any:
  """Imports a module of the extras `export` and `predict`; UserError if it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    extra = 'predict' if name.startswith('ai_edge_litert') else 'export'
    raise UserError(
      f'{name.partition(".")[0]} is not installed, and .tflite files need it: '
      f"in the folder of m3net_jax, pip install -e '.[{extra}]'"
    ) from error


def _tensor(details: dict[str, Any]) -> Tensor:
  scale, zero_point = details['quantization']
  return Tensor(
    tuple(details['shape'].tolist()), np.dtype(details['dtype']), float(scale), int(zero_point)
  )


def _micro_tensor(details: dict[str, Any]) -> Tensor:
  quantisation = details['quantization_parameters']
  scale, zero_point = (list(quantisation[field]) or [0] for field in ('scales', 'zero_points'))
  return Tensor(
    tuple(details['shape'].tolist()),
    np.dtype(details['dtype']),
    float(scale[0]),
    int(zero_point[0]),
  )
