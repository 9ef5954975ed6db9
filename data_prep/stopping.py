"""Ctrl-C and SIGTERM: a command ends at once, or first saves what it has.

Python handles a signal between two of its own steps, so a long call of a library delays that. A
thread therefore watches the signals of a command: it ends the process at the second one, or if the
first one is not answered.
"""

import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 5.0
NOTICE_SECONDS = 2.0
raised: list[int] = []  # the signals that were raised as `Stopped`
# Holds something if libraries must not clean up at the end of the process: they would wait for
# another process that has ended.
without_cleaning: list[str] = []
_saving_first: list['Deferred'] = []


class Deferred:
  """Lets a signal wait until work is saved; a context manager.

  From `begin` on, the first Ctrl-C or SIGTERM is only noted in `asked`. `act` does what it would
  have done. A second one acts at once. Signals that are ignored stay ignored.
  """

  def __init__(self) -> None:
    self.asked: int | None = None
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'Deferred':
    return self

  def __exit__(self, *_: object) -> None:
    self._restore()
    if self in _saving_first:
      _saving_first.remove(self)

  def begin(self) -> None:
    """Defers signals from now on; does nothing if it does already, or in another thread."""
    if self in _saving_first or threading.current_thread() is not threading.main_thread():
      return
    _saving_first.append(self)
    for number in SIGNALS:
      if signal.getsignal(number) not in (signal.SIG_IGN, None):
        self._before[number] = signal.signal(number, self._note)

  def act(self) -> None:
    """Acts on the signal that was noted, or that another process of the study was given."""
    self._restore()
    number = self.asked or signal.SIGTERM
    handler = signal.getsignal(number)
    if callable(handler):
      handler(number, None)
    else:
      signal.raise_signal(number)

  def _note(self, number: int, frame: FrameType | None) -> None:
    self.asked = number
    self._restore()

  def _restore(self) -> None:
    while self._before:
      signal.signal(*self._before.popitem())


def handle() -> None:
  """Makes Ctrl-C and SIGTERM raise `Stopped` in a command, or end it if that is not answered.

  A signal that is ignored, as Ctrl-C under `nohup`, stays ignored.
  """
  for number in SIGNALS:
    if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
      signal.signal(number, _raise)
  receiver, sender = socket.socketpair()
  sender.setblocking(False)
  signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(receiver, sender), daemon=True).start()
  os.register_at_fork(after_in_child=_forget)


class Stopped(KeyboardInterrupt):
  """Raised by a signal in a command; `number` is the signal's."""

  def __init__(self, number: int):
    super().__init__()
    self.number = number


def leave(number: int) -> None:
  """Ends the process at once, so that interrupted threads of libraries print no tracebacks."""
  word = 'terminated' if number == signal.SIGTERM else 'interrupted'
  end(f'error: {word}; run the same command again to continue\n', 128 + number)


def end(message: str, status: int, stream: TextIO | None = None) -> None:
  """Writes to `stream` (default: standard error) and ends the process, whatever its threads do."""
  stream = stream or sys.stderr
  try:
    stream.write(message)
    stream.flush()
  finally:
    os._exit(status)


def _forget() -> None:
  """In a forked process: its signals are not those of the command."""
  signal.set_wakeup_fd(-1)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
  raised.append(number)
  raise Stopped(number)


def _watch(receiver: socket.socket, sender: socket.socket) -> None:
  """Ends the process at the second signal.

  Args:
    sender: is kept from being closed.
  """
  first = None
  while True:
    for number in receiver.recv(1):
      if number not in SIGNALS or signal.getsignal(number) == signal.SIG_IGN:
        continue
      if first is not None:
        leave(number)
      first = number
      if _saving_first:
        timer = threading.Timer(NOTICE_SECONDS, _notice)
      else:
        timer = threading.Timer(GRACE_SECONDS, leave, [number])
      timer.daemon = True
      timer.start()


def _notice() -> None:
  sys.stderr.write('stopping: saving after the steps that are being computed\n')
  sys.stderr.flush()
