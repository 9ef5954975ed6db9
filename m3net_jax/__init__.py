"""M3Net studies in JAX: all seeds and variants of one question in one program.

The names below are imported when they are first used, so that `import m3net_jax` is quick.
"""

from typing import TYPE_CHECKING

import lazy_loader

from data_prep.errors import UserError

if TYPE_CHECKING:
  from m3net_jax.api import (
    Study,
    classify,
    compare,
    listen,
    load_model,
    load_store,
    merge_studies,
    open_study,
    prepare,
    prepare_arrays,
    train,
  )
  from m3net_jax.study.config import Config

__all__ = [
  'Config',
  'Study',
  'UserError',
  'classify',
  'compare',
  'listen',
  'load_model',
  'load_store',
  'merge_studies',
  'open_study',
  'prepare',
  'prepare_arrays',
  'train',
]

_SUBMODULES = {
  'api': [name for name in __all__ if name not in ('Config', 'UserError')],
  'study.config': ['Config'],
}
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_SUBMODULES)
