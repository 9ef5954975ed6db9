"""Tests of one network compile hundreds of small programs, which takes most of their time.

They compare numbers to a tolerance, so they do without the compiler's optimisations. Tests of
studies, which compare bits, keep them.
"""

import jax
import pytest


@pytest.fixture(autouse=True)
def fast_compiling():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)
