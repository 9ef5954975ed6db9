"""The TFLite operators that firmware can run: what a model uses, checked against what TFLite Micro has.

The list holds operators whose int8 kernels are in TFLite Micro and which the converter's quantiser treats
right; SUM and MEAN are off it, for 16-bit quantisation breaks them without a word.
"""

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


def count(model: bytes) -> dict[str, int]:
  """The operators of a .tflite file and how often each is in it; a custom one by its own name."""
  from ai_edge_litert import schema_py_generated as schema

  names = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
  }
  parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
  # Files of old converters hold the code in the one-byte field, new ones in both.
  codes = [
    code.customCode.decode()
    if code.customCode
    else names[max(code.builtinCode, code.deprecatedBuiltinCode)]
    for code in parsed.operatorCodes
  ]
  count: dict[str, int] = {}
  for graph in parsed.subgraphs:
    for operator in graph.operators:
      count[codes[operator.opcodeIndex]] = count.get(codes[operator.opcodeIndex], 0) + 1
  return dict(sorted(count.items()))


def check(model: bytes, variant: str, kind: str) -> list[str]:
  """The operators of a file, where firmware can run them all.

  Raises:
    UserError: naming the operators off the list.
  """
  found = list(count(model))
  if missing := [name for name in found if name not in RESOLVER]:
    raise UserError(
      f'variant {variant}: the {kind} model needs {", ".join(missing)}, off the list of operators that '
      f'firmware runs ({", ".join(RESOLVER)}): write the module without, such as '
      "layers.global_mean(x, 'tflite') for a mean"
    )
  return found
