"""The convolutions of the network as pure functions, in lowerings that compute the same.

conv    `lax.conv_general_dilated`; lanes that are computed together make it a grouped convolution
matmul  dense and pointwise convolutions are matrix products, one batched product for all lanes;
        depthwise ones are grouped convolutions by nature, with and without lanes
taps    as `matmul`, but a depthwise convolution is one shifted multiply-add per tap, its gradient
        one sum per tap
shift   for CPUs, where XLA's grouped convolution is ten times slower: as `taps`, but one pass over
        the clips keeps the sums of the gradient in the cache
tflite  as `conv`, with means that the converter's integers represent well (`layers.global_mean`);
        never used for training

Maps are [clips, height, width, channels]; padding is SAME as in TensorFlow; kernels are 3x3 unless
a docstring gives another size. Kernels are float32. With maps of bfloat16 they are rounded before
they are used; the sums of their gradients are float32, but in convolutions that are left to XLA.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def lowering_for(backend: str) -> str:
  """The lowering for a JAX backend ('cpu', 'gpu', 'tpu'), if nothing was measured."""
  return 'shift' if backend == 'cpu' else 'matmul'


def convolves(lowering: str) -> bool:
  """Whether dense convolutions are left to XLA; else they are matrix products."""
  return lowering in ('conv', 'tflite')


def convolves_depthwise(lowering: str) -> bool:
  """Whether depthwise convolutions are left to XLA; else they are sums over taps."""
  return convolves(lowering) or lowering == 'matmul'


def conv(x: jax.Array, kernel: jax.Array, stride: int, lowering: str) -> jax.Array:
  """Dense 3x3 convolution.

  [n, h, w, c] and [3, 3, c, d] to [n, ceil(h/stride), ceil(w/stride), d].
  """
  if convolves(lowering):
    return lax.conv_general_dilated(
      x, kernel.astype(x.dtype), (stride, stride), 'SAME', dimension_numbers=_DIMENSIONS
    )
  # Joining columns, then rows, takes a third of the small copies (of 1 or 3 channels) that joining
  # nine views takes.
  padded = _pad_same(x, stride, (3, 3))
  views = lambda axis: [
    lax.slice_in_dim(padded, tap, padded.shape[axis] - 2 + tap, stride, axis) for tap in range(3)
  ]
  padded = jnp.concatenate(views(2), axis=-1)
  return matmul(jnp.concatenate(views(1), axis=-1), kernel.reshape(-1, kernel.shape[-1]))


def depthwise(x: jax.Array, kernel: jax.Array, stride: int, lowering: str) -> jax.Array:
  """Depthwise convolution with a kernel of odd sizes, each at least the stride.

  [n, h, w, c] and [rows, columns, 1, c] to [n, ceil(h/stride), ceil(w/stride), c].
  """
  if convolves_depthwise(lowering):
    return lax.conv_general_dilated(
      x,
      kernel.astype(x.dtype),
      (stride, stride),
      'SAME',
      dimension_numbers=_DIMENSIONS,
      feature_group_count=x.shape[-1],
    )
  return _depthwise(x, kernel[:, :, 0], stride, lowering == 'shift')


def pointwise(x: jax.Array, kernel: jax.Array, lowering: str) -> jax.Array:
  """1x1 convolution: [n, h, w, c] and [1, 1, c, d] to [n, h, w, d]."""
  if convolves(lowering):
    return lax.conv_general_dilated(
      x, kernel.astype(x.dtype), (1, 1), 'SAME', dimension_numbers=_DIMENSIONS
    )
  return matmul(x, kernel[0, 0])


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Matrix product: [..., c] and [c, d] to [..., d].

  Its gradient with respect to the kernel does not transpose the map. JAX's own gradient does, which
  took 13 of 45 ms per step.
  """
  return x @ kernel.astype(x.dtype)


def _matmul_backward(
  saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  for_x = lax.dot_general(g, kernel.astype(x.dtype), (((g.ndim - 1,), (1,)), ((), ())))
  rows, columns = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
  for_kernel = lax.dot_general(
    rows, columns, (((0,), (0,)), ((), ())), preferred_element_type=kernel.dtype
  )
  return for_x, for_kernel


matmul.defvjp(lambda x, kernel: (x @ kernel.astype(x.dtype), (x, kernel)), _matmul_backward)


def same_padding(size: int, stride: int, window: int) -> tuple[int, int]:
  """TensorFlow's SAME padding of a window: before and after."""
  total = max((-(-size // stride) - 1) * stride + window - size, 0)
  return total // 2, total - total // 2


def _pad_same(x: jax.Array, stride: int, window: tuple[int, ...]) -> jax.Array:
  rows, columns = (same_padding(*sizes) for sizes in zip(x.shape[1:3], (stride, stride), window))
  return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _taps(window: tuple[int, ...]) -> list[tuple[int, int]]:
  """Row and column of every tap of a kernel, in row order."""
  return [(row, column) for row in range(window[0]) for column in range(window[1])]


def _shifted(padded: jax.Array, stride: int, window: tuple[int, ...]) -> list[jax.Array]:
  """The views of a padded map for the taps of a kernel, in row order."""
  height, width = ((size - taps) // stride + 1 for size, taps in zip(padded.shape[-3:-1], window))
  return [
    padded[
      ...,
      row : row + stride * (height - 1) + 1 : stride,
      column : column + stride * (width - 1) + 1 : stride,
      :,
    ]
    for row, column in _taps(window)
  ]


def _tap_sum(padded: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  window, kernel = kernel.shape[:2], kernel.astype(padded.dtype)
  products = (
    view * kernel[tap] for view, tap in zip(_shifted(padded, stride, window), _taps(window))
  )
  return cast(jax.Array, sum(products))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, clip_by_clip: bool) -> jax.Array:
  return _tap_sum(_pad_same(x, stride, kernel.shape[:2]), kernel, stride)


def _depthwise_backward(
  stride: int, clip_by_clip: bool, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, kernel = saved
  window = kernel.shape[:2]
  for_x = (
    _tap_sum(_pad_same(g, 1, window), kernel[::-1, ::-1], 1)
    if stride == 1
    else _input_gradient(x, kernel, g, stride)
  )
  padded = _pad_same(x, stride, window)
  if clip_by_clip:
    return for_x, _kernel_gradient(padded, g, stride, window)
  for_taps = [
    (view * g).sum((0, 1, 2), dtype=kernel.dtype) for view in _shifted(padded, stride, window)
  ]
  return for_x, jnp.stack(for_taps).reshape(kernel.shape)


_depthwise.defvjp(
  lambda x, kernel, *options: (_depthwise(x, kernel, *options), (x, kernel)), _depthwise_backward
)


def _input_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array, stride: int) -> jax.Array:
  """Gradient of a strided depthwise convolution with respect to its input, phase by phase.

  Input row i meets tap r in output row (i + before - r) / stride if that is an integer. So every
  phase of i is a short sum of shifted g, without multiplications by zero.
  """
  height, width = x.shape[1:3]
  kernel = kernel.astype(g.dtype)
  before = [
    same_padding(size, stride, taps)[0] for size, taps in zip((height, width), kernel.shape)
  ]
  phases = []
  for row_phase in range(stride):
    for column_phase in range(stride):
      total: Any = 0.0
      for row, column in _taps(kernel.shape[:2]):
        shift_row, left_row = divmod(row_phase + before[0] - row, stride)
        shift_column, left_column = divmod(column_phase + before[1] - column, stride)
        if left_row == left_column == 0:
          moved = _window(g, shift_row, -(-height // stride), shift_column, -(-width // stride))
          total = total + moved * kernel[row, column]
      phases.append(total)
  n, rows, columns, channels = phases[0].shape
  grid = jnp.stack(phases).reshape(stride, stride, n, rows, columns, channels)
  gradient = grid.transpose(2, 3, 0, 4, 1, 5).reshape(n, rows * stride, columns * stride, channels)
  return gradient[:, :height, :width]


def _window(g: jax.Array, first_row: int, rows: int, first_column: int, columns: int) -> jax.Array:
  """`rows` rows and `columns` columns of g from the first ones on; zeros outside of g."""
  edges = [
    (-first, first + count - size)
    for first, count, size in ((first_row, rows, g.shape[1]), (first_column, columns, g.shape[2]))
  ]
  return lax.pad(
    g, jnp.zeros((), g.dtype), ((0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0))
  )


def _kernel_gradient(
  padded: jax.Array, g: jax.Array, stride: int, window: tuple[int, ...]
) -> jax.Array:
  """Gradient of a depthwise convolution with respect to its kernel, [rows, columns, c].

  One pass over the clips keeps the sums of the taps, each of the size of one clip's map, in the
  cache. A reduction over the complete batch per tap would read it from memory as often.
  """

  def add(sums: list[jax.Array], clip: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
    padded_clip, g_clip = clip
    views = _shifted(padded_clip, stride, window)
    return [total + view * g_clip for total, view in zip(sums, views)], None

  zeros = [jnp.zeros(g.shape[1:], jnp.float32) for _ in _taps(window)]
  sums, _ = lax.scan(add, zeros, (padded, g))
  return jnp.stack([total.sum((0, 1)) for total in sums]).reshape(*window, -1)
