"""Which published results are comparable with a study."""

from m3net_jax.reporting import comparable
from tests.reporting.studies import study


def test_a_part_of_the_twelve_class_task_is_another_task():
  published = lambda clips: comparable.comparable(
    study({'full': 0.97}, 'speech_commands_12', 'official', num_clips=clips, classes=12)
  )[0]
  assert published(4890) == []
  assert {'KWT-3', 'BC-ResNet-8'} <= {result.method for result in published(46258)}
