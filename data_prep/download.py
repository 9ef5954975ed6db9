"""Fetches the corpora that may be downloaded freely: resumed where it was cut, checked, unpacked safely.

An archive stays as .NAME.part beside the corpus until all of it is there and its
checksum is right; the corpus appears whole or not at all.
"""

import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pooch
import requests
from tqdm.auto import tqdm

from data_prep.errors import UserError

_ATTEMPTS = 4
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**14  # what a cut loses at most


class Archive(NamedTuple):
  """Where a corpus is and how it is known to be the right one.

  Attributes:
    url: of a .tar.gz or .zip.
    checksum: as pooch writes them, 'sha256:...' or 'md5:...'.
    folder: the folder in the archive that is the corpus; '' for all of it.
  """

  url: str
  checksum: str
  folder: str = ''


def fetch(archive: Archive, root: Path) -> None:
  """Makes the folder `root` of an archive.

  Raises:
    UserError: not found, cut off again and again, wrong checksum, an archive that reaches out of its folder.
  """
  root.parent.mkdir(parents=True, exist_ok=True)
  name = f'.{root.name}{"".join(Path(archive.url).suffixes[-2:])}'.lower()
  kept = root.parent / name
  print(f'{root}: downloading {archive.url}', file=sys.stderr, flush=True)
  try:
    pooch.get_logger().setLevel('ERROR')
    pooch.retrieve(
      archive.url, archive.checksum, fname=name, path=root.parent, downloader=_resume(root)
    )
  except requests.HTTPError as error:
    raise UserError(
      f'{archive.url}: the server says {error.response.status_code} {error.response.reason}: fetch the '
      f'corpus by hand and put it into {root}'
    ) from error
  except (requests.RequestException, OSError) as error:
    raise UserError(
      f'{archive.url}: cannot be fetched ({_short(error)}): run again to continue the download, or put '
      f'the corpus into {root} by hand'
    ) from error
  except ValueError as error:  # pooch, of the checksum
    raise UserError(
      f'{archive.url}: what came has another checksum than {archive.checksum}, and was thrown away: run '
      f'again, or put the corpus into {root} by hand'
    ) from error
  with tempfile.TemporaryDirectory(prefix=f'.{root.name}.', dir=root.parent) as name:
    folder = Path(name) / 'unpacked'
    folder.mkdir()
    unpack(kept, folder)
    if not (folder / archive.folder).is_dir():
      raise UserError(
        f'{archive.url}: has no folder {archive.folder}: put the corpus into {root} by hand'
      )
    os.rename(folder / archive.folder, root)
  kept.unlink()


def unpack(archive: Path, folder: Path) -> None:
  """Unpacks a tar or zip archive whose members are all plain files and folders below `folder`.

  Raises:
    UserError: a member's path leaves the folder, a member is a link or a device, or the archive is damaged.
  """
  try:
    if zipfile.is_zipfile(archive):
      with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
          _inside(archive, folder, member.filename)
          if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise UserError(f'{archive}: {member.filename} is a link: the archive is not unpacked')
        file.extractall(folder)
    else:
      with tarfile.open(archive) as file:
        for member in file:
          _inside(archive, folder, member.name)
          if not (member.isfile() or member.isdir()):
            raise UserError(
              f'{archive}: {member.name} is a link or a device: the archive is not unpacked'
            )
        # Python's own check besides; before 3.11.4 there is none, and those above stand alone.
        file.extraction_filter = getattr(tarfile, 'data_filter', None)
        file.extractall(folder)
  except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
    raise UserError(
      f'{archive}: cannot be unpacked ({_short(error)}): delete it and run again'
    ) from error


def _inside(archive: Path, folder: Path, name: str) -> None:
  base = os.path.realpath(folder)
  if os.path.commonpath(
    [base, os.path.realpath(os.path.join(base, name))]
  ) != base or os.path.isabs(name):
    raise UserError(
      f'{archive}: {name} would be written outside of its folder: the archive is not unpacked'
    )


def _resume(root: Path) -> Any:
  """A downloader for pooch that keeps what has come in a .part file, and asks for the rest."""
  part = root.parent / f'.{root.name}.part'

  def download(url: str, output: str, _: Any) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
      try:
        _continue(url, part)
        break
      except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        if attempt == _ATTEMPTS:
          raise
    os.replace(part, output)

  return download


def _continue(url: str, part: Path) -> None:
  have = part.stat().st_size if part.exists() else 0
  headers = {'Accept-Encoding': 'identity', **({'Range': f'bytes={have}-'} if have else {})}
  with requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as answer:
    if answer.status_code == 416:  # nothing is left to ask for
      return
    answer.raise_for_status()
    if answer.status_code != 206:
      have = 0  # the server sends all of it whatever was asked for
    total = have + int(answer.headers.get('Content-Length', 0))
    bar = tqdm(
      desc=part.name.strip('.').removesuffix('.part'),
      total=total or None,
      initial=have,
      unit='B',
      unit_scale=True,
      dynamic_ncols=True,
      disable=None,
    )
    with open(part, 'ab' if have else 'wb') as file, bar:
      for chunk in answer.iter_content(_CHUNK):
        file.write(chunk)
        bar.update(len(chunk))


def _short(error: Exception) -> str:
  return ' '.join(str(error).split())[:200] or type(error).__name__
