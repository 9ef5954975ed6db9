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
  for name in ('config', 'lanes', 'whole_studies', 'unequal_classes', 'study', 'workdir')
]
# What decides a result, in groups of equal weight, and the tests that notice a change in it.
GROUPS: dict[str, tuple[list[str], list[str]]] = {
  'lanes': (['study/lanes.py'], _STUDY),
  'trainer': (['study/trainer.py'], _STUDY[2:]),
  'splits': (['study/splits.py'], ['tests/study/test_splits.py', 'tests/study/test_results.py']),
  'results': (['study/results.py'], ['tests/study/test_results.py', *_STUDY[3:]]),
  'statistics': (
    [
      f'stats/{name}.py'
      for name in ('crossed', 'holm', 'intervals', 'measures', 'power', 'resampled', 'wilcoxon')
    ],
    ['tests/stats', 'tests/benchmarks/test_inference_units.py'],
  ),
}
# `|` stands in annotations only, and a mutant of those cannot be imported: it says nothing.
_LEFT_OUT = ('core/ReplaceBinaryOperator_BitOr_',)
_SECONDS = 600  # a mutant that never ends is killed


class Mutant(NamedTuple):
  """One change: the module, its group, cosmic-ray's operator, and which of its places."""

  group: str
  module: str
  operator: str
  occurrence: int
  place: tuple[int, int]


def mutants(group: str) -> list[Mutant]:
  """All possible mutants of a group's modules, in a fixed order."""
  found = []
  for item in _all_work_items([ROOT / 'm3net_jax' / module for module in GROUPS[group][0]], {}):
    (change,) = item.mutations
    if not change.operator_name.startswith(_LEFT_OUT):
      module = str(Path(change.module_path).relative_to(ROOT))
      found.append(Mutant(group, module, change.operator_name, change.occurrence, change.start_pos))
  return found


def sample(count: int, seed: int) -> list[Mutant]:
  """The same number of mutants of every group, each at another place of the code.

  An operator such as `+` has ten mutants and a number has two, so places are drawn first.
  """
  random_of = random.Random(seed)
  drawn = []
  for group in GROUPS:
    places: dict[tuple, list[Mutant]] = {}
    for mutant in mutants(group):
      family = mutant.operator.split('_')[0]
      places.setdefault((mutant.module, mutant.place, family), []).append(mutant)
    chosen = random_of.sample(sorted(places), min(count // len(GROUPS), len(places)))
    drawn += [random_of.choice(places[place]) for place in chosen]
  random_of.shuffle(drawn)
  return drawn


def killed(mutant: Mutant, copy: Path) -> bool:
  """Whether a test fails on the mutant, in a copy of the project."""
  path = copy / mutant.module
  original = path.read_text()
  path.write_text(mutate_code(original, get_operator(mutant.operator)(), mutant.occurrence))
  try:
    command = [sys.executable, '-m', 'pytest', '-x', '-n0', *GROUPS[mutant.group][1]]
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
  tried = sample(values.mutants, values.seed)
  total = sum(len(mutants(group)) for group in GROUPS)
  print(f'{len(tried)} of {total:,} mutants of {", ".join(GROUPS)}', flush=True)
  copies: SimpleQueue[Path] = SimpleQueue()
  with tempfile.TemporaryDirectory() as folder:
    first = _copy(Path(folder) / '0')
    copies.put(first)
    for process in range(1, values.processes):
      copies.put(Path(shutil.copytree(first, Path(folder) / str(process))))

    def attempt(mutant: Mutant) -> bool:
      copy = copies.get()
      try:
        return killed(mutant, copy)
      finally:
        copies.put(copy)

    survivors = []
    with ThreadPoolExecutor(values.processes) as pool:
      for count, (mutant, dead) in enumerate(zip(tried, pool.map(attempt, tried)), 1):
        if not dead:
          survivors.append(mutant)
        line = f'{count}/{len(tried)}  {"killed" if dead else "SURVIVED"}  {_name(mutant)}'
        print(line, flush=True)
  share = 1 - len(survivors) / len(tried)
  print(f'\nkilled {len(tried) - len(survivors)} of {len(tried)}: {share:.1%}; survivors:')
  for mutant in survivors:
    print(f'{_name(mutant)}\n{_change(mutant)}')


def _copy(folder: Path) -> Path:
  """A copy of the project's tracked files that passes the tests of all groups."""
  shutil.copytree(
    ROOT, folder, ignore=shutil.ignore_patterns('.git', '.venv', 'corpora', 'stores', 'studies')
  )
  tests = sorted({test for _, tests in GROUPS.values() for test in tests})
  subprocess.run([sys.executable, '-m', 'pytest', '-x', '-n0', *tests], cwd=folder, check=True)
  return folder


def _name(mutant: Mutant) -> str:
  return f'{mutant.module}:{mutant.place[0]}  {mutant.operator.removeprefix("core/")}'


def _change(mutant: Mutant) -> str:
  """The line before and after."""
  original = (ROOT / mutant.module).read_text()
  mutated = mutate_code(original, get_operator(mutant.operator)(), mutant.occurrence)
  pairs = zip(original.splitlines(), mutated.splitlines())
  before, after = next((old, new) for old, new in pairs if old != new)
  return f'  - {before.strip()}\n  + {after.strip()}'


if __name__ == '__main__':
  cli.run(main, define)
