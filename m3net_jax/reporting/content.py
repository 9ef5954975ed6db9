"""The content of the report of one study: text, tables, figures and pictures.

Reads the workdir and the store; writes nothing. If the store or the checkpoints are missing, the
content gives the reason in place of the sections that need them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import (
  channel_weights,
  detections,
  evidence,
  evidence_tables,
  figures,
  paper_order,
  paper_tables,
  robustness,
  svg,
  tables,
)
from m3net_jax.reporting import text as report_text
from m3net_jax.reporting.channel_weights import Weights
from m3net_jax.reporting.evidence import Confusion, LanePredictions
from m3net_jax.reporting.tables import Table
from m3net_jax.study import sweeps
from m3net_jax.study.results import baseline
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import Workdir


class Content(NamedTuple):
  """The content of one report.

  SVG figures are text, pictures are data URIs. Lists and dictionaries are empty and other fields
  None if there is nothing to show.

  Attributes:
    corpus: its name, marked if it is synthetic; every caption of a table is marked too.
    headline: (accuracy, explanation).
    facts: (name, value) of what was run.
    warnings: what a reader must know before the accuracy.
    curves: {variant: (accuracy, loss)} figures.
    confusions: {variant: Confusion}, the headline's variant first.
    confusion: that of the headline's variant as a table of counts, for pages without colours.
    hard: clips that most lanes misclassify, as dictionaries for the template.
    missing: {section: reason} of the sections without content.
    results: the content of results.json.
    metrics: rows of metrics.jsonl of the lanes that were tested.
    measured, detected: the content of robustness.json and detection.json, or None.
  """

  title: str
  corpus: str
  synthetic: bool
  headline: tuple[str, str]
  command: str
  facts: list[tuple[str, str]]
  warnings: list[str]
  variants: Table
  intervals: Table | None
  sweep: Table | None
  paper: list[Table]
  order: Table | None
  tests: Table | None
  side_by_side: Table | None
  published_tests: Table | None
  accuracies: str
  sweep_figure: str
  curves: dict[str, tuple[str, str]]
  confusions: dict[str, Confusion]
  classes: Table | None
  confusion: Table | None
  hard: list[dict[str, Any]]
  weights: Table | None
  weight_figures: tuple[str, str] | None
  blocks: list[Table]
  export: list[Table]
  robustness: Table | None
  robustness_figure: str
  detection: Table | None
  detection_figure: str
  missing: dict[str, str]
  results: dict[str, Any]
  metrics: list[dict[str, Any]]
  measured: dict[str, Any] | None
  detected: dict[str, Any] | None

  @property
  def tables(self) -> list[Table]:
    """All tables that are written to files of their own."""
    candidates = (
      self.variants,
      self.intervals,
      self.sweep,
      *self.paper,
      self.order,
      self.tests,
      self.side_by_side,
      self.published_tests,
      self.classes,
      self.confusion,
      self.weights,
      *self.blocks,
      *self.export,
      self.robustness,
      self.detection,
    )
    return [table for table in candidates if table]


def gather(workdir: Workdir) -> Content:
  """Makes the content of the report of a finished study.

  Without its store or its checkpoints it says what is missing and why.

  Raises:
    UserError: the study is not finished, or one of its files was altered.
  """
  results, missing = workdir.results(), {}
  metrics = sweeps.of_tested(results, workdir.metrics())
  headline, measured = baseline(results), robustness.read(workdir.path)
  detected = detections.read(workdir.path)
  store, study_splits, predictions = _read_predictions(workdir, missing)
  of_headline = [lane for lane in predictions if lane.variant == headline]
  weights = _read_weights(workdir, store, study_splits, missing)
  confusions = _confusions(
    predictions, store, sorted(results['variants'], key=lambda name: name != headline)
  )
  content = Content(
    title=figures.title(results),
    corpus=tables.corpus_title(results),
    synthetic=results['corpus']['synthetic'],
    headline=report_text.headline(results),
    command=report_text.command(
      workdir.config, workdir.features, results['corpus'], str(workdir.path)
    ),
    facts=report_text.facts(workdir, results),
    warnings=report_text.warnings(results),
    variants=tables.variants_table(results),
    intervals=tables.intervals_table(results),
    sweep=tables.sweep_table(results),
    paper=_paper(workdir, results, store),
    order=paper_order.order_table(results),
    tests=tables.tests_table(results['tests']) if results['tests'] else None,
    side_by_side=tables.side_by_side_table(results, workdir.arenas()),
    published_tests=paper_tables.published_tests_table(results),
    accuracies=svg.accuracies(results),
    sweep_figure=svg.sweep(results) if results['sweep'] else '',
    curves=svg.learning_curves(metrics, list(results['variants'])) if metrics else {},
    confusions=confusions,
    classes=evidence_tables.classes_table(of_headline, store, headline) if of_headline else None,
    confusion=(
      evidence_tables.confusion_table(confusions[headline], headline)
      if headline in confusions
      else None
    ),
    hard=evidence_tables.hardest_clips(of_headline, predictions, store) if of_headline else [],
    weights=evidence_tables.weights_table(weights) if weights else None,
    weight_figures=svg.channel_weights(*next(iter(weights.items()))) if weights else None,
    blocks=tables.block_tables(_blocks(results, workdir.config.input_shape)),
    export=evidence_tables.export_tables(workdir),
    robustness=(
      robustness.table(
        measured,
        f'Accuracy on changed test clips of {results["corpus"]["name"]}'
        + _before_added(robustness.seeds(measured), results),
      )
      if measured
      else None
    ),
    robustness_figure=svg.robustness(measured) if measured else '',
    detection=(
      detections.table(
        detected,
        f'Words found in streams of {results["corpus"]["name"]}'
        + _before_added(detections.seeds(detected), results),
      )
      if detected
      else None
    ),
    detection_figure=svg.detection(detected) if detected else '',
    missing=missing,
    results=results,
    metrics=metrics,
    measured=measured,
    detected=detected,
  )
  return _marked(content) if content.synthetic else content


def _before_added(seeds: set[int], results: Mapping[str, Any]) -> str:
  """Which seeds were measured, for a caption, if seeds were added to the study afterwards."""
  if all(lane['seed'] in seeds for lane in results['variants'][baseline(results)]['lanes']):
    return ''
  return f', of seeds {min(seeds)} to {max(seeds)} alone'


def _marked(content: Content) -> Content:
  """The content with "synthetic" in every caption, because tables are copied out of the page."""

  def mark(field: Any) -> Any:
    if isinstance(field, list):
      return [mark(entry) for entry in field]
    if isinstance(field, Table) and 'synthetic' not in field.caption:
      return field._replace(caption=f'{field.caption}, synthetic speech')
    return field

  return Content(*map(mark, content))


def _paper(workdir: Workdir, results: Mapping[str, Any], store: Store | None) -> list[Table]:
  entropy, crossings, definitions = report_text.heads(store)
  published = paper_tables.published_table(
    results, report_text.feature(workdir.config), entropy, crossings
  )
  candidates = [
    published._replace(notes=(*published.notes, *definitions)),
    paper_tables.ablation_table(results, 3),
    paper_tables.ablation_table(results, 4),
    paper_tables.parts_table(results),
  ]
  return [table for table in candidates if table]


def _confusions(
  predictions: Sequence[LanePredictions], store: Store | None, variants: Sequence[str]
) -> dict[str, Confusion]:
  confusions = {}
  for variant in variants:
    if lanes := [lane for lane in predictions if lane.variant == variant]:
      counts = evidence.confusion(lanes, store.labels, len(store.classes))
      confusions[variant] = Confusion(store.classes, counts, len(lanes))
  return confusions


def _read_predictions(
  workdir: Workdir, missing: dict[str, str]
) -> tuple[Store | None, list[Split], list[LanePredictions]]:
  try:
    store = workdir.load_store()
  except UserError as error:
    missing['clips'] = f'the store of this study cannot be read ({error})'
    return None, [], []
  study_splits = workdir.splits(store)
  if not (workdir.path / 'predictions.npz').exists():
    missing['clips'] = 'predictions.npz is missing'
    return store, study_splits, []
  return store, study_splits, evidence.lane_predictions(workdir.predictions(), study_splits)


def _read_weights(
  workdir: Workdir, store: Store | None, study_splits: list[Split], missing: dict[str, str]
) -> dict[str, Weights]:
  if store is None:
    missing['weights'] = missing['clips']
    return {}
  try:
    weights = channel_weights.learned(workdir, store, study_splits)
  except (FileNotFoundError, UserError) as error:
    missing['weights'] = str(error)
    return {}
  if not weights:
    missing['weights'] = 'no variant of this study has channel attention'
  return weights


def _blocks(
  results: Mapping[str, Any], input_shape: tuple[int, int, int]
) -> dict[str, dict[str, dict[str, int]]]:
  classes = results['corpus']['num_classes']
  return {
    quantity: {
      name: count(architecture_of(name), classes, input_shape) for name in results['variants']
    }
    for quantity, count in (('parameters', cost.block_sizes), ('macs', cost.block_macs))
  }
