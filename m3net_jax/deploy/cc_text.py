"""C++ as text: headers, arrays and numbers."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from data_prep.names import is_shown


def header(name: str, body: str, includes: str = '') -> str:
  """A header file with its guard, includes (those of `body` and `includes`) and namespace."""
  guard = f'M3NET_{name.upper()}_H_'
  body_lines = body.split('\n')
  system = '\n'.join(line for line in body_lines if line.startswith('#include'))
  rest = '\n'.join(line for line in body_lines if not line.startswith('#include')).strip('\n')
  includes = '\n'.join(filter(None, (system, includes.strip())))
  return (
    f'#ifndef {guard}\n#define {guard}\n\n'
    + (f'{includes}\n\n' if includes else '')
    + f'namespace m3net {{\n\n{rest}\n\n}}  // namespace m3net\n\n#endif  // {guard}\n'
  )


def array(kind: str, name: str, values: ArrayLike, size: str = '') -> str:
  """A constant array of `kind` ('float', 'short'); `size` is C++, as 'kRows][3' for two axes."""
  flat = np.asarray(values).ravel()
  literals = map(float_literal, flat) if kind == 'float' else map(str, flat.tolist())
  return f'constexpr {kind} {name}[{size}] = {{\n{lines(literals)}\n}};'


def string(text: str) -> str:
  """Text as a C++ literal in UTF-8: `"`, `\\` and `?` (of trigraphs) escaped, the rest readable."""

  def escaped(sign: str) -> str:
    if sign in '"\\?':
      return f'\\{sign}'
    if is_shown(sign):
      return sign
    return ''.join(f'\\{byte:03o}' for byte in sign.encode('utf-8', 'replace'))

  return f'"{"".join(map(escaped, text))}"'


def lines(values: Iterable[str], columns: int = 110) -> str:
  """Values with commas, in lines of at most `columns`."""
  complete, line = [], '   '
  for value in values:
    if len(line) + len(value) + 2 > columns:
      complete.append(line)
      line = '   '
    line += f' {value},'
  return '\n'.join([*complete, line])


def float_literal(value: float) -> str:
  """A float32 as a C++ literal of exactly this value."""
  text = repr(float(np.float32(value))) if value == 0 else f'{np.float32(value):.9g}'
  return (text if any(sign in text for sign in '.en') else f'{text}.0') + 'f'
