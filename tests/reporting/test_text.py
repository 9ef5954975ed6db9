"""What a reader of a report must know first."""

from m3net_jax.reporting import text
from tests.reporting import studies


def test_a_lane_that_diverged_is_named_with_its_epoch_and_step():
  content = studies.study({'full': 0.9, 'plain': 0.8})
  assert not text.diverged_lanes(content)
  lane = content['variants']['plain']['lanes'][3]
  lane |= {'status': 'diverged', 'diverged_epoch': 4, 'diverged_step': 17}
  assert text.diverged_lanes(content) == ['plain, random, seed 3: epoch 4, step 17']
