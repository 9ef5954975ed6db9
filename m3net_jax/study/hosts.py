"""Several processes that train one study together, each on the devices of its host.

They are joined by JAX's own runtime. All run the same command and know the same about the study;
only the first one writes its files, and prints. A process that ends before the study does takes the
others with it, at most `LOST_SECONDS` later, and each says so in one line.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep import stopping
from data_prep.errors import UserError
from data_prep.files import one_line

LOST_SECONDS = 30.0  # without a sign of life, a host counts as lost
_BEAT_SECONDS = 2.0
_NOTICE_SECONDS = 5.0  # in which the end of a connection is noticed
_JOIN_SECONDS = 300
_ALIVE = b'.'
_watching: list['_Watch'] = []


def several() -> bool:
  """Whether other processes train with this one; does not import JAX or make its devices."""
  jax = sys.modules.get('jax')
  return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
  """Whether this process is the one that writes and prints; true if it is alone."""
  return not several() or sys.modules['jax'].process_index() == 0


def any_of(flag: bool) -> bool:
  """Whether a flag is set on any host; the same answer on all of them."""
  if not several():
    return flag
  return bool(_multihost().process_allgather(flag).any())


def of_first(number: int) -> int:
  """The number of the first host, on all of them."""
  return int(_multihost().broadcast_one_to_all(number)) if several() else number


def wait() -> None:
  """Waits until all hosts are here."""
  if several():
    _multihost().sync_global_devices('m3net_jax')


@contextlib.contextmanager
def first_goes() -> Iterator[None]:
  """The first host runs the block before the others do; all leave it together."""
  if not first():
    wait()
  yield
  if first():
    wait()
  wait()


def leave_together() -> None:
  """Lets all hosts end from here on, without a line about each other."""
  for watch in _watching:
    watch.closing.set()
  wait()


@contextlib.contextmanager
def joined(
  cache_dir: Path,
  coordinator: str | None = None,
  num_hosts: int | None = None,
  host: int | None = None,
) -> Iterator[None]:
  """Joins the processes of a study; before JAX computes anything. Only the first one prints.

  Args:
    cache_dir: for compiled programs (`devices.use_all_cores`).
    coordinator: address:port of the first process. If it is None, as the next two, SLURM, Open MPI
      or Kubernetes say it.
    num_hosts: number of processes.
    host: position of this one, from 0.

  Raises:
    UserError: they cannot be joined.
  """
  import jax

  from m3net_jax.study import devices

  devices.use_all_cores(cache_dir)
  _keep_libraries_quiet()
  # Without it, the runtime ends this process with a page of its own when another one ends.
  jax.config.update('jax_enable_recoverability', True)
  jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM away
  try:
    jax.distributed.initialize(coordinator, num_hosts, host, initialization_timeout=_JOIN_SECONDS)
    if several():
      _watching.append(_watch())
  except (ValueError, RuntimeError, OSError) as error:
    raise UserError(
      f'--distributed: cannot join the other processes ({one_line(error)}): give '
      '--coordinator=ADDRESS:PORT of the first one and --num_hosts, the same for all, and --host'
    ) from error
  stopping.without_cleaning.append('hosts')  # until all have finished
  with contextlib.ExitStack() as stack:
    stack.callback(_watching.clear)
    for watch in _watching:
      stack.push(watch.close)
    if not first():
      nowhere = stack.enter_context(open(os.devnull, 'w'))
      stack.enter_context(contextlib.redirect_stdout(nowhere))
      stack.enter_context(contextlib.redirect_stderr(nowhere))
    try:
      yield
    except jax.errors.JaxRuntimeError:
      # The runtime may have noticed first that a host has left: the thread that watches ends this
      # process with its line.
      time.sleep(_NOTICE_SECONDS)
      raise
    leave_together()
    # The first one has the service that the others take leave of.
    for watch in _watching if first() else ():
      watch.wait_for_others()
    jax.distributed.shutdown()
  stopping.without_cleaning.clear()


def _keep_libraries_quiet() -> None:
  """Lets only Python print: the runtime of JAX has pages to say when another host has left."""
  for name, number in (('stdout', 1), ('stderr', 2)):
    stream = getattr(sys, name)
    try:
      if stream.fileno() != number:
        continue
    except OSError:  # not a file, as in a notebook
      continue
    stream.flush()
    own = open(os.dup(number), 'w', encoding=stream.encoding, errors=stream.errors, buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    setattr(sys, name, own)


def _multihost() -> Any:
  from jax.experimental import multihost_utils

  return multihost_utils


class _Watch:
  """The connections of the first host with each other one, over which signs of life are sent.

  Args:
    peers: by position of the host.

  Attributes:
    closing: set when others may leave.
  """

  def __init__(self, peers: dict[int, socket.socket]):
    self._peers, self._stderr, self.closing = peers, sys.stderr, threading.Event()
    self._listeners = [
      threading.Thread(target=self._listen, args=each, daemon=True) for each in peers.items()
    ]
    for connection in peers.values():
      connection.settimeout(LOST_SECONDS)
    for listener in self._listeners:
      listener.start()
    threading.Thread(target=self._beat, daemon=True).start()

  def _beat(self) -> None:
    while not self.closing.wait(_BEAT_SECONDS):
      for connection in self._peers.values():
        with contextlib.suppress(OSError):  # the thread that listens to it says so
          connection.sendall(_ALIVE)

  def _listen(self, host: int, connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # no sign of life, or the connection was reset
      while connection.recv(64):
        pass
    if not self.closing.is_set():
      # The main thread waits for the host that has left.
      stopping.end(
        f'error: host {host} has left; run the same command again to continue, on as many hosts as '
        'there are\n',
        1,
        self._stderr,
      )

  def wait_for_others(self) -> None:
    """Waits until the others have ended their connections."""
    for listener in self._listeners:
      listener.join(LOST_SECONDS)

  def close(self, *_: object) -> None:
    """Ends the connections: if the study is not finished, all hosts end."""
    self.closing.set()
    for connection in self._peers.values():
      with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
      connection.close()


def _watch() -> _Watch:
  """Connects every host with the first one."""
  import jax
  from jax._src import distributed  # no other place has the address that JAX found itself

  server = socket.create_server(('', 0)) if first() else None
  port = of_first(server.getsockname()[1] if server else 0)
  peers = {}
  if server:
    server.settimeout(_JOIN_SECONDS)
    for _ in range(jax.process_count() - 1):
      connection, _ = server.accept()
      peers[int.from_bytes(connection.recv(4), 'big')] = connection
    server.close()
  else:
    address = distributed.global_state.coordinator_address.rpartition(':')[0].strip('[]')
    connection = socket.create_connection((address, port), timeout=_JOIN_SECONDS)
    connection.sendall(jax.process_index().to_bytes(4, 'big'))
    peers[0] = connection
  return _Watch(peers)
