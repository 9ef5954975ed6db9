"""Mirrors as slices that are joined in reverse order, for runtimes without REVERSE_V2.

TFLite Micro has REVERSE_V2 since July 2025, and the Ethos-U55 and U65 leave it to the processor.
The computation is changed, not the network, so it works for any module.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal

# Functions with a program or derivatives of their own, which is all that they add.
_CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')


def without_reverse(function: Callable[..., Any], *shapes: Any) -> Callable[..., list[jax.Array]]:
  """The same computation, in which every `lax.rev` outside of loops is made of slices.

  Args:
    function: of arrays.
    shapes: of its arguments.

  Returns:
    A function of these arguments; its result is a list of the arrays of `function`'s.
  """
  closed = jax.make_jaxpr(function)(*shapes)
  return lambda *arguments: _evaluate(closed.jaxpr, closed.consts, arguments)


def _reversed(x: jax.Array, axes: Sequence[int]) -> jax.Array:
  for axis in axes:
    parts = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in reversed(range(x.shape[axis]))]
    x = jnp.concatenate(parts, axis)
  return x


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
  values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments)))
  read = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]
  for equation in jaxpr.eqns:
    inputs = [*map(read, equation.invars)]
    if equation.primitive is lax.rev_p:
      outputs = [_reversed(inputs[0], equation.params['dimensions'])]
    elif equation.primitive.name in _CALLS:
      inner = equation.params.get('jaxpr', equation.params.get('call_jaxpr'))
      outputs = _evaluate(inner.jaxpr, inner.consts, inputs)
    else:
      outputs = equation.primitive.bind(*inputs, **equation.params)
      outputs = outputs if equation.primitive.multiple_results else [outputs]
    values.update(zip(equation.outvars, outputs))
  return [*map(read, jaxpr.outvars)]
