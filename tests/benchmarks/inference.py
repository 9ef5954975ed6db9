"""How long one inference of a bundle takes on this computer per runtime, from image to logits.

    python -m tests.benchmarks.inference --bundle=bundles/quick --workdir=studies/quick
        [--rounds=200]

The runtimes take turns, one clip each, so other load on the computer affects all equally; medians
are printed. JAX is compiled for one image. TFLite Micro runs its portable kernels. A
microcontroller has its own kernels, so this time says nothing about one.
"""

import statistics
import time
from pathlib import Path

import numpy as np
from absl import flags

from data_prep import cli
from m3net_jax.inference import best_lane, classifier, lane_classifier, runtimes
from m3net_jax.study import workdir

_BUNDLE = flags.DEFINE_string('bundle', None, 'folder that export wrote', required=True)
_STUDY = flags.DEFINE_string(
  'workdir', None, 'study that was exported', required=True, allow_override=True
)
_VARIANT = flags.DEFINE_string('variant', None, 'variant of the exported lane (default: the best)')
_SEED = flags.DEFINE_integer('seed', None, 'seed of the exported lane (default: the best)')
_ROUNDS = flags.DEFINE_integer('rounds', 200, 'inferences of each runtime', lower_bound=1)


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  folder, study = Path(_BUNDLE.value), workdir.read(_STUDY.value)
  spec = classifier.read_spec(folder / 'model.json')
  programs = {
    'JAX float32': lane_classifier.from_lane(
      study, best_lane.load(study, _VARIANT.value, _SEED.value), 'shift'
    ).of_images
  }
  for path in sorted(folder.glob('model_*.tflite')):  # int16x8 may have been left out
    for runtime in runtimes.RUNTIMES:
      kind = path.stem.removeprefix('model_')
      programs[f'{runtime} {kind}'] = runtimes.Model(path.read_bytes(), runtime).logits
  images = np.random.default_rng(0).standard_normal((16, *spec.input_shape)).astype(np.float32)
  times: dict[str, list[float]] = {name: [] for name in programs}
  for program in programs.values():
    program(images[:1])  # compiles
  for i in range(_ROUNDS.value):
    for name, program in programs.items():
      start = time.perf_counter()
      program(images[i % 16 : i % 16 + 1])
      times[name].append(time.perf_counter() - start)
  for name, seconds in times.items():
    print(f'{name:<24} {1000 * statistics.median(seconds):8.3f} ms')


if __name__ == '__main__':
  cli.run(main)
