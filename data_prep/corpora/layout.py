"""Where the class folders are: in the folder, in a lone one within it, or in train and test."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from data_prep.corpora import base
from data_prep.names import visible

PARTS = {
  'train': ('train', 'training', 'trn'),
  'validation': ('validation', 'valid', 'val', 'dev', 'development'),
  'test': ('test', 'testing', 'tst', 'eval', 'evaluation'),
}
_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_DOCUMENTS = tuple(
  '.txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .html .htm .pdf .doc .docx .xls .xlsx .png '
  '.jpg .jpeg .gif .svg .py .ipynb .m .sh .lab .textgrid .npy .npz .pkl .zip .gz .log .db'.split()
)
_VALIDATION_SHARE = 5  # one of so many training clips validates if no folder does


class Place(NamedTuple):
  """A recording below the class folders.

  Attributes:
    path: relative to the corpus's folder, with '/'.
    label: name of the class folder; '' if the recording lies beside the class folders.
    part: 'train', 'validation' or 'test' by its folder; '' if there are none.
  """

  path: str
  label: str
  part: str = ''


def part_of(name: str) -> str | None:
  """'train', 'validation' or 'test' for one of their usual names in any case; None for another."""
  return _PART_OF.get(name.strip().lower())


def places(paths: Sequence[str], reserved: Iterable[str]) -> tuple[list[Place], list[str]]:
  """The class, and perhaps the part, of each recording.

  Args:
    paths: relative to the corpus's folder, with '/'.
    reserved: folders that are neither a class nor a part wherever they lie.

  Returns:
    The places, and what the user should be told of them.
  """
  split, depth, notes = [path.split('/') for path in paths], 0, []
  reserved = set(reserved)
  while (folder := _lone(split, depth)) and folder not in reserved:
    depth += 1
    notes.append(f'the classes are the folders in {"/".join(split[0][:depth])}')
  firsts = {names[depth] for names in split if len(names) > depth + 1} - reserved
  parts = {name: part for name in firsts if (part := part_of(name))}
  is_split = {'train', 'test'} <= set(parts.values()) and all(
    names[depth] in reserved or (names[depth] in parts and len(names) > depth + 2)
    for names in split
    if len(names) > depth + 1
  )
  if not is_split:
    parts = {}
  found = [
    Place(path, names[depth + 1], parts[names[depth]])
    if names[depth] in parts
    else Place(path, names[depth] if len(names) > depth + 1 else '')
    for path, names in zip(paths, split)
  ]
  if is_split:
    notes.append(
      f'{", ".join(sorted(firsts))} are the parts of a split, not classes: --split=official'
    )
    if 'validation' not in parts.values():
      found = _with_validation(found)
      notes.append(
        f'no folder is for validation: one of {_VALIDATION_SHARE} training clips of a class is'
      )
  return found, notes


def _lone(split: Sequence[Sequence[str]], depth: int) -> str | None:
  """The one folder that all recordings are in, if it has folders and no recording of its own."""
  folders = {names[depth] for names in split if len(names) > depth + 1}
  if len(folders) != 1 or any(len(names) <= depth + 2 for names in split):
    return None
  return folders.pop()


def _with_validation(found: list[Place]) -> list[Place]:
  """Makes some training clips of each class validation clips, by a hash of their paths."""
  by_class = defaultdict(list)
  for place in found:
    if place.part == 'train':
      by_class[place.label].append(place.path)
  chosen = set()
  for of_class in by_class.values():
    of_class.sort(key=lambda path: hashlib.sha256(path.encode(errors='surrogateescape')).digest())
    chosen.update(of_class[: max(1, len(of_class) // _VALIDATION_SHARE)])
  return [place._replace(part='validation') if place.path in chosen else place for place in found]


def look_alikes(classes: Sequence[str]) -> list[str]:
  """One line for each group of class names that differ in capitals or in the form of Unicode."""
  alike = defaultdict(list)
  for name in classes:
    alike[unicodedata.normalize('NFC', name).casefold()].append(name)
  return [
    f'the classes {", ".join(visible(name) for name in names)} differ only in capitals or in the '
    'form of Unicode: give them one name if they are one class'
    for names in alike.values()
    if len(names) > 1
  ]


def left_out(paths: Sequence[str]) -> list[str]:
  """One line on files whose suffix is none of a recording, and none of a document."""
  unknown = [path for path in paths if not path.lower().endswith(_DOCUMENTS)]
  if not unknown:
    return []
  return [f'{len(unknown)} files are left out for their suffix{base.seen(unknown)}']
