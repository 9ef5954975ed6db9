"""The variants: which parts of the network each has (paper, Tables 3 to 5), and a module of the user's own.

Variants that differ only in which mirrors and channel weights are on have the same parameters, and run as one
compiled program with `Switches` as lane values.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import UserError

if TYPE_CHECKING:  # slow to import, and needed for annotations only
  import jax
  from flax import linen as nn

STEM_CHANNELS = 32


class Switches(NamedTuple):
  """What is on in Mirror Attention: booleans, or a lane's values (traced scalars)."""

  hmf: 'bool | jax.Array' = True
  vmf: 'bool | jax.Array' = True
  csf: 'bool | jax.Array' = True
  eca: 'bool | jax.Array' = True


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a variant has of the whole network; `attention` takes the place of Mirror Attention."""

  stem_channels: int = STEM_CHANNELS
  stem_stride: int = (
    2  # or 4: what enters Mirror Attention is as large, for SFP 2 has a stride of 1 then
  )
  sfp2: bool = True
  mfp: bool = True
  dfp: bool = True
  switches: Switches = Switches()
  attention: 'Callable[..., nn.Module] | None' = None

  @property
  def program(self) -> 'Architecture':
    """Of the same parameter shapes with everything switched on: variants of equal `program` compile once."""
    return dataclasses.replace(self, switches=Switches()) if self.mfp and self.dfp else self


VARIANTS = {
  'full': Architecture(),
  # Table 3: without Mirror Attention, and with half of shallow feature processing.
  'no_ma': Architecture(mfp=False, dfp=False),
  'no_sfp': Architecture(sfp2=False),
  # Table 4: without one of the branches.
  'no_mfp': Architecture(mfp=False),
  'no_dfp': Architecture(dfp=False),
  # Table 5, columns 1 to 4: the mirrors and ECA put back one after another.
  'plain': Architecture(switches=Switches(False, False, False, False)),
  'eca': Architecture(switches=Switches(False, False, False, True)),
  'eca_csf': Architecture(switches=Switches(False, False, True, True)),
  'eca_csf_vmf': Architecture(switches=Switches(False, True, True, True)),
  # Not the paper's: the stem's output is what takes most memory on a microcontroller; a half of it, and a quarter.
  'stem16': Architecture(stem_channels=16),
  'stride4': Architecture(stem_stride=4),
}


_CLASSES: dict[str, type['nn.Module']] = {}  # by name, those given as classes


def name_of(variant: str | type['nn.Module']) -> str:
  """The name of a variant: a string as it is, a Flax class as `module:Name`.

  A class is remembered under its name, so that one from a notebook, which no import finds, can be
  trained and exported.

  Raises:
    UserError: `variant` is neither a string nor a Flax class.
  """
  if isinstance(variant, str):
    return variant
  _check_class(f'variants={variant!r}', variant)
  name = f'{variant.__module__}:{variant.__qualname__}'
  _CLASSES[name] = variant
  return name


def architecture_of(variant: str) -> Architecture:
  """The architecture of a variant's name, or of `module.path:Name`, a Flax module of the user's own.

  Raises:
    UserError: the name is unknown, or the module cannot be imported or is not a Flax module.
  """
  if variant in VARIANTS:
    return VARIANTS[variant]
  if variant in _CLASSES:
    return Architecture(attention=_CLASSES[variant])
  path, colon, name = variant.partition(':')
  if not colon:
    raise UserError(
      f'--variants={variant}: unknown; give {", ".join(VARIANTS)} or module.path:Name of your own'
    )
  try:
    module = getattr(importlib.import_module(path), name)
  except Exception as error:  # the file is the user's own, and may raise anything
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(
      f'--variants={variant}: cannot be imported ({reason}); give module.path:Name as Python finds '
      'it from this folder'
    ) from error
  _check_class(f'--variants={variant}', module)
  return Architecture(attention=module)


def _check_class(setting: str, module: Any) -> None:
  from flax import linen as nn  # slow to import: not for --help

  if not (isinstance(module, type) and issubclass(module, nn.Module)):
    raise UserError(f'{setting}: is not a Flax module; give a subclass of flax.linen.Module')
