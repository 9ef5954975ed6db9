"""A .tflite file without what no runtime reads: the names of its tensors are a tenth of it."""

import numpy as np

_IDENTIFIER = b'TFL3'
_ALIGNMENT = 16  # bytes, of the constants, as the schema asks


def compact(model: bytes) -> bytes:
  """The same model with numbers in place of the names of tensors.

  Signatures keep their names, and every constant begins at a multiple of 16 bytes.
  """
  import flatbuffers
  from ai_edge_litert import schema_py_generated as schema

  class Builder(flatbuffers.Builder):
    """Aligns arrays of bytes, which the generated code does not."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:
      if x.dtype != np.uint8:
        return super().CreateNumpyVector(x)
      self.StartVector(1, x.size, _ALIGNMENT)
      self.head -= x.size
      self.Bytes[self.head : self.head + x.size] = x.tobytes()
      return self.EndVector()

  parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
  for graph in parsed.subgraphs:
    for number, tensor in enumerate(graph.tensors):
      tensor.name = str(number)
  builder = Builder(len(model))
  builder.Finish(parsed.Pack(builder), _IDENTIFIER)
  return bytes(builder.Output())
