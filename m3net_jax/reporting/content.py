"""What the report of one study says: text, tables, figures and pictures, gathered from its workdir and store.

Writes nothing. What cannot be said, because the store or the checkpoints are gone, is said to be missing and
why.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import image as pictures

from data_prep import store as stores
from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import (
  channel_weights,
  evidence,
  figures,
  paper_order,
  paper_tables,
  svg,
  tables,
)
from m3net_jax.reporting import text as report_text
from m3net_jax.reporting.channel_weights import Weights
from m3net_jax.reporting.evidence import LanePredictions
from m3net_jax.reporting.exported import rows as runtime_rows
from m3net_jax.reporting.tables import Table
from m3net_jax.study import splits
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import Workdir

HARDEST = 12  # clips shown


class Content(NamedTuple):
  """Of one report; SVG figures are text, pictures are data URIs, and lists are empty where there is nothing.

  Attributes:
    facts: (name, value) of what was run.
    warnings: what a reader must know before the accuracy.
    corpus: its name, marked where it is synthetic, as every caption of a table is.
    curves: {variant: (accuracy, loss)} figures.
    confusions: {variant: Confusion}, the headline's first.
    confusion: the headline's as a table of counts, for where colours cannot show it.
    hard: clips most lanes get wrong, as dictionaries for the template.
    missing: reasons why a section has nothing.
  """

  title: str
  corpus: str
  synthetic: bool
  headline: tuple[str, str]
  command: str
  facts: list[tuple[str, str]]
  warnings: list[str]
  variants: Table
  paper: list[Table]
  order: Table | None
  tests: Table | None
  published_tests: Table | None
  accuracies: str
  curves: dict[str, tuple[str, str]]
  confusions: dict[str, 'Confusion']
  classes: Table | None
  confusion: Table | None
  hard: list[dict[str, Any]]
  weights: Table | None
  weight_figures: tuple[str, str] | None
  blocks: list[Table]
  export: list[Table]
  missing: dict[str, str]

  @property
  def tables(self) -> list[Table]:
    """All that are written as files of their own."""
    every = (
      self.variants,
      *self.paper,
      self.order,
      self.tests,
      self.published_tests,
      self.classes,
      self.confusion,
      self.weights,
      *self.blocks,
      *self.export,
    )
    return [table for table in every if table]


class Confusion(NamedTuple):
  """`counts` [classes, classes] of (true, predicted), summed over `lanes` lanes."""

  classes: tuple[str, ...]
  counts: np.ndarray
  lanes: int


def gather(here: Workdir) -> Content:
  """All that the report says of a finished study."""
  results, metrics, missing = here.results(), here.metrics(), {}
  headline = tables.baseline(results)
  store, made, answers = _read_answers(here, missing)
  of_headline = [lane for lane in answers if lane.variant == headline]
  weights = _read_weights(here, store, made, missing)
  confusions = _confusions(
    answers, store, sorted(results['variants'], key=lambda name: name != headline)
  )
  content = Content(
    title=figures.title(results),
    corpus=tables.corpus_title(results),
    synthetic=results['corpus']['synthetic'],
    headline=report_text.headline(results),
    command=report_text.command(here.config, here.features, results['corpus'], str(here.path)),
    facts=report_text.facts(here, results),
    warnings=report_text.warnings(results),
    variants=tables.variants_table(results),
    paper=_paper(here, results, store),
    order=paper_order.order_table(results),
    tests=tables.tests_table(results['tests']) if results['tests'] else None,
    published_tests=paper_tables.published_tests_table(results),
    accuracies=svg.accuracies(results),
    curves=svg.learning_curves(metrics, list(results['variants'])) if metrics else {},
    confusions=confusions,
    classes=_classes_table(of_headline, store, headline) if of_headline else None,
    confusion=_confusion_table(confusions[headline], headline) if headline in confusions else None,
    hard=_hardest(of_headline, answers, store) if of_headline else [],
    weights=_weights_table(weights) if weights else None,
    weight_figures=svg.channel_weights(*next(iter(weights.items()))) if weights else None,
    blocks=tables.block_tables(_blocks(results, here.config.input_shape)),
    export=_export(here),
    missing=missing,
  )
  return _marked(content) if content.synthetic else content


def _marked(content: Content) -> Content:
  """With the word in the caption of every table: a table is copied without its page."""

  def mark(field: Any) -> Any:
    if isinstance(field, list):
      return [mark(each) for each in field]
    if isinstance(field, Table) and 'synthetic' not in field.caption:
      return field._replace(caption=f'{field.caption}, synthetic speech')
    return field

  return Content(*map(mark, content))


def _paper(here: Workdir, results: Mapping[str, Any], store: Store | None) -> list[Table]:
  entropy, crossings, definitions = report_text.heads(store)
  first = paper_tables.published_table(
    results, report_text.feature(here.config), entropy, crossings
  )
  made = [
    first._replace(notes=(*first.notes, *definitions)),
    paper_tables.ablation_table(results, 3),
    paper_tables.ablation_table(results, 4),
    paper_tables.parts_table(results),
  ]
  return [table for table in made if table]


def _confusions(
  answers: Sequence[LanePredictions], store: Store | None, names: Sequence[str]
) -> dict[str, Confusion]:
  made = {}
  for name in names:
    if lanes := [lane for lane in answers if lane.variant == name]:
      counts = evidence.confusion(lanes, store.labels, len(store.classes))
      made[name] = Confusion(store.classes, counts, len(lanes))
  return made


def _read_answers(
  here: Workdir, missing: dict[str, str]
) -> tuple[Store | None, list[Split], list[LanePredictions]]:
  try:
    store = stores.load(here.store)
  except UserError as error:
    missing['clips'] = f'the store of this study cannot be read ({error})'
    return None, [], []
  if store.sha256 != here.store_sha256:
    missing['clips'] = (
      f'{here.store} is not the store that this study was made from: its arrays have changed'
    )
    return None, [], []
  made = splits.make(store, here.config.split)
  if not (here.path / 'predictions.npz').exists():
    missing['clips'] = 'predictions.npz is gone'
    return store, made, []
  return store, made, evidence.lane_predictions(here.predictions(), made)


def _read_weights(
  here: Workdir, store: Store | None, made: list[Split], missing: dict[str, str]
) -> dict[str, Weights]:
  if store is None:
    missing['weights'] = missing['clips']
    return {}
  try:
    found = channel_weights.learned(here, store, made)
  except FileNotFoundError as error:
    missing['weights'] = str(error)
    return {}
  if not found:
    missing['weights'] = 'no variant of this study has channel attention'
  return found


def _blocks(
  results: Mapping[str, Any], input_shape: tuple[int, int, int]
) -> dict[str, dict[str, dict[str, int]]]:
  classes = results['corpus']['num_classes']
  return {
    what: {name: count(architecture_of(name), classes, input_shape) for name in results['variants']}
    for what, count in (('parameters', cost.block_sizes), ('macs', cost.block_macs))
  }


def _classes_table(lanes: Sequence[LanePredictions], store: Store, variant: str) -> Table:
  accuracies = evidence.class_accuracies(lanes, store.labels, len(store.classes))
  counts = evidence.confusion(lanes, store.labels, len(store.classes))
  rows = []
  for label, name in enumerate(store.classes):
    mine, answers = accuracies[:, label], counts[label]
    mine = mine[np.isfinite(mine)]
    if not len(mine):
      continue
    mistakes = np.where(np.arange(len(answers)) == label, 0, answers)
    taken = int(mistakes.argmax())
    shares = (answers[label] / answers.sum(), mine.min(), mine.max())
    rows.append(
      [
        name,
        f'{answers.sum():,}',
        *(tables.percent(float(share)) for share in shares),
        f'{store.classes[taken]} ({tables.percent(mistakes[taken] / answers.sum())} %)'
        if mistakes[taken]
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
    f'Accuracy of every class, {variant}',
    columns,
    rows,
    [
      f'Answers: test clips of the class, counted once for each of the {len(lanes)} lanes that was asked.'
    ],
  )


def _confusion_table(confusion: Confusion, variant: str) -> Table:
  rows = [
    [name, *(f'{count:,}' for count in row)]
    for name, row in zip(confusion.classes, confusion.counts.tolist())
  ]
  return tables.make(
    'confusion',
    f'Confusions of {variant}',
    ('True class', *(('Taken for', name) for name in confusion.classes)),
    rows,
    [f'Answers of {confusion.lanes} lane{"s" * (confusion.lanes > 1)}, summed.'],
  )


def _hardest(
  lanes: Sequence[LanePredictions], everyone: Sequence[LanePredictions], store: Store
) -> list[dict[str, Any]]:
  others = [lane for lane in everyone if lane.variant != lanes[0].variant]
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


def _weights_table(weights: Mapping[str, Weights]) -> Table:

  def spread(values: np.ndarray) -> str:
    return f'{values.mean():.3f}' + (f' ± {values.std(ddof=1):.3f}' if len(values) > 1 else '')

  rows = [
    [
      variant,
      f'{len(each.mean)}',
      spread(each.mean.mean(1)),
      f'{each.mean.min():.3f} to {each.mean.max():.3f}',
      spread(each.std.mean(1)),
      *map(spread, each.taps.T),
    ]
    for variant, each in weights.items()
  ]
  columns = (
    'Variant',
    'Lanes',
    *(('Channel weight', head) for head in ('mean', 'range over channels', 'deviation over clips')),
    *(('Kernel', head) for head in ('channel before', 'own channel', 'channel after')),
  )
  return tables.make(
    'channel_weights',
    'Efficient channel attention as learned',
    columns,
    rows,
    [
      f'Mean ± standard deviation over lanes, each on up to {channel_weights.CLIPS} clips of its test '
      'split. Channels of different lanes do not correspond, so no mean over lanes is taken of one channel.'
    ],
  )


def _export(here: Workdir) -> list[Table]:
  """The proof of the exported lane, and the same class by class; none where the study was not exported."""
  path = here.path / 'export.json'
  if not path.exists():
    return []
  exported = json.loads(path.read_text())
  try:
    rows = runtime_rows(exported)
  except KeyError as error:
    raise UserError(
      f'{path}: has no {error}: export the study again, or delete the file'
    ) from error
  converted = [row for row in exported['runtimes'] if row['runtime'] != 'JAX']
  shown = lambda change: tables.NONE if change is None else f'{100 * change:+.2f}'
  return [
    tables.make(
      'export',
      f'The exported lane, {exported["name"]}, in every runtime, on the whole test split',
      list(rows[0]),
      [[cell or tables.NONE for cell in row.values()] for row in rows],
      ['Agreement and differences are from JAX; the arena is what TFLite Micro measures.'],
    ),
    tables.make(
      'export_classes',
      'Accuracy on each class minus that in JAX, points',
      ['class', *(f'{row["runtime"]} {row["kind"]}' for row in converted)],
      [
        [name, *(shown(row['change_by_class'][name]) for row in converted)]
        for name in converted[0]['change_by_class']
      ],
      [],
    ),
  ]


def picture(mel: np.ndarray) -> str:
  """A log-Mel array [n_mels, frames] as a PNG in a data URI, low frequencies below."""
  content = io.BytesIO()
  pictures.imsave(content, np.asarray(mel[::-1], np.float32), cmap='magma', format='png')
  return 'data:image/png;base64,' + base64.b64encode(content.getvalue()).decode()
