"""The variants: which of them share a program, and errors in a user's own module."""

import pytest

from data_prep.errors import UserError
from m3net_jax.network import attentions, cost, rivals
from m3net_jax.network.variants import RIVALS, VARIANTS, architecture_of, short_name

NOT_A_CLASS = (32, 24, 3)


def test_only_switched_variants_share_a_program():
  assert len({architecture.program for architecture in VARIANTS.values()}) == 7


def test_labels_leave_the_module_out():
  assert [short_name(name) for name in ('full', 'my.module:Mine')] == ['full', 'Mine']


def test_forms_and_rivals_are_found_by_their_names():
  assert architecture_of('long_kernels').attention is attentions.LongKernels
  for name, path in RIVALS.items():
    assert architecture_of(name).network is getattr(rivals, short_name(path))
  size = lambda variant: cost.size(architecture_of(variant), 12, (64, 64, 1))
  assert size('long_kernels') == size('full')


@pytest.mark.parametrize(
  'variant, message',
  [
    ('fulll', '--variants=fulll: unknown'),
    ('nowhere:Thing', 'cannot be imported'),
    (f'{__name__}:NOT_A_CLASS', 'not a Flax'),
    (f'{__name__}:Gone', 'cannot be imported'),
  ],
)
def test_an_unknown_variant_is_named(variant, message):
  with pytest.raises(UserError, match=message):
    architecture_of(variant)


def test_a_users_file_that_fails_on_import_is_named(tmp_path, monkeypatch):
  (tmp_path / 'broken_module.py').write_text('1 / 0\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(
    UserError, match=r'--variants=broken_module:Attention: cannot be imported \(ZeroDivisionError'
  ):
    architecture_of('broken_module:Attention')
