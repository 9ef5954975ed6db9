"""The variants and their parts of the network (paper, Tables 3 to 5), and a user's own module.

Variants that differ only in mirrors and channel weights have the same parameters. They run as one
compiled program with `Switches` as values of the lanes.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import UserError

if TYPE_CHECKING:  # slow to import, and only needed for annotations
  import jax
  from flax import linen as nn

STEM_CHANNELS = 32


class Switches(NamedTuple):
  """The parts of Mirror Attention that are on: booleans, or traced scalars of a lane.

  Attributes:
    hmf: horizontal mirror (equation 2).
    vmf: vertical mirror (equation 3).
    csf: centre-symmetric flip (equation 5).
    eca: channel weights.
  """

  hmf: 'bool | jax.Array' = True
  vmf: 'bool | jax.Array' = True
  csf: 'bool | jax.Array' = True
  eca: 'bool | jax.Array' = True


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The parts of the network that a variant has.

  Attributes:
    stem_channels: outputs of the stem's convolution.
    stem_stride: 2 or 4. With 4, SFP 2 has stride 1: the input of Mirror Attention keeps its size.
    sfp2: second block of shallow feature processing.
    mfp: mirror feature processing.
    dfp: diagonal feature processing.
    switches: the parts of Mirror Attention that are on.
    attention: a user's Flax module in place of Mirror Attention.
    network: a user's Flax module in place of everything.
  """

  stem_channels: int = STEM_CHANNELS
  stem_stride: int = 2
  sfp2: bool = True
  mfp: bool = True
  dfp: bool = True
  switches: Switches = Switches()
  attention: 'Callable[..., nn.Module] | None' = None
  network: 'Callable[..., nn.Module] | None' = None

  @property
  def program(self) -> 'Architecture':
    """The architecture with everything switched on; variants with equal `program` compile once."""
    return dataclasses.replace(self, switches=Switches()) if self.mfp and self.dfp else self


VARIANTS = {
  'full': Architecture(),
  # Table 3: without Mirror Attention, and with half of shallow feature processing.
  'no_ma': Architecture(mfp=False, dfp=False),
  'no_sfp': Architecture(sfp2=False),
  # Table 4: without one of the branches.
  'no_mfp': Architecture(mfp=False),
  'no_dfp': Architecture(dfp=False),
  # Table 5, columns 1 to 4: ECA and the mirrors added one after another.
  'plain': Architecture(switches=Switches(False, False, False, False)),
  'eca': Architecture(switches=Switches(False, False, False, True)),
  'eca_csf': Architecture(switches=Switches(False, False, True, True)),
  'eca_csf_vmf': Architecture(switches=Switches(False, True, True, True)),
  # Not in the paper: the stem's output takes most of a microcontroller's memory; here it is a half
  # and a quarter of that.
  'stem16': Architecture(stem_channels=16),
  'stride4': Architecture(stem_stride=4),
}


# The other form of Mirror Attention that earned a name: docs/results.md says by how much.
FORMS = {'long_kernels': 'm3net_jax.network.attentions:LongKernels'}

# Other networks of about the same size, to compare with; `rivals` says what each is.
RIVALS = {
  'ds_cnn': 'm3net_jax.network.rivals:DsCnn',
  'bc_resnet_1': 'm3net_jax.network.rivals:BcResNet1',
  'tc_resnet_8': 'm3net_jax.network.rivals:TcResNet8',
}


_GIVEN = ('num_classes', 'lowering')  # fields of a user's module that the network sets
_CLASSES: dict[str, type['nn.Module']] = {}  # classes that `name_of` was called with, by name


def name_of(variant: str | type['nn.Module']) -> str:
  """The name of a variant: a string unchanged, a Flax class as `module:Name`.

  A class is stored under its name, because a class of a notebook cannot be imported later.

  Raises:
    UserError: `variant` is neither a string nor a Flax class.
  """
  if isinstance(variant, str):
    return variant
  _check_class(f'variants={variant!r}', variant)
  name = f'{variant.__module__}:{variant.__qualname__}'
  _CLASSES[name] = variant
  return name


def short_name(variant: str) -> str:
  """A variant without its module, for labels of pictures: `my.module:Mine` is `Mine`."""
  return variant.rpartition(':')[2]


def architecture_of(variant: str) -> Architecture:
  """The architecture of a variant's name or of `module.path:Name`, a user's own Flax module.

  A module with a field `num_classes` is a whole network, images to logits; one without it takes the
  place of Mirror Attention, map to map.

  Raises:
    UserError: the name is unknown, or the module cannot be imported or is not a Flax module.
  """
  if variant in VARIANTS:
    return VARIANTS[variant]
  if variant in _CLASSES:
    return _architecture_with(_CLASSES[variant])
  path, colon, name = (FORMS | RIVALS).get(variant, variant).partition(':')
  if not colon:
    raise UserError(
      f'--variants={variant}: unknown; give {", ".join((*VARIANTS, *FORMS, *RIVALS))} or '
      'module.path:Name of your own'
    )
  try:
    module = getattr(importlib.import_module(path), name)
  except Exception as error:  # a user's file may raise anything
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(
      f'--variants={variant}: cannot be imported ({reason}); give module.path:Name as Python finds '
      'it from this folder'
    ) from error
  _check_class(f'--variants={variant}', module)
  return _architecture_with(module)


def _architecture_with(module: 'type[nn.Module]') -> Architecture:
  if 'num_classes' in module.__dataclass_fields__:
    return Architecture(sfp2=False, mfp=False, dfp=False, network=module)
  return Architecture(attention=module)


def _check_class(setting: str, module: Any) -> None:
  from flax import linen as nn  # slow to import: not for --help

  if not (isinstance(module, type) and issubclass(module, nn.Module)):
    raise UserError(f'{setting}: is not a Flax module; give a subclass of flax.linen.Module')
  lacking = [
    field.name
    for field in dataclasses.fields(module)
    if field.init
    and field.name not in _GIVEN
    and field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  if lacking:
    raise UserError(
      f'{setting}: needs {", ".join(lacking)}, which nothing gives it: give each a default in the '
      f'class, such as {lacking[0]} = ...'
    )
