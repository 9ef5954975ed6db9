"""The variants: which parts of the network each has (paper, Tables 3 to 5), and a module of the user's own.

Variants that differ only in which mirrors and channel weights are on have the same parameters, and run as one
compiled program with `Switches` as lane values.
"""
import dataclasses
import importlib
from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import linen as nn

from data_prep.errors import UserError

STEM_CHANNELS = 32


class Switches(NamedTuple):
  """What is on in Mirror Attention: booleans, or a lane's values (traced scalars)."""
  hmf: bool | jax.Array = True
  vmf: bool | jax.Array = True
  csf: bool | jax.Array = True
  eca: bool | jax.Array = True


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a variant has of the whole network; `attention` takes the place of Mirror Attention."""
  stem_channels: int = STEM_CHANNELS
  stem_stride: int = 2  # or 4: what enters Mirror Attention is as large, for SFP 2 has a stride of 1 then
  sfp2: bool = True
  mfp: bool = True
  dfp: bool = True
  switches: Switches = Switches()
  attention: Callable[[], nn.Module] | None = None

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


def architecture_of(variant: str) -> Architecture:
  """The architecture of a variant's name, or of `module.path:Name`, a Flax module of the user's own.

  Raises:
    UserError: the name is unknown, or the module cannot be imported or is no Flax module.
  """
  if variant in VARIANTS:
    return VARIANTS[variant]
  path, colon, name = variant.partition(':')
  if not colon:
    raise UserError(f'--variants={variant}: unknown; give {", ".join(VARIANTS)} or module.path:Name of your own')
  try:
    module = getattr(importlib.import_module(path), name)
  except Exception as error:  # the file is the user's own, and may raise anything
    why = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(f'--variants={variant}: cannot be imported ({why}); give module.path:Name as Python finds it '
                    'from this folder') from error
  if not (isinstance(module, type) and issubclass(module, nn.Module)):
    raise UserError(f'--variants={variant}: is no Flax module; make {name} a subclass of flax.linen.Module')
  return Architecture(attention=module)
