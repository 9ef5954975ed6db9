"""What the commands of the project share: flags, errors, Ctrl-C and SIGTERM.

A user's mistake is one line on standard error and exit status 2.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable

from absl import app, flags, logging

from data_prep import files, stopping, surroundings
from data_prep.errors import UserError
from data_prep.names import visible

flags.disclaim_key_flags()  # a flag belongs to the command that calls `define_path`

_NO_MEMORY = 'out of memory: lower --batch_size, --lanes_at_once or --num_processes'


def run(
  main: Callable[[list[str], flags.FlagValues], int | None],
  define: Callable[[flags.FlagValues], None] = lambda values: None,
) -> None:
  """Defines and parses the flags, runs `main(arguments, flag values)` and ends the process.

  Flags are defined here and not on import, so that two commands can be imported together.

  The exit status is that of `main` (None is 0), 2 for a user's mistake, 130 for Ctrl-C, 143 for
  SIGTERM, 141 if the reader of standard output has closed it.
  """

  def guarded(argv: list[str]) -> int | None:
    if not flags.FLAGS['verbosity'].present:
      # Libraries report their work, and log the errors that they raise too.
      logging.set_verbosity(logging.FATAL)
    try:
      try:
        status = main(argv[1:], flags.FLAGS)
        sys.stdout.flush()
        return status
      except Exception:
        if stopping.raised:  # a library made another error of the signal
          stopping.leave(stopping.raised[0])
        raise
    except UserError as error:
      _fail(str(error), 2)
    except KeyboardInterrupt as stopped:
      stopping.leave(getattr(stopped, 'number', signal.SIGINT))
    except BrokenPipeError:
      stopping.end('', 141)  # the reader of the output, `head` for example, closed it
    except OSError as error:
      stopping.end(f'error: {visible(_os_error(error))}\n', 2)
    except MemoryError:
      _fail(_NO_MEMORY, 2)
    except (RuntimeError, AssertionError) as error:
      if str(error).startswith('RESOURCE_EXHAUSTED'):
        _fail(_NO_MEMORY, 2)
      platforms = os.environ.get('JAX_PLATFORMS')
      if platforms and _has_no_device():
        _fail(f'JAX_PLATFORMS={platforms}: JAX finds no such device here: unset the variable', 2)
      raise

  surroundings.settle()
  define(flags.FLAGS)
  stopping.handle()
  try:
    app.run(guarded, flags_parser=_parse)
  except SystemExit as ended:
    # absl ends --help with status 1, as if it were a mistake.
    if stopping.without_cleaning:
      stopping.end('', ended.code if isinstance(ended.code, int) else 1)
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


def define_path(
  name: str,
  default: str | None,
  help_text: str,
  values: flags.FlagValues,
  required: bool = False,
) -> None:
  """Defines the flag of a file or folder. `~` is the user's home; a shell leaves it after `=`."""
  flags.DEFINE(
    _PathParser(),
    name,
    default,
    help_text,
    values,
    serializer=flags.ArgumentSerializer(),
    required=required,
  )


def define_paths(name: str, help_text: str, values: flags.FlagValues) -> None:
  """Defines the flag of several files or folders, comma-separated; the default is none."""
  flags.DEFINE(_PathsParser(), name, [], help_text, values, serializer=flags.CsvListSerializer(','))


class _PathParser(flags.ArgumentParser[str]):
  def parse(self, argument: str) -> str:
    return os.path.expanduser(argument)


class _PathsParser(flags.ListParser):
  def parse(self, argument: str | list[str]) -> list[str]:
    return [os.path.expanduser(path) for path in super().parse(argument)]


def _os_error(error: OSError) -> str:
  """One line on a file that cannot be read or written."""
  fix = 'check the path, its permissions and the free space'
  if error.errno == errno.EFBIG:
    fix = 'raise the limit of the size of files (ulimit -f) and run the same command again'
  elif error.errno in files.FULL:
    fix = 'free some space and run the same command again'
  elif error.errno == errno.EROFS:
    fix = 'give a folder that can be written to'
  elif 'temporary directory' in str(error):
    fix = 'set TMPDIR to a folder that can be written to'
  return f'{error.filename or "output"}: {error.strerror or error}: {fix}'


def _has_no_device() -> bool:
  """Whether JAX, if this process uses it, finds no device of the requested kind."""
  try:
    return 'jax' in sys.modules and not sys.modules['jax'].devices()
  except (RuntimeError, AssertionError):
    return True


def _parse(argv: list[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    reason = files.one_line(error).removeprefix('ERROR:: ')
    _fail(f'{reason} (--help lists the flags)', 2)
  except UnicodeDecodeError as error:
    _fail(f'--flagfile: cannot be read ({error}): save it in {error.encoding}', 2)
  return rest


def _fail(message: str, status: int) -> None:
  try:
    sys.stderr.write(f'error: {visible(message)}\n')  # a file's name may contain a line break
    sys.stderr.flush()
  except OSError:  # nobody can read it
    stopping.end('', status)
  sys.exit(status)
