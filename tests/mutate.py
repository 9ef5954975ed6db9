"""Do the tests notice a changed line? Mutates what decides a result and runs its tests.

    make mutate                 (python -m tests.mutate --mutants=150 --seed=0)

cosmic-ray changes one operator, number or condition at a time, in a copy of the project; a mutant
is killed if a test fails. A seeded sample of all possible mutants is tried. It takes about half an
hour on two cores, so it is run by hand. The survivors of the last run, with the reason why each is
harmless, are in docs/exactness.md.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from absl import flags
from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from data_prep import cli

ROOT = Path(__file__).parents[1]
_STUDY = [
  f'tests/study/test_{name}.py'
  for name in ('splits', 'lanes', 'unequal_classes', 'whole_studies', 'study', 'workdir')
]
_STATS = [
  'tests/stats',
  'tests/benchmarks/test_inference_units.py',
]
# What decides a result, and the tests that are to notice a change in it.
MODULES = {
  'm3net_jax/study/lanes.py': _STUDY[1:],
  'm3net_jax/study/trainer.py': _STUDY[2:],
  'm3net_jax/study/splits.py': _STUDY[:1],
  'm3net_jax/study/results.py': [*_STUDY[2:], 'tests/study/test_results.py'],
  **{
    f'm3net_jax/stats/{name}.py': _STATS
    for name in ('crossed', 'holm', 'intervals', 'measures', 'power', 'resampled', 'wilcoxon')
  },
}
# `|` stands in annotations only, and a mutant of those cannot be imported: it says nothing.
_LEFT_OUT = ('core/ReplaceBinaryOperator_BitOr_',)
_SECONDS = 600  # a mutant that never ends is killed


class Mutant(NamedTuple):
  """One change: the module, cosmic-ray's operator, and which of its places."""

  module: str
  operator: str
  occurrence: int
  line: int


def mutants(modules: Sequence[str]) -> list[Mutant]:
  """All possible mutants of the modules, in a fixed order."""
  found = []
  for item in _all_work_items([ROOT / module for module in modules], {}):
    (change,) = item.mutations
    if not change.operator_name.startswith(_LEFT_OUT):
      module = str(Path(change.module_path).relative_to(ROOT))
      found.append(Mutant(module, change.operator_name, change.occurrence, change.start_pos[0]))
  return found


def killed(mutant: Mutant, copy: Path) -> bool:
  """Whether a test fails on the mutant, in a copy of the project."""
  path = copy / mutant.module
  original = path.read_text()
  path.write_text(mutate_code(original, get_operator(mutant.operator)(), mutant.occurrence))
  try:
    command = [sys.executable, '-m', 'pytest', '-x', '-n0', *MODULES[mutant.module]]
    return (
      subprocess.run(
        command,
        cwd=copy,
        capture_output=True,
        timeout=_SECONDS,
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
      ).returncode
      != 0
    )
  except subprocess.TimeoutExpired:
    return True
  finally:
    path.write_text(original)


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  flags.DEFINE_integer('mutants', 150, 'size of the sample', flag_values=values)
  flags.DEFINE_integer('seed', 0, 'of the sample', flag_values=values)
  flags.DEFINE_integer('processes', os.cpu_count(), 'mutants at a time', flag_values=values)


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Tries a sample of mutants and prints the share killed and every survivor."""
  cli.no_arguments(arguments)
  everything = mutants(list(MODULES))
  sample = random.Random(values.seed).sample(everything, min(values.mutants, len(everything)))
  print(f'{len(sample)} of {len(everything):,} mutants of {len(MODULES)} modules', flush=True)
  copies: SimpleQueue[Path] = SimpleQueue()
  with tempfile.TemporaryDirectory() as folder:
    for process in range(values.processes):
      copies.put(_copy(Path(folder) / str(process)))

    def attempt(mutant: Mutant) -> bool:
      copy = copies.get()
      try:
        return killed(mutant, copy)
      finally:
        copies.put(copy)

    survivors = []
    with ThreadPoolExecutor(values.processes) as pool:
      for count, (mutant, dead) in enumerate(zip(sample, pool.map(attempt, sample)), 1):
        if not dead:
          survivors.append(mutant)
        line = f'{count}/{len(sample)}  {"killed" if dead else "SURVIVED"}  {_name(mutant)}'
        print(line, flush=True)
  share = 1 - len(survivors) / len(sample)
  print(f'\nkilled {len(sample) - len(survivors)} of {len(sample)}: {share:.1%}; survivors:')
  for mutant in survivors:
    print(f'{_name(mutant)}\n{_change(mutant)}')


def _copy(folder: Path) -> Path:
  """A copy of the project's tracked files that passes the tests of all modules."""
  shutil.copytree(
    ROOT, folder, ignore=shutil.ignore_patterns('.git', '.venv', 'corpora', 'stores', 'studies')
  )
  tests = sorted({test for tests in MODULES.values() for test in tests})
  subprocess.run([sys.executable, '-m', 'pytest', '-x', '-n0', *tests], cwd=folder, check=True)
  return folder


def _name(mutant: Mutant) -> str:
  return f'{mutant.module}:{mutant.line}  {mutant.operator.removeprefix("core/")}'


def _change(mutant: Mutant) -> str:
  """The line before and after."""
  original = (ROOT / mutant.module).read_text()
  mutated = mutate_code(original, get_operator(mutant.operator)(), mutant.occurrence)
  pairs = zip(original.splitlines(), mutated.splitlines())
  before, after = next((old, new) for old, new in pairs if old != new)
  return f'  - {before.strip()}\n  + {after.strip()}'


if __name__ == '__main__':
  cli.run(main, define)
