"""What the commands of the project share: flags, errors, Ctrl-C.

A user's mistake is one line on standard error and exit status 2.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from absl import app, flags, logging

from data_prep.errors import UserError

_INTERRUPTED = 'error: interrupted; run the same command again to continue\n', 130
_GRACE_SECONDS = 5.0


def run(
  main: Callable[[list[str], flags.FlagValues], int | None],
  define: Callable[[flags.FlagValues], None] = lambda values: None,
) -> None:
  """Defines and parses the flags, runs `main(arguments, flag values)` and ends the process.

  Flags are defined here and not on import, so that two commands can be imported together.

  The exit status is that of `main` (None is 0), 2 for a user's mistake, 130 for Ctrl-C, 141 if the
  reader of standard output has closed it.
  """

  def guarded(argv: list[str]) -> int | None:
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.ERROR)  # libraries report their own work as INFO
    try:
      status = main(argv[1:], flags.FLAGS)
      sys.stdout.flush()
      return status
    except UserError as error:
      _fail(str(error), 2)
    except KeyboardInterrupt:
      _leave(*_INTERRUPTED)
    except BrokenPipeError:
      _leave('', 141)  # the reader of the output, `head` for example, closed it
    except OSError as error:
      _fail(
        f'{error.filename or "writing"}: {error.strerror or error}: '
        'check the path, its permissions and the free space',
        2,
      )

  define(flags.FLAGS)
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # `nohup` ignores the signal
    signal.signal(signal.SIGINT, _interrupt)
  try:
    app.run(guarded, flags_parser=_parse)
  except SystemExit as ended:
    # absl ends --help with status 1, as if it were a mistake.
    options = {argument.lstrip('-') for argument in sys.argv[1:]}
    help_shown = options & {'help', 'helpshort', 'helpfull', '?'}
    sys.exit(0 if help_shown and ended.code == 1 else ended.code)


def no_arguments(arguments: list[str]) -> None:
  """Checks that a command that takes only flags got nothing else.

  Raises:
    UserError: there is an argument.
  """
  if arguments:
    raise UserError(
      f'{arguments[0]!r} is not a flag: this command takes flags only, as --name=value '
      '(--help lists them)'
    )


def _parse(argv: list[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    reason = ' '.join(str(error).split()).removeprefix('ERROR:: ')
    _fail(f'{reason} (--help lists the flags)', 2)
  return rest


def _fail(message: str, status: int) -> None:
  sys.stderr.write(f'error: {message}\n')
  sys.stderr.flush()
  sys.exit(status)


def _leave(message: str, status: int) -> None:
  """Ends the process at once, so that interrupted threads of libraries print no tracebacks."""
  sys.stderr.write(message)
  sys.stderr.flush()
  os._exit(status)


def _interrupt(signum: int, frame: FrameType | None) -> None:
  """Raises KeyboardInterrupt, and ends the process later if a library swallows the exception."""
  grace = threading.Timer(_GRACE_SECONDS, _leave, _INTERRUPTED)
  grace.daemon = True
  grace.start()
  raise KeyboardInterrupt
