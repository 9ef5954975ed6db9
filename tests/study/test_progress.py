"""What a study shows while it trains: a bar in a terminal, lines in a log, below 80 columns."""

import io
import re

from m3net_jax.study.progress import Progress, duration


class Terminal(io.StringIO):
  """A stream that is a terminal."""

  def isatty(self):
    return True


def steps(progress):
  progress.note('studies/x: 1 x 1 x 2 lanes (variants, splits, seeds), 3 epochs')
  progress.go_to(10)
  for epoch in (2, 3):
    progress.start(f'epoch {epoch}/3  2 lanes')
    progress.advance(5)
    progress.advance(5)
    progress.end_epoch(f'epoch {epoch}/3  2 lanes  loss 0.123  val 98.1%')
  progress.close()


def test_a_log_gets_one_line_per_epoch_with_rate_and_time_left():
  stream = io.StringIO()
  steps(Progress(30, stream))
  lines = stream.getvalue().splitlines()
  assert lines[0].endswith('3 epochs') and len(lines) == 3
  assert re.fullmatch(
    r'epoch 2/3  2 lanes  loss 0.123  val 98.1%  \S+ lane-steps/s  0:00 left', lines[1]
  )
  assert '\r' not in stream.getvalue() and max(map(len, lines)) < 80


def test_a_terminal_gets_a_bar_and_the_same_lines():
  stream = Terminal()
  steps(Progress(30, stream))
  drawn = [part for part in re.split(r'[\r\n]+', stream.getvalue()) if part.strip()]
  assert max(map(len, drawn)) < 80
  assert any(part.startswith('epoch 3/3  2 lanes  ') and '|' in part for part in drawn)
  assert any(re.match(r'epoch 3/3  2 lanes  loss .* lane-steps/s', part) for part in drawn)
  # Steps of an earlier run count: the bar goes on at a third.
  percentages = [int(number) for number in re.findall(r'(\d+)%\|', stream.getvalue())]
  assert percentages[-1] == 100 and percentages == sorted(percentages)
  assert min(percentage for percentage in percentages if percentage) >= 33


def test_durations():
  assert [duration(seconds) for seconds in (5, 754, 3723)] == ['0:05', '12:34', '1:02:03']
