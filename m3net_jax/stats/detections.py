"""How well events of a stream fit the words that were said in it. Pure functions on arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from m3net_jax.stats import crossed, intervals
from m3net_jax.stats.intervals import ALPHA


class Truth(NamedTuple):
  """What was said in a stream, in order of time.

  Attributes:
    starts, ends: [words], s.
    labels: [words], positions of classes; -1 for a word that must not be reported.
    seconds: length of the stream.
  """

  starts: np.ndarray
  ends: np.ndarray
  labels: np.ndarray
  seconds: float

  @property
  def words(self) -> int:
    """Words to be found."""
    return int((self.labels >= 0).sum())


class Score(NamedTuple):
  """The events of a stream, counted.

  Attributes:
    words: to be found.
    hits: words that were found.
    wrong: events that gave a word the name of another class.
    false_alarms: events of no word, of one that must not be reported, or of one found before.
    seconds: length of the stream.
    delays: of the hits, from the end of the word to the event, s.
    alarms: positions of the events that were false alarms.
    found: [words] whether each word was found, in order of time.
  """

  words: int
  hits: int
  wrong: int
  false_alarms: int
  seconds: float
  delays: tuple[float, ...]
  alarms: tuple[int, ...]
  found: tuple[bool, ...]

  @property
  def hit_rate(self) -> float:
    """Share of the words that were found; nan for none."""
    return self.hits / self.words if self.words else float('nan')

  @property
  def per_hour(self) -> float:
    """False alarms an hour."""
    return 3600 * self.false_alarms / self.seconds


def score(times: np.ndarray, labels: np.ndarray, truth: Truth, tolerance: float) -> Score:
  """Sets events beside the words of a stream.

  An event belongs to a word if it lies between the word's start and `tolerance` after its end. It
  is a hit if such a word has its class and was not found before (the earliest, if there are
  several); else a wrong name if such a word has another class and nothing named it before; else a
  false alarm.

  Args:
    times: [events], s, ascending.
    labels: [events], positions of classes.
    tolerance: s.
  """
  ends, words = truth.ends.tolist(), truth.labels.tolist()
  named = [False] * len(words)  # found, or given a wrong name
  found = [False] * len(words)
  delays, alarms, wrong = [], [], 0
  # Words may be of any length, so their ends need not ascend: the longest one bounds.
  reach = tolerance + max((truth.ends - truth.starts).tolist(), default=0.0)
  first = np.searchsorted(truth.starts, times - reach).tolist()
  last = np.searchsorted(truth.starts, times, side='right').tolist()
  for event, (time, label) in enumerate(zip(times.tolist(), labels.tolist())):
    near = [word for word in range(first[event], last[event]) if ends[word] + tolerance >= time]
    same = [word for word in near if words[word] == label and not found[word]]
    other = [word for word in near if words[word] not in (-1, label) and not named[word]]
    if same:
      found[same[0]] = named[same[0]] = True
      delays.append(time - ends[same[0]])
    elif other:
      named[other[0]] = True
      wrong += 1
    else:
      alarms.append(event)
  return Score(
    truth.words,
    sum(found),
    wrong,
    len(alarms),
    truth.seconds,
    tuple(delays),
    tuple(alarms),
    tuple(hit for hit, word in zip(found, words) if word >= 0),
  )


def hit_rate_interval(scores: Sequence[Score], seeds: Sequence[int]) -> tuple[float, float] | None:
  """95 % interval of the mean hit rate of lanes on one stream, for other seeds and other words.

  The crossed bootstrap of lanes and words; Wilson's interval of the words for a single lane, or if
  the lanes find all words or none, which a bootstrap would take for certain.

  Args:
    scores: of the lanes, on the same stream.
    seeds: of the lanes.

  Returns:
    None if the stream has no words.
  """
  found = np.array([score.found for score in scores], np.float64)
  if not found.size:
    return None
  ends = crossed.interval(found, np.ones_like(found), seeds) if 0 < found.mean() < 1 else None
  return ends or intervals.wilson(found.sum() / len(scores), found.shape[1])


def per_hour_interval(alarms: float, seconds: float) -> tuple[float, float]:
  """Exact 95 % interval of the false alarms an hour, for other streams of this kind.

  F. Garwood, Fiducial limits for the Poisson distribution, Biometrika 28, 1936. The mean of several
  lanes gets the interval of one: they hear the same sounds, so their alarms are not independent.

  Args:
    alarms: counted in the stream; a mean over lanes may be a fraction.
    seconds: length of the stream.
  """
  low = stats.gamma.ppf(ALPHA / 2, alarms) if alarms else 0.0
  high = stats.gamma.ppf(1 - ALPHA / 2, alarms + 1)
  return 3600 * float(low) / seconds, 3600 * float(high) / seconds
