"""What each option of the recipe costs in a training step.

    python -m tests.benchmarks.recipe [--lanes=4] [--batch=32] [--size=64] [--rounds=7]

Every option is its own program; one call trains several steps of all lanes. The programs take turns
and the medians of the rounds are printed, with the ratio to the paper's recipe.
"""

import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags
from jax.sharding import NamedSharding, PartitionSpec

from data_prep import cli
from data_prep.features import Features
from m3net_jax.network import ops
from m3net_jax.network.image import Scaling
from m3net_jax.network.variants import Switches
from m3net_jax.study import augment, hyper, lanes, mapping
from m3net_jax.study.hyper import Hyper
from m3net_jax.study.input_pipeline import Clips
from tests.benchmarks import engines

_LANES = flags.DEFINE_integer('lanes', 4, 'lanes trained', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 32, 'clips per step', lower_bound=2)
_SIZE = flags.DEFINE_integer('size', 64, 'height and width of log-Mel and input', lower_bound=8)
_ROUNDS = flags.DEFINE_integer('rounds', 7, 'timed rounds', lower_bound=1)
CLIPS, WINDOWS = 2000, 500
AUGMENTATION = {
  'time shift': dict(shift_early_ms=100.0, shift_late_ms=100.0),
  'gain': dict(gain_low_db=-20.0, gain_high_db=6.0),
  'noise': dict(noise=0.8, snr_low_db=0.0, snr_high_db=30.0),
  'SpecAugment': dict(spec_augment=1.0),
  'mixup': dict(mixup=0.3),
}
OTHERS = {
  'warm-up, weight decay': dict(warmup_epochs=2.0, weight_decay=0.02),
  'label smoothing': dict(label_smoothing=0.1),
  'average of parameters': dict(ema=0.999),
  'teacher': dict(teacher_weight=0.5),
}


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  all_of = lambda options: {
    name: value for part in options.values() for name, value in part.items()
  }
  options = {
    "the paper's recipe": {},
    **AUGMENTATION,
    'all augmentation': all_of(AUGMENTATION),
    **OTHERS,
    'everything': all_of(AUGMENTATION | OTHERS),
  }
  print(
    f'{_LANES.value} lanes x {_BATCH.value} clips at {_SIZE.value}x{_SIZE.value}x1, '
    f'{_ROUNDS.value} rounds of {lanes.STEPS_PER_CALL} steps\n'
  )
  calls = {name: _call(Hyper(**values)) for name, values in options.items()}
  seconds: dict[str, list[float]] = {name: [] for name in calls}
  for _ in range(_ROUNDS.value):
    for name, call in calls.items():
      start = time.monotonic()
      call()
      seconds[name].append((time.monotonic() - start) / lanes.STEPS_PER_CALL)
  paper = np.array(seconds["the paper's recipe"])
  print(f'{"":<24}{"ms a step":>10}{"ratio":>8}')
  for name, times in seconds.items():
    print(f'{name:<24}{1000 * np.median(times):>10.2f}{np.median(np.array(times) / paper):>8.2f}')


def _call(recipe: Hyper) -> Callable[[], None]:
  """A call of the training program, compiled and run once."""
  size, count = _SIZE.value, _LANES.value
  features = Features(n_mels=size, hop_length=16000 // size)
  parts = hyper.parts([recipe])
  mesh = mapping.make_mesh(count)
  filled = mapping.padded(count, mesh)
  programs = lanes.make_programs(
    engines.model(ops.lowering_for(jax.default_backend())),
    (size, size, 1),
    lanes.Training(steps_per_epoch=50, rule=augment.rule_of(parts, features)),
    channels='magma',
    normalisation='train',
    lanes_at_once=1,
    mesh=mesh,
  )
  state = [
    programs.init_fn(
      np.arange(filled, dtype=np.int32),
      Switches(*[np.ones(filled, bool)] * 4),
      Scaling(*(np.full(filled, value, np.float32) for value in (-40, 20))),
      None,
      hyper.stack([recipe] * filled),
      np.zeros(filled, np.int32),
    )
  ]
  rng = np.random.default_rng(0)
  clips = jax.device_put(
    Clips(
      rng.uniform(-80, 0, (CLIPS, size, size)).astype(np.float16),
      rng.integers(0, engines.CLASSES, CLIPS).astype(np.int32),
      rng.uniform(0, 1, (WINDOWS, size, size)).astype(np.float32) if 'noise' in parts else None,
      rng.normal(size=(CLIPS, 1, engines.CLASSES)).astype(np.float32)
      if 'teacher' in parts
      else None,
    ),
    NamedSharding(mesh, PartitionSpec()),
  )
  order = rng.integers(0, CLIPS, (filled, lanes.STEPS_PER_CALL, _BATCH.value)).astype(np.int32)

  def call() -> None:
    state[0], losses = programs.train_fn(state[0], clips, order)
    jax.block_until_ready(losses)

  call()
  return call


if __name__ == '__main__':
  cli.run(main)
