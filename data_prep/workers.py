"""Processes that share work out, one definition for all that needs them.

loky starts them afresh, without the threads of this process and without its main module. They end when idle, and with
this command, however it ends: none stays while it trains.
"""

import os
import threading
import time

import joblib

_IDLE = 5  # seconds after which a worker without work ends


def num_cores() -> int:
  """Cores that this process may use: its affinity and a container's CPU quota are respected."""
  return joblib.cpu_count()


def parallel(num_processes: int) -> joblib.Parallel:
  """Runs `joblib.delayed` calls in so many processes; results come in the order in which they are finished."""
  return joblib.Parallel(
    num_processes,
    backend='loky',
    return_as='generator_unordered',
    idle_worker_timeout=_IDLE,
    initializer=_end_with,
    initargs=(os.getpid(),),
  )


def _end_with(parent: int) -> None:
  """Ends this process soon after its parent, of that id, has gone.

  A worker of a killed command would else wait for ever for someone to read its results, and hold the output that it
  has of the command, so that whoever reads that waits too.
  """

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(0.5)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
