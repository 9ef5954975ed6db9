"""The merge command, and the launch files that train the seeds as jobs of a cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from absl import flags

from data_prep.errors import UserError
from m3net_jax import main, merge
from m3net_jax.study import workdir
from tests import command

ROOT = Path(__file__).parents[2]
SLURM, KUBERNETES = ROOT / 'launch/slurm_scv2.sh', ROOT / 'launch/kubernetes_scv2.yaml'
TINY = """
--corpus=folder
--sample_rate=8000
--clip_seconds=0.25
--n_fft=256
--hop_length=128
--n_mels=16
--input_shape=16,16,1
--variants=no_ma
--num_seeds=14
--num_epochs=2
--batch_size=12
"""
# In place of a command's Python: prints its arguments, one a line.
SHOWS = '#!/bin/sh\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def showing(tmp_path):
  """A folder with a `python` and an `srun` that print their arguments."""
  for name in ('python', 'srun'):
    (tmp_path / 'bin' / name).parent.mkdir(exist_ok=True)
    (tmp_path / 'bin' / name).write_text(SHOWS)
    (tmp_path / 'bin' / name).chmod(0o755)
  return tmp_path / 'bin'


def bash(*arguments, folder, **variables):
  path = f'{variables.pop("PATH", Path(sys.executable).parent)}:{os.environ["PATH"]}'
  return subprocess.run(
    ['bash', *map(str, arguments)],
    cwd=folder,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'PATH': path, **variables},
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )


def settings(lines):
  """The settings of `python -m m3net_jax.main ...`, shown one argument a line, and its workdir."""
  name, *arguments = lines[lines.index('-m') + 1 :]
  assert name == 'm3net_jax.main'
  values = flags.FlagValues()
  main.define(values)
  values(['main', *arguments])
  return main.config_from(values), values.workdir


def test_a_mistake_names_what_to_give(tmp_path):
  with pytest.raises(flags.IllegalFlagValueError, match='--workdir'):
    command.call(merge, 'a', 'b')
  with pytest.raises(
    UserError, match='^no study: a merge needs two studies or more: python -m m3n'
  ):
    command.call(merge, f'--workdir={tmp_path}/out')
  with pytest.raises(UserError, match='^a: holds no study .no config.json.: give the --workdir of'):
    command.call(merge, 'a', 'b', f'--workdir={tmp_path}/out')


def test_the_jobs_of_the_slurm_script_become_one_study(tones_dir, tmp_path, capsys):
  """For real: an array of two jobs of two seeds and one, the second begun twice, and the merge."""
  (tmp_path / 'tiny.flags').write_text(TINY)
  variables = {
    'PYTHON': sys.executable,
    'FLAGS': 'tiny.flags',
    'SEEDS': '3',
    'STUDY': 'studies/tiny',
  }
  job = lambda index, *action: bash(
    SLURM, *action, folder=tmp_path, SLURM_ARRAY_TASK_ID=str(index), **variables
  )
  raw_dir = f'--raw_dir={tones_dir}'
  first = job(0, 'train', raw_dir)
  assert first.returncode == 0, first.stderr
  early = job(0, 'merge')
  assert early.returncode == 2 and early.stderr.count('\n') == 1
  assert early.stderr.startswith('error: studies/tiny_seeds_2: holds no study')
  second = job(1, 'train', raw_dir)
  assert second.returncode == 0, second.stderr
  merged = job(0, 'merge')
  assert merged.returncode == 0, merged.stderr
  assert '3 lanes' in merged.stdout and merged.stdout.endswith('wrote studies/tiny\n')
  study = workdir.read(tmp_path / 'studies/tiny')
  assert study.finished and study.seed_ranges == [range(2), range(2, 3)]
  assert (study.path / 'report.html').exists()
  assert sorted(path.name for path in (tmp_path / 'studies').iterdir() if path.name[0] != '.') == [
    'tiny',
    'tiny_seeds_0',
    'tiny_seeds_2',
  ]
  none = job(2, 'train', raw_dir)
  assert none.returncode == 0 and 'array task 2: no seed is left of SEEDS=3' in none.stdout


def test_the_array_of_the_slurm_script_has_the_seeds_of_its_flagfile(showing):
  (last,) = re.findall(r'^#SBATCH --array=0-(\d+)$', SLURM.read_text(), re.MULTILINE)
  run = lambda *arguments, index='0': bash(
    SLURM, *arguments, folder=ROOT, PYTHON=f'{showing}/python', SLURM_ARRAY_TASK_ID=index
  ).stdout.splitlines()
  jobs = [settings(run(index=str(index))) for index in range(int(last) + 1)]
  whole, _ = settings(['-m', 'm3net_jax.main', f'--flagfile={ROOT}/launch/scv2.flags'])
  assert [seed for config, _ in jobs for seed in config.seeds] == list(whole.seeds)
  module, *merged = run('merge')[1:]
  assert module == 'm3net_jax.merge'
  assert merged == [*(path for _, path in jobs), '--workdir=studies/scv2']
  assert run('plan', '--raw_dir=a b')[-2:] == ['--raw_dir=a b', '--plan']
  wrong = bash(SLURM, 'trian', folder=ROOT)
  assert wrong.returncode == 2 and wrong.stderr == (
    'error: trian: give plan, train, merge or hosts\n'
  )
  hosts = bash(SLURM, 'hosts', '--raw_dir=x', folder=ROOT, PATH=showing).stdout.splitlines()
  assert hosts[0] == '.venv/bin/python' and hosts[-2:] == ['--distributed', '--raw_dir=x']
  config, path = settings([line for line in hosts if line != '--distributed'])
  assert config.seeds == whole.seeds and path == 'studies/scv2'


def test_the_pods_of_the_kubernetes_job_have_the_seeds_of_its_flagfile(showing):
  train, join = yaml.safe_load_all(KUBERNETES.read_text())
  assert (train['kind'], train['spec']['completionMode']) == ('Job', 'Indexed')
  assert train['spec']['parallelism'] == train['spec']['completions']

  def shown(job, **variables):
    """What the container of a Job runs."""
    (container,) = job['spec']['template']['spec']['containers']
    given = {entry['name']: entry['value'] for entry in container['env']}
    ended = bash(
      *container['command'][1:],
      *container['args'],
      folder=ROOT,
      PATH=showing,
      **given,
      **variables,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()

  pods = [
    settings(shown(train, JOB_COMPLETION_INDEX=str(index)))
    for index in range(train['spec']['completions'])
  ]
  whole, _ = settings(['-m', 'm3net_jax.main', f'--flagfile={ROOT}/launch/scv2.flags'])
  assert [seed for config, _ in pods for seed in config.seeds] == list(whole.seeds)
  paths = [path for _, path in pods]
  assert shown(join) == ['-m', 'm3net_jax.merge', *paths, '--workdir=/data/studies/scv2']
