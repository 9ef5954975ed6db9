"""The TFLite operators that firmware can run, and those that a model uses.

The list has operators that TFLite Micro runs in int8 and that the converter quantises correctly.
SUM and MEAN are not on it: 16-bit quantisation breaks them silently.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from data_prep.errors import UserError

# Name in the TFLite schema: the method of tflite::MicroMutableOpResolver that links it.
RESOLVER = {
  'ADD': 'AddAdd',
  'AVERAGE_POOL_2D': 'AddAveragePool2D',
  'BATCH_MATMUL': 'AddBatchMatMul',
  'CONCATENATION': 'AddConcatenation',
  'CONV_2D': 'AddConv2D',
  'DEPTHWISE_CONV_2D': 'AddDepthwiseConv2D',
  'DEQUANTIZE': 'AddDequantize',
  'EXPAND_DIMS': 'AddExpandDims',
  'FULLY_CONNECTED': 'AddFullyConnected',
  'HARD_SWISH': 'AddHardSwish',
  'LEAKY_RELU': 'AddLeakyRelu',
  'LOGISTIC': 'AddLogistic',
  'MAXIMUM': 'AddMaximum',
  'MAX_POOL_2D': 'AddMaxPool2D',
  'MINIMUM': 'AddMinimum',
  'MUL': 'AddMul',
  'PAD': 'AddPad',
  'QUANTIZE': 'AddQuantize',
  'RELU': 'AddRelu',
  'RELU6': 'AddRelu6',
  'RESHAPE': 'AddReshape',
  'REVERSE_V2': 'AddReverseV2',  # in TFLite Micro since July 2025
  'SLICE': 'AddSlice',
  'SOFTMAX': 'AddSoftmax',
  'SPLIT': 'AddSplit',
  'SQUEEZE': 'AddSqueeze',
  'STRIDED_SLICE': 'AddStridedSlice',
  'SUB': 'AddSub',
  'TANH': 'AddTanh',
  'TRANSPOSE': 'AddTranspose',
}


# Operators that copy integers: their output has the scale of their input.
COPYING = frozenset(
  'EXPAND_DIMS RESHAPE REVERSE_V2 SLICE SPLIT SQUEEZE STRIDED_SLICE TRANSPOSE'.split()
)


class _Operator(NamedTuple):
  """An operator of a .tflite file and the graph that it is part of, as the schema has them."""

  name: str
  graph: Any
  content: Any


def count(model: bytes) -> dict[str, int]:
  """Counts the operators of a .tflite file, {name: number}; a custom one by its own name."""
  count: dict[str, int] = {}
  for operator in _operators(model):
    count[operator.name] = count.get(operator.name, 0) + 1
  return dict(sorted(count.items()))


def _rescaled(operators: Iterable[_Operator]) -> list[str]:
  """The names of those that copy integers into a tensor of another scale or zero point, sorted.

  Such a model runs everywhere and its answers are wrong: the converter of TensorFlow 2.21 makes it
  of `x + flip(x)`.
  """

  def scale(tensor: Any) -> tuple[Any, ...]:
    """Rounded: the converter stores float32 numbers that may differ in their last bits."""
    quantisation = tensor.quantization
    if quantisation is None or quantisation.scale is None:
      return ()
    scales = tuple(float(f'{value:.5g}') for value in quantisation.scale)
    return (*scales, *map(int, quantisation.zeroPoint))

  return sorted(
    {
      name
      for name, graph, operator in operators
      if name in COPYING
      # SPLIT has its axis first and its map last; the others have their map first.
      and any(
        scale(graph.tensors[output])
        != scale(graph.tensors[operator.inputs[-1 if name == 'SPLIT' else 0]])
        for output in operator.outputs
      )
    }
  )


def _operators(model: bytes) -> list[_Operator]:
  from ai_edge_litert import schema_py_generated as schema

  names = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
  }
  parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
  # Old converters write the code to the one-byte field only, new ones to both fields.
  codes = [
    code.customCode.decode()
    if code.customCode
    else names[max(code.builtinCode, code.deprecatedBuiltinCode)]
    for code in parsed.operatorCodes
  ]
  return [
    _Operator(codes[operator.opcodeIndex], graph, operator)
    for graph in parsed.subgraphs
    for operator in graph.operators
  ]


def check(model: bytes, variant: str, kind: str) -> list[str]:
  """The names of a file's operators.

  Raises:
    UserError: firmware cannot run all of them; the message names those that are not on the list.
      Or the converter gave one of them a wrong scale.
  """
  found = _operators(model)
  names = sorted({operator.name for operator in found})
  if missing := [name for name in names if name not in RESOLVER]:
    raise UserError(
      f'variant {variant}: the {kind} model needs {", ".join(missing)}, off the list of operators '
      f'that firmware runs ({", ".join(RESOLVER)}): write the module without, such as '
      "layers.global_mean(x, 'tflite') for a mean"
    )
  if wrong := _rescaled(found):
    raise UserError(
      f'variant {variant}: the {kind} model would answer wrongly: the converter changes the scale '
      f'within {", ".join(wrong)}: multiply a map that was flipped or cut before you add to it, as '
      'm3net_jax/network/attentions.py does'
    )
  return names
