"""Starts worker processes.

loky starts them without the threads and the main module of this process. They end when they are
idle, and when this process ends in any way.
"""

import os
import threading
import time

import joblib

from data_prep.errors import UserError

_IDLE = 5  # seconds after which an idle worker ends


def num_cores() -> int:
  """Number of cores that this process may use by its affinity and a container's CPU quota.

  Raises:
    UserError: the user's variable that limits it is not a number.
  """
  try:
    return joblib.cpu_count()
  except ValueError as error:
    raise UserError(
      f'LOKY_MAX_CPU_COUNT={os.environ.get("LOKY_MAX_CPU_COUNT")}: unset the variable, or give a '
      'number of cores'
    ) from error


def parallel(num_processes: int) -> joblib.Parallel:
  """Runs `joblib.delayed` calls in processes; yields results in the order of completion."""
  num_cores()  # raises the error of a wrong variable, which joblib reads too
  return joblib.Parallel(
    num_processes,
    backend='loky',
    return_as='generator_unordered',
    idle_worker_timeout=_IDLE,
    initializer=_end_with,
    initargs=(os.getpid(),),
  )


def _end_with(parent: int) -> None:
  """Ends this process soon after the parent process, given by its id, has ended.

  Otherwise a worker of a killed command would wait forever for its results to be read and keep the
  command's output open, so that a reader of the output would wait too.
  """

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(0.5)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
