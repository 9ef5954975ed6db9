"""Downloads archives, such as the corpora that are free: resumes, checks and unpacks them safely.

An incomplete archive stays as .NAME.part beside its folder until its checksum is right; the folder
appears complete or not at all.
"""

import hashlib
import lzma
import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm.auto import tqdm

from data_prep import files
from data_prep.errors import UserError

_ATTEMPTS = 4
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**14  # bytes; an interruption loses no more
_MOST_TIMES = 20  # bytes unpacked per byte of the archive; recordings have 1 to 3
_SMALL = 2 * 10**7  # bytes that any archive may have unpacked
_BLOCK = 4096  # bytes of the disk that a member takes at least
# What tarfile and zipfile raise for damaged, encrypted and unknown content.
_DAMAGED = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  OSError,
  RuntimeError,
  ValueError,
)


class Archive(NamedTuple):
  """An archive that becomes a folder.

  Attributes:
    url: of a .tar.gz or .zip file.
    checksum: 'sha256:...' or 'md5:...'.
    folder: the folder in the archive that is wanted; '' for the complete archive.
  """

  url: str
  checksum: str
  folder: str = ''


def fetch(archive: Archive, root: Path) -> None:
  """Downloads an archive and unpacks it as the folder `root`.

  Raises:
    UserError: the archive is not found, the download is interrupted too often, or the archive has
      the wrong checksum or would write outside of its folder.
  """
  root.parent.mkdir(parents=True, exist_ok=True)
  part, unpacked = (root.with_name(f'.{root.name}.{state}') for state in ('part', 'unpacked'))
  by_hand = f'unpack it as {root} by hand'
  if not _is(archive, part):
    print(f'{root}: downloading {archive.url}', file=sys.stderr, flush=True)
    try:
      _download(archive.url, part)
    except requests.HTTPError as error:
      raise UserError(
        f'{archive.url}: the server says {error.response.status_code} {error.response.reason}: '
        f'fetch it by hand and unpack it as {root}'
      ) from error
    except (requests.RequestException, OSError) as error:
      fix = _fix(error, f'run again to continue the download, or {by_hand}')
      raise UserError(f'{archive.url}: cannot be fetched ({_short(error)}): {fix}') from error
    if not _is(archive, part):
      part.unlink()
      raise UserError(
        f'{archive.url}: the download does not have the checksum {archive.checksum} and was '
        f'deleted: run again, or {by_hand}'
      )
  shutil.rmtree(unpacked, ignore_errors=True)  # a command that was killed left it
  try:
    unpacked.mkdir()
    unpack(part, unpacked)
    if not (unpacked / archive.folder).is_dir():
      raise UserError(f'{archive.url}: has no folder {archive.folder}: {by_hand}')
    os.rename(unpacked / archive.folder, root)
  finally:
    shutil.rmtree(unpacked, ignore_errors=True)
  part.unlink()


def _is(archive: Archive, path: Path) -> bool:
  """Whether a file is there and is the archive."""
  algorithm, _, expected = archive.checksum.partition(':')
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, algorithm).hexdigest() == expected
  except FileNotFoundError:
    return False


def unpack(archive: Path, folder: Path) -> None:
  """Unpacks a tar or zip archive if all its members are plain files and folders below `folder`.

  Raises:
    UserError: a member's path leaves the folder, a member is a link or a device, the members are
      far larger than the archive or than the free space, or the archive is damaged.
  """
  try:
    if zipfile.is_zipfile(archive):
      with zipfile.ZipFile(archive) as file:
        _check(archive, folder, map(_of_zip, file.infolist()))
        file.extractall(folder)
    else:
      with tarfile.open(archive) as file:
        _check(archive, folder, map(_of_tar, file))
        while file.fileobj.read(2**20):  # gzip compares its checksum at the end
          pass
        # Python checks too; before 3.11.4 it does not, and only the checks above apply.
        file.extraction_filter = getattr(tarfile, 'data_filter', None)
        file.extractall(folder)
  except _DAMAGED as error:
    fix = _fix(error, 'delete it and run again')
    raise UserError(f'{archive}: cannot be unpacked ({_short(error)}): {fix}') from error


class _Member(NamedTuple):
  """`size` is in bytes; Python writes no more of a member than its size in the archive's index."""

  name: str
  size: int
  is_plain: bool


def _of_tar(member: tarfile.TarInfo) -> _Member:
  return _Member(member.name, member.size, member.isfile() or member.isdir())


def _of_zip(member: zipfile.ZipInfo) -> _Member:
  kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if a system without modes made the archive
  return _Member(member.filename, member.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR))


def _check(archive: Path, folder: Path, members: Iterable[_Member]) -> None:
  """Raises UserError if a member must not be unpacked, or if all members are too large."""
  base = os.path.realpath(folder)
  most = max(_SMALL, _MOST_TIMES * archive.stat().st_size)
  free = shutil.disk_usage(folder).free
  size = 0
  for member in members:
    name = ascii(member.name)[1:-1]
    target = os.path.normpath(os.path.join(base, member.name))  # there are no links
    if os.path.isabs(member.name) or os.path.commonpath([base, target]) != base:
      raise UserError(
        f'{archive}: {name} would be written outside of its folder: the archive is not unpacked'
      )
    if not member.is_plain:
      raise UserError(f'{archive}: {name} is a link or a device: the archive is not unpacked')
    size += member.size + _BLOCK
    if size > most:
      raise UserError(
        f'{archive}: its members have more than {most:,} bytes, which is too much for an '
        f'archive of {archive.stat().st_size:,}: the archive is not unpacked'
      )
  if size > free:
    raise _no_space(archive.parent, size, free)


def _no_space(path: Path, size: int, free: int) -> UserError:
  return UserError(
    f'{path}: needs {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: free some space and run '
    'again'
  )


def _download(url: str, part: Path) -> None:
  """Downloads into `part`; what an interruption leaves there is not requested again."""
  for attempt in range(1, _ATTEMPTS + 1):
    try:
      _continue(url, part)
      break
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
      if attempt == _ATTEMPTS:
        raise


def _continue(url: str, part: Path) -> None:
  """Requests the bytes of `url` that `part` lacks and appends them."""
  size = part.stat().st_size if part.exists() else 0
  headers = {'Accept-Encoding': 'identity', **({'Range': f'bytes={size}-'} if size else {})}
  with requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as answer:
    if answer.status_code == 416:  # `part` has all bytes
      return
    answer.raise_for_status()
    if answer.status_code != 206:
      size = 0  # the server ignores ranges and sends all bytes
    missing = int(answer.headers.get('Content-Length', 0))
    total, free = size + missing, shutil.disk_usage(part.parent).free
    if missing > free:
      raise _no_space(part.parent, missing, free)
    bar = tqdm(
      desc=part.name.strip('.').removesuffix('.part'),
      total=total or None,
      initial=size,
      unit='B',
      unit_scale=True,
      dynamic_ncols=True,
      disable=None,
    )
    with open(part, 'ab' if size else 'wb') as file, bar:
      for chunk in answer.iter_content(_CHUNK):
        file.write(chunk)
        bar.update(len(chunk))


def _fix(error: Exception, otherwise: str) -> str:
  full = getattr(error, 'errno', None) in files.FULL
  return 'free some space and run again' if full else otherwise


def _short(error: Exception) -> str:
  return files.one_line(error)[:200] or type(error).__name__
