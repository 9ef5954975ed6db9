"""One folder per class: every recording anywhere below RAW_DIR/CLASS/ is a clip of CLASS.

The class folders may lie in one folder more, or in train, validation and test (`layout.places`).
Three folders are reserved. `_unknown_` and `_silence_` are classes that a detector never reports.
`_noise_` holds noise recordings: no class, but the noise that --noise mixes into training clips,
and clips of `_silence_` are cut from it.
"""

import random
from collections import Counter
from pathlib import Path

from data_prep.corpora import base, layout, silence, speech_commands
from data_prep.errors import UserError
from data_prep.negatives import NEGATIVES, SILENCE, is_negative

CLIP_SECONDS = 1.0
FIT = 'pad'
NOISE = '_noise_'
NOISES = (NOISE, speech_commands.NOISE)  # the second name is read as the first
# Noise of the place where a model will listen is heard there at this level, not at a tenth of it.
_MAX_GAIN = 1.0


def read(
  root: Path, silence_clips: int | None = None, clip_seconds: float = CLIP_SECONDS
) -> base.Corpus:
  """Reads the clips of all class folders below `root`, and cuts clips of silence.

  Args:
    silence_clips: number of clips of `_silence_` cut from the noise recordings; None: as many as
      fill the class up to the mean size of the classes that are not negative, but no more than the
      noise recordings are clips long, and 3 or more; 0 without noise recordings.
    clip_seconds: length of these clips.

  Raises:
    UserError: `root` is absent or has no class; a reserved folder is empty; or silence is asked for
      without noise.
  """
  paths, ignored = base.recordings(root)
  found, notes = layout.places(paths, (*NEGATIVES, *NOISES))
  names = {place.label for place in found if place.label}
  for name in (*NEGATIVES, *NOISES):
    if name not in names and (root / name).is_dir():
      raise UserError(
        f'--raw_dir: {root / name} holds no recordings: put some there or remove the folder'
      )
  if not names:
    raise base.missing_error(
      root,
      f'recordings in class folders{base.seen(ignored)}',
      'give a folder with one folder of recordings per class',
    )
  noises = [place.path for place in found if place.label in NOISES]
  clips = [
    base.Clip(place.path, place.label, part=place.part)
    for place in found
    if place.label and place.label not in NOISES
  ]
  if all(is_negative(clip.label) for clip in clips):
    raise UserError(
      f'--raw_dir: {root} has only {", ".join(sorted(names))}: add a folder of recordings for each '
      'class to recognise'
    )
  if silence_clips and not noises:
    raise UserError(
      f'--silence_clips={silence_clips}: {root} has no folder {NOISE} to cut silence from: put '
      'noise recordings there, or leave the flag out'
    )
  notes += _notes(root, names) + layout.left_out(ignored)
  if noises:
    seconds = {path: silence.length(root / path) for path in noises}
    if silence_clips is None:
      silence_clips = _as_the_mean_class(clips, sum(seconds.values()) / clip_seconds)
    rng = random.Random(silence.SEED)
    drawn = silence.places(seconds, silence_clips, rng, clip_seconds, _MAX_GAIN)
    # Sorted, so that a recording is decoded once for many clips.
    clips += [
      base.Clip(path, SILENCE, start=start, gain=gain) for path, start, gain in sorted(drawn)
    ]
    if silence_clips:
      notes.append(
        f'{silence_clips} clips of {SILENCE} are cut from {len(noises)} noise recordings '
        '(--silence_clips)'
      )
  return base.Corpus(
    root,
    tuple(sorted({clip.label for clip in clips})),
    tuple(clips),
    tuple(ignored + [place.path for place in found if not place.label]),
    tuple(notes),
  )


def _as_the_mean_class(clips: list[base.Clip], lengths: float) -> int:
  """The default number of clips of silence; `lengths` is the noise's length in clips."""
  counts = Counter(clip.label for clip in clips)
  sizes = [count for name, count in counts.items() if not is_negative(name)]
  most = max(base.FEWEST_CLIPS, int(lengths))
  return max(0, min(round(sum(sizes) / len(sizes)) - counts[SILENCE], most))


def _notes(root: Path, names: set[str]) -> list[str]:
  """What is said of folders whose names begin with '_' or '.' but are not reserved."""
  notes = [
    f'{name} is a class like any other (reserved: {", ".join((*NEGATIVES, NOISE))})'
    for name in sorted(names)
    if name.startswith('_') and name not in (*NEGATIVES, *NOISES)
  ]
  for entry in sorted(root.iterdir()):
    if entry.name.startswith('.') and entry.is_dir() and base.recordings(entry)[0]:
      notes.append(f'{entry.name} begins with a dot: its recordings are left out')
  return notes
