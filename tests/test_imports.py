"""Imports go one way (setup.cfg, [importlinter]), and importing the package is quick."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder):
  command = [
    sys.executable,
    '-c',
    'from importlinter.cli import lint_imports_command as main; main()',
  ]
  return subprocess.run(
    [*command, '--no-cache'], cwd=folder, capture_output=True, text=True, check=False
  )


def test_imports_go_one_way():
  ended = lint(ROOT)
  assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
  'module, line, contract',
  [
    ('m3net_jax/network/ops.py', 'from m3net_jax.study import lanes', 'commands, api, deploy'),
    (
      'm3net_jax/study/results.py',
      'from m3net_jax.reporting import tables',
      'commands, api, deploy',
    ),
    ('m3net_jax/deploy/parity.py', 'from m3net_jax.reporting import tables', 'deploy writes'),
    ('m3net_jax/stats/power.py', 'from data_prep import files', 'stats imports nothing'),
    ('data_prep/store.py', 'import m3net_jax.network.image', 'data_prep knows nothing'),
    ('m3net_jax/study/config.py', 'from absl import flags', 'flags are defined'),
  ],
)
def test_an_arrow_turned_round_is_noticed(tmp_path, module, line, contract):
  for name in ('m3net_jax', 'data_prep'):
    shutil.copytree(ROOT / name, tmp_path / name)
  shutil.copy(ROOT / 'setup.cfg', tmp_path)
  with open(tmp_path / module, 'a') as file:
    file.write(f'\n{line}\n')
  ended = lint(tmp_path)
  assert ended.returncode == 1
  broken = [row for row in ended.stdout.splitlines() if row.endswith('BROKEN')]
  assert any(row.startswith(contract) for row in broken), ended.stdout


def test_importing_the_package_imports_nothing_slow():
  code = 'import sys, m3net_jax; print([name for name in ("jax", "numpy") if name in sys.modules])'
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert ended.stdout.strip() == '[]'


@pytest.mark.parametrize(
  'command', ['main', 'merge', 'report', 'export', 'predict', 'demo', 'edge']
)
def test_help_of_a_command_imports_no_jax(command):
  code = (
    'import atexit, sys\n'
    'atexit.register(lambda: print("jax" in sys.modules, file=sys.stderr))\n'
    'import runpy\n'
    f'sys.argv = ["m3net_jax.{command}", "--help"]\n'
    f'runpy.run_module("m3net_jax.{command}", run_name="__main__")'
  )
  ended = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0 and ended.stderr.strip() == 'False', ended.stderr
