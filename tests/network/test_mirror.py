"""The mirror operations, against the paper's matrices applied to indices."""

import jax.numpy as jnp
import numpy as np
import pytest

from m3net_jax.network import mirror

# Equations (2), (3) and (5), with W - 1 and H - 1 instead of W and H: indices stay in the grid.
MATRICES = {
  mirror.hmf: lambda w, h: np.array([[-1, 0, w - 1], [0, 1, 0], [0, 0, 1]]),
  mirror.vmf: lambda w, h: np.array([[1, 0, 0], [0, -1, h - 1], [0, 0, 1]]),
  mirror.csf: lambda w, h: np.array([[-1, 0, w - 1], [0, -1, h - 1], [0, 0, 1]]),
}
# [clips, H (frequency), W (time), C]
X = np.random.default_rng(0).standard_normal((2, 5, 7, 3)).astype(np.float32)


@pytest.mark.parametrize('operation', MATRICES)
def test_moves_every_element_as_the_papers_matrix(operation):
  height, width = X.shape[1:3]
  matrix = MATRICES[operation](width, height)
  expected = np.empty_like(X)
  for h in range(height):
    for w in range(width):
      to_w, to_h, _ = matrix @ (w, h, 1)
      expected[:, to_h, to_w] = X[:, h, w]
  np.testing.assert_array_equal(operation(X), expected)


@pytest.mark.parametrize('operation', MATRICES)
def test_is_an_involution(operation):
  np.testing.assert_array_equal(operation(operation(X)), X)
  assert not np.array_equal(operation(X), X)


def test_csf_is_hmf_after_vmf():
  np.testing.assert_array_equal(mirror.csf(X), mirror.hmf(mirror.vmf(X)))


def test_each_reverses_its_own_axis_only():
  # It varies with frequency only.
  ramp = jnp.broadcast_to(jnp.arange(5.0)[None, :, None, None], (1, 5, 7, 1))
  np.testing.assert_array_equal(mirror.hmf(ramp), ramp)
  np.testing.assert_array_equal(mirror.vmf(ramp)[0, :, 0, 0], jnp.arange(5.0)[::-1])


@pytest.mark.parametrize('on', (True, False, np.bool_(True), np.bool_(False)))
def test_where_follows_the_switch(on):
  traced = on if isinstance(on, bool) else jnp.asarray(on)
  np.testing.assert_array_equal(mirror.where(traced, mirror.csf, X), mirror.csf(X) if on else X)
