"""A process is started anew for huge pages once, where they are to be had by asking, and as it was asked for."""
import os
import subprocess
import sys

import pytest

from m3net_jax import huge_pages


@pytest.mark.parametrize('environment, setting, wanted', [
    ({}, 'always [madvise] never', True),
    ({}, '[always] madvise never', False),
    ({}, 'always madvise [never]', False),
    ({'GLIBC_TUNABLES': 'glibc.malloc.arena_max=2'}, 'always [madvise] never', False),
    ({}, None, False),
])
def test_they_are_wanted_where_asking_gives_them(tmp_path, environment, setting, wanted):
  if setting is not None:
    (tmp_path / 'enabled').write_text(setting)
  assert huge_pages.wanted(environment, tmp_path / 'enabled') is wanted


def test_the_process_keeps_its_id_arguments_and_environment(tmp_path):
  (tmp_path / 'enabled').write_text('always [madvise] never')
  (tmp_path / 'program.py').write_text(
      'import os, pathlib, sys\n'
      'from m3net_jax import huge_pages\n'
      f'huge_pages._SETTING = pathlib.Path({str(tmp_path / "enabled")!r})\n'
      'print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), os.environ["KEPT"], sys.argv[1:], flush=True)\n'
      'huge_pages.use()\n')
  environment = {key: value for key, value in os.environ.items() if key != 'GLIBC_TUNABLES'}
  command = [sys.executable, '-m', 'program', '--flag=a b']
  ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60,
                       env={**environment, 'KEPT': 'yes', 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])})
  first, second = ran.stdout.splitlines()  # twice, and no more
  kept = "yes ['--flag=a b']"
  process = first.split()[0]
  assert first == f'{process} None {kept}' and second == f'{process} {huge_pages.TUNABLE} {kept}'
