"""Huge pages for a process's large arrays, where Linux gives them to who asks.

The maps of a step are hundreds of megabytes that every call of a program takes anew from the system, 4 KiB at a time:
at 256x256x3 a third of its time. glibc asks for pages of 2 MiB where its tunable says so, which it reads as a process
starts. So that imports nothing slow: it is called before they are made.
"""
import os
import sys
from pathlib import Path

TUNABLE = 'glibc.malloc.hugetlb=1'
_SETTING = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def use() -> None:
  """Starts the process anew, once, under the same id and with the same arguments, if huge pages are to be had by asking.

  Does nothing where GLIBC_TUNABLES is set (a user's own, or ours the second time), and where all processes have huge
  pages, or none.
  """
  if wanted(os.environ, _SETTING):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, 'GLIBC_TUNABLES': TUNABLE})


def wanted(environment: os._Environ | dict[str, str], setting: Path) -> bool:
  """Whether the process should be started anew; `setting` is the file in which Linux says who has huge pages."""
  try:
    return 'GLIBC_TUNABLES' not in environment and '[madvise]' in setting.read_text()
  except OSError:  # not Linux, or without huge pages
    return False
