"""Lines that C libraries write to standard error: each block gets its own, also in threads."""

import os
from concurrent.futures import ThreadPoolExecutor

from data_prep import stderr


def test_each_of_many_threads_gets_its_own_lines():

  def written(number):
    with stderr.captured() as lines:
      for _ in range(50):
        os.write(2, f'{number}\n'.encode())
    return lines

  with ThreadPoolExecutor(4) as pool:
    for number, lines in enumerate(pool.map(written, range(40))):
      assert lines == [f'{number}\n'] * 50


def test_the_terminal_gets_what_comes_after(capfd):
  with stderr.captured() as lines:
    os.write(2, b'inside\n')
  os.write(2, b'outside\n')
  assert lines == ['inside\n'] and capfd.readouterr().err == 'outside\n'
