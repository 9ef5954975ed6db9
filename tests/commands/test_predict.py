"""The predict command: its output, standard input, and mistakes in one line."""

import csv
import io
import subprocess
import sys

import numpy as np


def run(*arguments, **options):
  return subprocess.run(
    [sys.executable, '-m', 'm3net_jax.predict', *map(str, arguments)],
    capture_output=True,
    timeout=300,
    check=False,
    **options,
  )


def test_the_command_on_a_folder_and_standard_input(trained, tones_dir):
  recording = (tones_dir / 'low' / '0.wav').read_bytes()
  told = run(
    '--model', trained.path, '--format=csv', '--top_k=2', tones_dir / 'low', '-', input=recording
  )
  assert told.returncode == 0, told.stderr.decode()
  rows = list(csv.DictReader(io.StringIO(told.stdout.decode())))
  assert len(rows) == 2 * 21 and [row['rank'] for row in rows[:2]] == ['1', '2']
  first = [row for row in rows if row['file'].endswith('low/0.wav')]
  piped = [row for row in rows if row['file'] == 'standard input']
  assert [row['probability'] for row in first] == [row['probability'] for row in piped]
  assert np.mean([row['class'] == 'low' for row in rows if row['rank'] == '1']) > 0.8


def test_mistakes_are_one_line_with_the_file_and_the_fix(trained, tones_dir, tmp_path):
  (tmp_path / 'text.wav').write_text('this is no recording')
  (tmp_path / 'empty').mkdir()
  cases = [
    ((tmp_path / 'text.wav',), 'text.wav: text, not a recording: give a recording'),
    ((tmp_path / 'empty',), 'holds no recordings'),
    ((tones_dir, '--plot=x.png'), '60 are given: give one'),
  ]
  command = [sys.executable, '-m', 'm3net_jax.predict', f'--model={trained.path}']
  started = [
    subprocess.Popen(
      [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for arguments, _ in cases
  ]
  for process, (_, message) in zip(started, cases):
    out, error = process.communicate(timeout=300)
    assert process.returncode == 2 and not out and message in error and error.count('\n') == 1, (
      error
    )
