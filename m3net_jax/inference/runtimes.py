"""A .tflite file in the two programs that run it: ai-edge-litert on computers, TFLite Micro on microcontrollers.

Knows bytes and arrays only. The packages are those of the extra `export`.
"""

import importlib
import re
from typing import Any, NamedTuple

import numpy as np

from data_prep import stderr
from data_prep.errors import UserError

RUNTIMES = ('ai-edge-litert', 'TFLite Micro')
_LARGEST_ARENA = 2**27  # bytes given to TFLite Micro, which reports how much of it it took


class Tensor(NamedTuple):
  """An input or output; a real value is `scale` * (stored - `zero_point`), and `scale` is 0 where stored as it is."""

  shape: tuple[int, ...]
  dtype: np.dtype
  scale: float
  zero_point: int

  def stored(self, values: np.ndarray) -> np.ndarray:
    """Real values as the tensor holds them."""
    if not self.scale:
      return values.astype(self.dtype)
    limits = np.iinfo(self.dtype)
    # In float32, as firmware divides.
    scaled = np.round(values.astype(np.float32) / np.float32(self.scale)) + self.zero_point
    return np.clip(scaled, limits.min, limits.max).astype(self.dtype)

  def real(self, stored: np.ndarray) -> np.ndarray:
    """What the tensor holds as float32 values."""
    if not self.scale:
      return stored.astype(np.float32)
    return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class Model:
  """A .tflite file with one input [1, height, width, channels] and one output [1, classes], ready to run.

  Attributes:
    input, output: its tensors.
  """

  def __init__(self, content: bytes, runtime: str):
    """Raises UserError where the runtime is not installed or refuses the file, with its reason."""
    try:
      with stderr.captured() as said:
        self._open(content, runtime)
    except (RuntimeError, ValueError) as error:
      reason = ' '.join(' '.join([str(error), *said]).split())
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
      given, made = self._program.get_input_details()[0], self._program.get_output_details()[0]
      self.input, self.output = _tensor(given), _tensor(made)
      self._put = lambda stored: self._program.set_tensor(given['index'], stored)
      self._get = lambda: self._program.get_tensor(made['index'])

  def invoke(self, stored: np.ndarray) -> np.ndarray:
    """One inference on what the input holds, [height, width, channels]; returns what the output holds, [classes]."""
    self._put(stored[None])
    self._program.invoke()
    return self._get()[0].copy()

  def logits(self, images: np.ndarray) -> np.ndarray:
    """Images [n, height, width, channels] float32 to logits [n, classes] float32, one after another."""
    return self.output.real(np.stack([self.invoke(each) for each in self.input.stored(images)]))


class Arena(NamedTuple):
  """Bytes of the tensor arena: all of it, the tensors' part that inferences reuse, and what lasts."""

  total: int
  head: int
  tail: int


def arena(content: bytes) -> Arena:
  """What TFLite Micro's recording allocator counts in one inference.

  It counts for this computer, whose pointers are longer than a microcontroller's: the arena needed there is smaller.
  """
  model = Model(content, 'TFLite Micro')
  with stderr.captured() as said:
    model.invoke(np.zeros(model.input.shape[1:], model.input.dtype))
    model._program.print_allocations()
  counts = dict(re.findall(r'Arena allocation (total|head|tail) (\d+) bytes', ''.join(said)))
  return Arena(*(int(counts[part]) for part in Arena._fields))


def package(name: str) -> Any:
  """A module of the extra `export`; UserError where it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(
      f'{name.partition(".")[0]} is not installed, and .tflite files need it: '
      "in the folder of m3net_jax, pip install -e '.[export]'"
    ) from error


def _tensor(details: dict[str, Any]) -> Tensor:
  scale, zero_point = details['quantization']
  return Tensor(
    tuple(details['shape'].tolist()), np.dtype(details['dtype']), float(scale), int(zero_point)
  )


def _micro_tensor(details: dict[str, Any]) -> Tensor:
  quantisation = details['quantization_parameters']
  scale, zero_point = (list(quantisation[each]) or [0] for each in ('scales', 'zero_points'))
  return Tensor(
    tuple(details['shape'].tolist()),
    np.dtype(details['dtype']),
    float(scale[0]),
    int(zero_point[0]),
  )
