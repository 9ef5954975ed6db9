"""How every command of the project meets its user: flags, errors, Ctrl-C.

A user's mistake is one line on standard error and exit status 2; nothing of
this module knows what a command does.
"""
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from absl import app, flags, logging

from data_prep.errors import UserError

_INTERRUPTED = 'error: interrupted; the same command continues from what is already written\n', 130
_GRACE_SECONDS = 5.0


def _parse(argv: list[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    _fail(f'{" ".join(str(error).split()).removeprefix("ERROR:: ")} (--help lists the flags)', 2)
  return rest


def _fail(message: str, status: int) -> None:
  sys.stderr.write(f'error: {message}\n')
  sys.stderr.flush()
  sys.exit(status)


def _leave(message: str, status: int) -> None:
  """Ends the process at once: its libraries' threads, left in the middle of their work, have nothing to add."""
  sys.stderr.write(message)
  sys.stderr.flush()
  os._exit(status)


def _interrupt(signum: int, frame: FrameType | None) -> None:
  """Ctrl-C: as Python does it, and surely, for a library whose callback is running swallows the exception."""
  grace = threading.Timer(_GRACE_SECONDS, _leave, _INTERRUPTED)
  grace.daemon = True
  grace.start()
  raise KeyboardInterrupt


def run(main: Callable[[list[str]], int | None]) -> None:
  """Parses the flags, runs `main(arguments without the command's name)` and ends the process.

  Exit status: `main`'s own (None is 0), 2 for a user's mistake, 130 for Ctrl-C, 141 where the
  reader of standard output went away.
  """

  def guarded(argv: list[str]) -> int | None:
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.ERROR)  # libraries report their own doings as INFO
    try:
      status = main(argv[1:])
      sys.stdout.flush()
      return status
    except UserError as error:
      _fail(str(error), 2)
    except KeyboardInterrupt:
      _leave(*_INTERRUPTED)
    except BrokenPipeError:
      _leave('', 141)  # whoever read our output, `head` for example, has enough
    except OSError as error:
      _fail(f'{error.filename or "writing"}: {error.strerror or error}: mend the path, its permissions or the space '
            'that is left', 2)

  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as in `nohup`
    signal.signal(signal.SIGINT, _interrupt)
  try:
    app.run(guarded, flags_parser=_parse)
  except SystemExit as ended:
    # absl ends --help with 1, as if it were a mistake.
    asked = {argument.lstrip('-') for argument in sys.argv[1:]} & {'help', 'helpshort', 'helpfull', '?'}
    sys.exit(0 if asked and ended.code == 1 else ended.code)


def no_arguments(arguments: list[str]) -> None:
  """Raises `UserError` where a command that takes only flags was given something else."""
  if arguments:
    raise UserError(f'{arguments[0]!r} is not a flag: this command takes flags only, as --name=value '
                    '(--help lists them)')
