"""Names that a user gives to classes and files, and how they are shown."""

import unicodedata
from collections.abc import Iterable

from data_prep.errors import UserError

_CONTROL = ('Cc', 'Zl', 'Zp')  # control characters and the separators of lines and paragraphs
_NO_TEXT = '\ufffe\uffff'  # XML and YAML refuse them
# They reverse the order in which the text after them is shown.
_BIDIRECTIONAL = '\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'


def check_classes(classes: Iterable[str], source: str) -> None:
  """Checks that the name of every class is one line of text.

  Args:
    classes: the names.
    source: of the classes, for the message.

  Raises:
    UserError: a name is empty, is not UTF-8 or contains a control character.
  """
  for name in classes:
    if any(unicodedata.category(sign) == 'Cs' for sign in name):
      raise UserError(f'{source}: the name of the class {visible(name)} is not UTF-8: rename it')
    if not name.strip() or any(map(_is_control, name)):
      raise UserError(
        f'{source}: the class {ascii(name)} is empty or has a line break or control character in '
        'its name: rename it'
      )


def visible(text: str) -> str:
  r"""Text in one line: '\n' and other characters that are not shown become their escapes."""
  return ''.join(sign if is_shown(sign) else ascii(sign)[1:-1] for sign in text)


def is_shown(sign: str) -> bool:
  """Whether a character is shown as itself; a byte of a file name that is not UTF-8 is not."""
  return not _is_control(sign) and unicodedata.category(sign) != 'Cs' and sign not in _BIDIRECTIONAL


def _is_control(sign: str) -> bool:
  return unicodedata.category(sign) in _CONTROL or sign in _NO_TEXT
