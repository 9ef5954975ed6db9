"""Commands in the process of the tests: a process of their own spends seconds on imports."""

from types import ModuleType

from absl import flags


def call(command: ModuleType, *arguments: object) -> None:
  """Parses flags and arguments as a command does and calls its `main`; mistakes are UserErrors."""
  values = flags.FlagValues()
  command.define(values)
  rest = values([command.__name__, *map(str, arguments)])
  command.main(rest[1:], values)
