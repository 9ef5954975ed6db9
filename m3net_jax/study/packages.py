"""The versions of the packages that decide a result."""

import platform
from collections.abc import Sequence
from importlib import metadata

TRAINING = ('m3net_jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')
STATISTICS = ('scipy',)  # of the tests; those of the features are in the store's manifest


def versions(packages: Sequence[str]) -> dict[str, str]:
  """The versions of Python and of `packages`.

  'not installed' for one without metadata: this project, if it runs from its folder.
  """
  return {'python': platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return 'not installed'
