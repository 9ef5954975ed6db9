"""Names what a file is that is no recording, by its first bytes."""

import re
from typing import NamedTuple


class Kind(NamedTuple):
  """What a file is, and what the user can do, as an imperative clause."""

  name: str
  fix: str


_AGAIN = 'download it again'
_UNPACK = 'unpack it first'
_POINTER = 'get the recording itself, with "git lfs pull"'
_ANNEX = 'get the recording itself, with "git annex get"'
_OTHER = 'give a recording'
_CONTROL = re.compile(rb'[\x00-\x08\x0e-\x1f\x7f-\xff]')
_STARTS = (
  (b'version https://git-lfs', Kind('a git-lfs pointer', _POINTER)),
  (b'/annex/objects/', Kind('a git-annex pointer', _ANNEX)),
  (b'\x00\x05\x16\x07', Kind('a resource fork that macOS left beside a recording', 'remove it')),
  (b'<!doctype html', Kind('an HTML page', _AGAIN)),
  (b'<html', Kind('an HTML page', _AGAIN)),
  (b'<?xml', Kind('an XML document', _AGAIN)),
  (b'{', Kind('a JSON document', _AGAIN)),
  (b'%pdf', Kind('a PDF document', _OTHER)),
  (b'pk\x03\x04', Kind('a ZIP archive', _UNPACK)),
  (b'\x1f\x8b', Kind('a gzip archive', _UNPACK)),
  (b'rar!', Kind('a RAR archive', _UNPACK)),
  (b"7z\xbc\xaf'\x1c", Kind('a 7z archive', _UNPACK)),
  (b'\x89png', Kind('a PNG picture', _OTHER)),
  (b'\xff\xd8\xff', Kind('a JPEG picture', _OTHER)),
  (b'gif8', Kind('a GIF picture', _OTHER)),
  (b'mthd', Kind('a MIDI file', 'give a recording of it')),
  (b'#!amr', Kind('a damaged AMR file', 'record or copy it again')),
  (b'\x93numpy', Kind('a NumPy array', 'make a store of it with data_prep.arrays')),
)


def of(start: bytes) -> Kind | None:
  """What a file that begins with these bytes is; None if they say nothing."""
  if start and not start.strip(b'\0'):
    return Kind('zeros and nothing else', 'copy it again')
  plain = start.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
  for first, kind in _STARTS:
    if plain.startswith(first):
      return kind
  return Kind('text', _OTHER) if start and not _CONTROL.search(start[:200]) else None
