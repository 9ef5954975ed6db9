"""Writes files and folders completely or not at all, with checksums that reading compares."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import surroundings
from data_prep.errors import UserError
from data_prep.names import visible

if TYPE_CHECKING:
  import filelock
  from matplotlib.figure import Figure

_HASH = 'sha256'
_CHECKSUM = ', "crc32": "'
FIGURES = ('.png', '.svg', '.pdf')  # suffixes of pictures
UNSIGNED = 'has no checksum: it was altered, or another version of this program wrote it'


# What the system says if a disk is full or must not be written to.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT_WRITE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yields a temporary path in the same folder and renames it to `path` if the block succeeds.

  Raises:
    OSError: the file cannot be written; its `filename` is `path`.
  """
  temporary = _new(path)
  with naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      yield temporary
      with open(temporary, 'rb') as file:
        os.fsync(file.fileno())
      os.replace(temporary, path)
    finally:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
  """Gives the OSErrors of a block that name no file, or the temporary one of `path`, its name.

  A full disk is met where a file is written or closed, and that error names no file. Libraries
  raise it as errors of their own that contain the text of the system.
  """
  try:
    yield
  except OSError as error:
    if error.filename is None or str(error.filename).startswith(str(_new(path))):
      # numpy.ndarray.tofile keeps no number: '245 requested and 120 written'.
      number = error.errno or (errno.ENOSPC if ' requested and ' in str(error) else errno.EIO)
      raise OSError(number, os.strerror(number), str(path)) from error
    raise
  except (ValueError, RuntimeError) as error:
    for number in _CANNOT_WRITE:
      if os.strerror(number) in str(error):
        raise OSError(number, os.strerror(number), str(path)) from error
    raise


def check_writable(folder: Path) -> None:
  """Raises OSError if nothing can be written into a folder."""
  if not surroundings.can_write(folder):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))


def _new(path: Path) -> Path:
  """The temporary path of a file or folder, in the same folder."""
  return path.with_name(f'.{path.name}.new')


def lock_beside(path: Path) -> Path:
  """The lock of a folder that is replaced as a whole: a hidden file beside it."""
  return path.with_name(f'.{path.name}.lock')


@contextlib.contextmanager
def locked(path: Path, lock: Path) -> Iterator[None]:
  """Holds the lock of a folder, so that two commands do not write to it at once.

  A command that waits says for which process. The lock ends with the process, in whatever way it
  ends. A thread may take a lock that it holds. No lock is needed where nothing can be written.

  Args:
    path: of the folder, for the message.
    lock: its lock file, which also says who holds it.
  """
  lock = Path(os.path.realpath(lock.parent), lock.name)
  held = _acquired(path, lock)
  # If a file system has no locks, filelock writes a record of its own, by which others know that
  # the process still runs.
  with contextlib.suppress(OSError):  # it is told, not needed
    if str(os.getpid()) not in re.findall(r'\d+', _text_of(lock)):
      lock.write_text(f'process {os.getpid()} on {socket.gethostname()}')
  try:
    yield
  finally:
    if held is not None:
      held.release()


def _acquired(path: Path, lock: Path) -> 'filelock.BaseFileLock | None':
  """Takes a lock; None if its folder cannot be written to."""
  import filelock  # needed here only, and most commands make nothing

  held = filelock.FileLock(lock, is_singleton=True)
  try:
    lock.parent.mkdir(parents=True, exist_ok=True)
    before = _text_of(lock)  # some versions of filelock empty the file when they try it
    try:
      held.acquire(blocking=False)
    except filelock.Timeout:
      owner = one_line(_text_of(lock) or before or 'another command')
      print(f'{path} is in use by {owner}; waiting until it ends', file=sys.stderr, flush=True)
      held.acquire()
  except OSError as error:
    if error.errno in (errno.EROFS, errno.EACCES) and not os.access(lock.parent, os.W_OK):
      return None
    raise
  return held


def _text_of(path: Path) -> str:
  try:
    return path.read_text(errors='replace').strip()
  except OSError:
    return ''


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
  """Yields a new folder that replaces `path` if the block succeeds and is deleted otherwise.

  If `path` is a link, the folder that it leads to is replaced.

  Raises:
    OSError: a file of it cannot be written; its `filename` is `path`.
  """
  path = Path(os.path.realpath(path))
  new, old = _new(path), path.with_name(f'.{path.name}.old')
  _tidy(path, new, old)
  try:
    with naming(path):
      new.mkdir(parents=True)
      yield new
      if path.exists():
        os.rename(path, old)
      os.rename(new, path)
  finally:
    _tidy(path, new, old)


def _tidy(path: Path, new: Path, old: Path) -> None:
  """Deletes what replacing a folder left; if it ended between its renames, `old` comes back."""
  if old.exists() and not path.exists():
    os.rename(old, path)
  for leftover in (new, old):
    shutil.rmtree(leftover, ignore_errors=True)


def write_figure(path: Path, figure: 'Figure', dpi: int = 120) -> None:
  """Saves a matplotlib figure in the format of the path's suffix.

  Characters missing from the font appear as boxes, bytes of a name that are not UTF-8 as escapes.
  """
  import matplotlib

  take_literally(figure)
  content = io.BytesIO()
  with warnings.catch_warnings(), matplotlib.rc_context({'text.usetex': False}):
    warnings.filterwarnings('ignore', message='Glyph')
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=dpi)
  write_bytes(path, content.getvalue())


def take_literally(figure: 'Figure') -> None:
  """Lets matplotlib draw names as they are: `$` starts no formula, and no TeX runs.

  Labels that matplotlib makes while it draws, such as powers of ten, stay formulas.
  """
  from matplotlib.text import Text

  for text in figure.findobj(Text):
    text.set_usetex(False)  # a user's matplotlibrc may ask for it
    content = text.get_text()
    if '$' in content and r'\mathdefault' not in content:
      text.set_parse_math(False)
    shown = '\n'.join(map(visible, content.split('\n')))
    if shown != content:
      text.set_text(shown)


def write_bytes(path: Path, content: bytes) -> None:
  """Writes bytes to a file, completely or not at all; makes its folder."""
  with replacing(path) as temporary:
    temporary.write_bytes(content)


def json_sha256(value: Any) -> str:
  """SHA-256, hexadecimal, of a JSON value; the order of keys does not matter."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
  """Writes a JSON file whose last entry, `sha256`, is the hash of the others (`json_sha256`).

  Raises ValueError for NaN and infinity.
  """
  write_bytes(path, json_bytes(content))


def json_bytes(content: dict[str, Any]) -> bytes:
  """The bytes of a file of `write_json`."""
  others = {name: value for name, value in content.items() if name != _HASH}
  as_read = json.loads(json.dumps(others, allow_nan=False))
  return f'{json.dumps(as_read | {_HASH: json_sha256(as_read)}, indent=1)}\n'.encode()


def read_json(path: Path, fix: str) -> dict[str, Any]:
  """The content of a file of `write_json`, without its hash.

  Args:
    fix: what the user can do if the file is damaged; the end of the message.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it cannot be read, or its hash is absent or not that of its content.
  """
  try:
    content = json.loads(path.read_bytes())
    sha256 = content.pop(_HASH, None)
  except (ValueError, AttributeError, TypeError, RecursionError) as error:
    raise UserError(f'{path}: cannot be read ({one_line(error)}): {fix}') from error
  if sha256 is None:
    raise UserError(f'{path}: {UNSIGNED}: {fix}')
  if sha256 != json_sha256(content):
    raise UserError(f'{path}: was altered (its SHA-256 is not the one in its last line): {fix}')
  return content


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes a JSON-lines file of `row_text`."""
  write_bytes(path, ''.join(map(row_text, rows)).encode())


def row_text(row: Mapping[str, Any]) -> str:
  """A line of a JSON-lines file, which ends in a checksum (`crc32`) of what is before it.

  Raises ValueError for NaN and infinity.
  """
  text = json.dumps(row, allow_nan=False)[:-1]
  return f'{text}{_CHECKSUM}{zlib.crc32(text.encode()):08x}"}}\n'


def read_rows(path: Path, fix: str) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file of `row_text`, without their checksums; none if it is absent.

  A last line without its end is left out: it is what a process leaves that is killed in writing.

  Args:
    fix: what the user can do if the file is damaged; the end of the message.

  Raises:
    UserError: a line was altered.
  """
  if not path.exists():
    return []
  rows = []
  for number, line in enumerate(path.read_bytes().split(b'\n')[:-1], 1):
    row = row_of(line)
    if row is None:
      raise UserError(f'{path}: line {number} was altered (its checksum is another one): {fix}')
    rows.append(row)
  return rows


def row_of(line: bytes) -> dict[str, Any] | None:
  """The row of a line of `row_text`, without its checksum; None if it was altered."""
  text, _, end = line.removesuffix(b'\n').partition(_CHECKSUM.encode())
  if end != b'%08x"}' % zlib.crc32(text):
    return None
  return json.loads(text + b'}')


def one_line(error: object) -> str:
  """The text of an error in one line."""
  return ' '.join(str(error).split())


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
  """Adds rows to a JSON-lines file of `row_text` and waits until they are on the disk.

  If the process is killed meanwhile, whole rows and a part of one may stay (`read_rows`).

  Raises:
    OSError: they cannot be written; its `filename` is `path`.
  """
  with naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'ab') as file:
      file.write(''.join(map(row_text, rows)).encode())
      file.flush()
      os.fsync(file.fileno())
