"""Tables from the evidence of a study: predictions, channel weights and the exported lane.

Pure functions, except `export_tables`, which reads export.json.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import image as pictures

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.reporting import channel_weights, evidence, tables
from m3net_jax.reporting.channel_weights import Weights
from m3net_jax.reporting.evidence import Confusion, LanePredictions
from m3net_jax.reporting.exported import rows as runtime_rows
from m3net_jax.reporting.tables import Table
from m3net_jax.study.workdir import Workdir, read_exported

HARDEST = 12  # clips shown


def classes_table(lanes: Sequence[LanePredictions], store: Store, variant: str) -> Table:
  """Accuracy of the lanes of `variant` on each class, and the most frequent wrong answer."""
  accuracies = evidence.class_accuracies(lanes, store.labels, len(store.classes))
  counts = evidence.confusion(lanes, store.labels, len(store.classes))
  rows = []
  for label, name in enumerate(store.classes):
    by_lane, answers = accuracies[:, label], counts[label]
    by_lane = by_lane[np.isfinite(by_lane)]
    if not len(by_lane):
      continue
    mistakes = np.where(np.arange(len(answers)) == label, 0, answers)
    worst = int(mistakes.argmax())
    fractions = (answers[label] / answers.sum(), by_lane.min(), by_lane.max())
    rows.append(
      [
        name,
        f'{answers.sum():,}',
        *(tables.percent(float(fraction)) for fraction in fractions),
        f'{store.classes[worst]} ({tables.percent(mistakes[worst] / answers.sum())} %)'
        if mistakes[worst]
        else tables.NONE,
      ]
    )
  columns = (
    'Class',
    'Answers',
    ('Accuracy (%)', 'all lanes'),
    ('Accuracy (%)', 'worst lane'),
    ('Accuracy (%)', 'best lane'),
    'Most often taken for',
  )
  return tables.make(
    'classes',
    f'Accuracy on each class, {variant}',
    columns,
    rows,
    [
      'Answers: test clips of the class, each counted once per lane that tests it '
      f'({len(lanes)} lane{"s" * (len(lanes) > 1)} in total).'
    ],
  )


def confusion_table(confusion: Confusion, variant: str) -> Table:
  """The confusion matrix of a variant as counts."""
  rows = [
    [name, *(f'{count:,}' for count in row)]
    for name, row in zip(confusion.classes, confusion.counts.tolist())
  ]
  return tables.make(
    'confusion',
    f'Confusions of {variant}',
    ('True class', *(('Taken for', name) for name in confusion.classes)),
    rows,
    [f'Answers, summed over {confusion.lanes} lane{"s" * (confusion.lanes > 1)}.'],
  )


def hardest_clips(
  lanes: Sequence[LanePredictions], all_lanes: Sequence[LanePredictions], store: Store
) -> list[dict[str, Any]]:
  """The clips that the largest fraction of `lanes` misclassifies, as dictionaries for a template.

  Args:
    lanes: of one variant.
    all_lanes: of all variants; the others decide between clips that are equally hard.
  """
  others = [lane for lane in all_lanes if lane.variant != lanes[0].variant]
  return [
    {
      'path': str(store.paths[clip.clip]),
      'group': str(store.groups[clip.clip]),
      'label': store.classes[clip.label],
      'wrong': clip.wrong,
      'lanes': clip.lanes,
      'taken_for': ', '.join(
        f'{store.classes[label]} ({count})' for label, count in clip.taken_for
      ),
      'picture': picture(store.mels[clip.clip]),
    }
    for clip in evidence.hardest(lanes, store.labels, HARDEST, others)
  ]


def picture(mel: np.ndarray) -> str:
  """A log-Mel array [n_mels, frames] as a PNG in a data URI, low frequencies at the bottom."""
  content = io.BytesIO()
  pictures.imsave(content, np.asarray(mel[::-1], np.float32), cmap='magma', format='png')
  return 'data:image/png;base64,' + base64.b64encode(content.getvalue()).decode()


def weights_table(weights: Mapping[str, Weights]) -> Table:
  """Channel weights and kernels of every variant with channel attention."""

  def spread(values: np.ndarray) -> str:
    return f'{values.mean():.3f}' + (f' ± {values.std(ddof=1):.3f}' if len(values) > 1 else '')

  rows = [
    [
      variant,
      f'{len(lanes.mean)}',
      spread(lanes.mean.mean(1)),
      f'{lanes.mean.min():.3f} to {lanes.mean.max():.3f}',
      spread(lanes.std.mean(1)),
      *map(spread, lanes.taps.T),
    ]
    for variant, lanes in weights.items()
  ]
  columns = (
    'Variant',
    'Lanes',
    *(('Channel weight', head) for head in ('mean', 'range over channels', 'deviation over clips')),
    *(('Kernel', head) for head in ('channel before', 'own channel', 'channel after')),
  )
  return tables.make(
    'channel_weights',
    'Learned weights of efficient channel attention',
    columns,
    rows,
    [
      f'Mean ± standard deviation over lanes, each on up to {channel_weights.CLIPS} clips of its '
      'test split. Channels of different lanes do not correspond, so no single channel is averaged '
      'over lanes.'
    ],
  )


def export_tables(workdir: Workdir) -> list[Table]:
  """The exported lane in every runtime, and its accuracy per class; empty if nothing was exported.

  Raises:
    UserError: export.json was altered or lacks an entry.
  """
  path = workdir.path / 'export.json'
  if not path.exists():
    return []
  exported = read_exported(workdir.path)
  try:
    rows = runtime_rows(exported)
  except KeyError as error:
    raise UserError(
      f'{path}: has no {error}: export the study again, or delete the file'
    ) from error
  converted = [row for row in exported['runtimes'] if row['runtime'] != 'JAX']
  change_text = lambda change: tables.NONE if change is None else f'{100 * change:+.2f}'
  return [
    tables.make(
      'export',
      f'The exported lane, {exported["name"]}, in every runtime, on the complete test split',
      list(rows[0]),
      [[cell or tables.NONE for cell in row.values()] for row in rows],
      ['Agreement and changes are relative to JAX. TFLite Micro measures the arena.'],
    ),
    tables.make(
      'export_classes',
      'Accuracy on each class minus that in JAX, in points',
      ['class', *(f'{row["runtime"]} {row["kind"]}' for row in converted)],
      [
        [name, *(change_text(row['change_by_class'][name]) for row in converted)]
        for name in converted[0]['change_by_class']
      ],
      [],
    ),
  ]
