"""MODEL_CARD.md of a bundle: the model, its accuracy and on which data, its size and licences."""

from collections.abc import Sequence
from typing import Any

from data_prep import background
from m3net_jax.reporting import robustness, tables
from m3net_jax.reporting.exported import accepted
from m3net_jax.reporting.exported import rows as runtime_rows
from m3net_jax.reporting.formats import markdown
from m3net_jax.reporting.summary import leaks
from m3net_jax.stats import detections, intervals

_LICENCES = {
  'speech_commands': 'Speech Commands v0.02 (Warden 2018), CC BY 4.0',
  'speech_commands_12': 'Speech Commands v0.02 (Warden 2018), CC BY 4.0',
  'fsdd': 'Free Spoken Digit Dataset (Jackson et al.), CC BY-SA 4.0',
  'esc10': 'ESC-10 (Piczak 2015), CC BY 3.0; each clip has its own author',
  'esc50': 'ESC-50 (Piczak 2015), CC BY-NC 3.0: not for commercial use',
  'urbansound8k': 'UrbanSound8K (Salamon et al. 2014), CC BY-NC 3.0: not for commercial use',
  'synthetic_commands': 'synthetic speech by eSpeak NG: for demonstration, not for products',
}


def text(
  exported: dict[str, Any],
  results: dict[str, Any],
  measured: dict[str, Any] | None = None,
  noises: Sequence[str] = (),
  detected: dict[str, Any] | None = None,
) -> str:
  """The card, from a bundle's export.json and its study's results.json and robustness.json.

  Args:
    noises: names of the noise recordings that were mixed into training clips.
    detected: the study's detection.json.
  """
  corpus, lane = results['corpus'], exported['lane']
  study = results['variants'][lane['variant']]
  micro = next(row for row in exported['runtimes'] if row['runtime'] == 'TFLite Micro')
  low, high = intervals.wilson(micro['correct'], micro['clips'])
  file, features, ram = exported['files']['int8'], exported['features'], exported['firmware_ram']
  front_end = exported['front_end']
  test = _test(exported['study']['test'])
  integers = ' and '.join(kind for kind in exported['files'] if kind != 'float32')
  widest = tables.widest(study)
  ends = [min(1.0, max(0.0, end)) for end in widest['ci95']] if widest else []
  spread = (
    f', 95 % interval {_percent(ends[0])} to {_percent(ends[1])} for {widest["about"]}'
    if ends
    else ''
  )
  lanes = f'{len(study["lanes"])} lane{"s" * (len(study["lanes"]) > 1)}'
  licence = _LICENCES.get(corpus['name'], 'your own; look up their licence')
  return f"""# {markdown(exported['name'])}

M3Net classifies {features['clip_seconds']:g} s of sound at {features['sample_rate']} Hz as one of
{len(corpus['classes'])} classes: {', '.join(map(markdown, corpus['classes']))}.

## Accuracy

- The int8 file in TFLite Micro: **{_percent(micro['accuracy'])}** of {micro['clips']} test clips
  (95 % interval {_percent(low)} to {_percent(high)} for these clips; Wilson).
- {_chosen(lane, results['select'])}
  Mean test accuracy of its variant over {lanes}: {_percent(study['mean'])}{spread}.
{test}- {tables.largest_class(results)}. Mean balanced accuracy over
  {lanes}: {_percent(study['balanced_accuracy'])}; macro F1: {_percent(study['macro_f1'])}.
- Protocol: {corpus['protocol']}; {leaks(corpus)},
  {corpus['test_clips_identical_to_train']} test clips are byte-identical to a training clip.
- Measured on this corpus only. Expect a lower accuracy with other microphones, rooms and voices.
  The model answers every sound with one of its classes, also a sound that belongs to none.
{_answers(exported['answers'])}
{_table(runtime_rows(exported))}

{accepted(exported)}

Agreement: clips with the same answer as in JAX. Worst class: the largest loss of accuracy on one
class.

{_robustness(measured, lane['variant'])}{_detection(detected, lane)}## Size

| | |
| --- | --- |
| parameters (as Keras counts them) | {study['parameters']['total']:,} |
| multiply-adds | {study['macs']:,} |
| int8 file | {file['bytes']:,} bytes |
| tensor arena, int8, TFLite Micro on a 64-bit computer | {file['arena']['total']:,} bytes |
| RAM of the C++ in src/, without stack | {sum(ram.values()):,} bytes: {_parts(ram)} |
| features for one answer | {front_end['frames']} frames, {front_end['macs']:,} multiply-adds |
| operators | {', '.join(file['operators'])} |
{_npu(exported['npu'])}
Calibration of {integers}: {len(exported['calibration'])} training clips, listed in export.json.

## Licence

- Training recordings: {licence}.
{_noise(noises)}  Check what that requires of a model trained on them.
- The C++ in this folder is part of m3net_jax, Apache-2.0. TFLite Micro is Apache-2.0.
"""


def _answers(rows: Sequence[dict[str, Any]]) -> str:
  said = '; '.join(
    f'{row["sound"]}: {markdown(row["class"])}'
    + (f' in {100 * row["share"]:.0f} % of clips' if row['share'] < 1 else '')
    + f' ({_percent(row["probability"])})'
    for row in rows
  )
  return f'- Where nothing is to be named, the int8 file says: {said}.\n'


def _noise(names: Sequence[str]) -> str:
  if not names:
    return ''
  some = markdown(background.some(names))
  return f'- Noise recordings mixed into them: {some}; look up their licence.\n'


def _chosen(lane: dict[str, Any], select: str) -> str:
  validation = _percent(lane['validation_accuracy'])
  if lane['best_of'] == 1:
    return (
      f'Its lane (validation accuracy {validation}) was the only one to choose from, or was '
      'selected by its seed.'
    )
  return (
    f'Its lane has the best validation {select.replace("_", " ")} of {lane["best_of"]} lanes '
    f'(validation accuracy {validation}). The test split was not used to select it.'
  )


def _robustness(measured: dict[str, Any] | None, variant: str) -> str:
  """The accuracy on changed test clips, as a section; '' if it was not measured."""
  if not measured:
    return ''
  rows = []
  for row in measured['conditions']:
    entry = row['variants'][variant]
    ends = tables.accuracy_interval(entry['ci95'])
    rows.append(f'| {row["text"]} | {100 * entry["mean"]:.2f} | {ends} |')
  notes = ' '.join(robustness.notes(measured))
  return (
    '## Noise, level and time\n\nTest accuracy on changed test clips, mean over the lanes of the '
    'variant, before conversion, with the widest\n95 % interval.\n\n'
    '| test clips | mean, % | 95 % interval |\n| --- | --- | --- |\n'
    + '\n'.join(rows)
    + f'\n\n{notes}\n\n'
  )


def _detection(detected: dict[str, Any] | None, lane: dict[str, Any]) -> str:
  """What the lane's detector finds in test streams, as a section; '' if it was not calibrated."""
  if not detected:
    return ''
  of_lane = [
    row
    for row in detected['lanes']
    if (row['variant'], row['seed']) == (lane['variant'], lane['seed'])
  ]
  if not of_lane:
    return ''
  tested = [stream for stream in detected['streams'] if stream['side'] == 'test']
  rows = []
  for stream, row in zip(tested, of_lane[0]['streams'], strict=True):
    low, high = intervals.wilson(row['hits'], row['words'])
    fewest, most = detections.per_hour_interval(row['false_alarms'], 3600 * stream['hours'])
    delay = '' if row['median_delay'] is None else f'{row["median_delay"]:.2f} s'
    rows.append(
      f'| {stream["snr_db"]:g} dB | {row["words"]:,} | {_percent(row["hit_rate"])} | '
      f'{_percent(low)} to {_percent(high)} | {row["wrong"]} | {row["per_hour"]:.1f} | '
      f'{fewest:.1f} to {most:.1f} | {delay} |'
    )
  settings = of_lane[0]['settings']
  chosen = ', '.join(
    f'{markdown(name)} {threshold / detected["one"]:.3f}'
    if threshold
    else f'{markdown(name)} never'
    for name, threshold in settings['thresholds'].items()
  )
  return (
    '## Streams\n\n'
    f'A window every {settings["hop_frames"]} frames, a mean of {settings["smooth"]}, at least '
    f'{settings["min_windows"]} in a row,\n{settings["refractory"]} windows of rest after an '
    f'event. Thresholds: {chosen}.\nThey were chosen on validation streams for at most '
    f'{detected["per_hour"]:g} false alarms an hour. This lane before\nconversion, on test '
    'streams; intervals are for other words (Wilson) and other streams (Poisson).\n\n'
    '| stream | words | found | 95 % interval | wrong names | false alarms / h | 95 % interval '
    '| delay |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n' + '\n'.join(rows) + '\n\n'
  )


def _test(test: dict[str, Any] | None) -> str:
  """The test of the variant against its baseline as a sentence; '' without a p-value."""
  if not test or test['p_value'] is None:
    return ''
  method = 'corrected t' if test['estimator'] == 'mean' else 'Wilcoxon'
  return (
    f'  Against {test["against"]}: {100 * test["difference"]:+.2f} points, '
    f'p = {tables.p_text(test["p_holm"])} ({method} over {test["n"]} pairs, Holm): '
    f'{tables.conclusion(test)}.\n'
  )


def _parts(ram: dict[str, int]) -> str:
  return ', '.join(
    f'{name}{" with headroom" * (name == "tensor arena")} {size:,}' for name, size in ram.items()
  )


def _table(rows: list[dict[str, str]]) -> str:
  lines = ['| ' + ' | '.join(rows[0]) + ' |', '|' + ' --- |' * len(rows[0])]
  return '\n'.join(lines + ['| ' + ' | '.join(row.values()) + ' |' for row in rows])


def _npu(estimates: list[dict[str, Any]]) -> str:
  if not estimates:
    return ''
  lines = [
    "\nEstimated by Arm's Vela, not measured:\n",
    '| accelerator | memory | ms per inference | SRAM (bytes) | operators on the CPU |',
    '| --- | --- | --- | --- | --- |',
  ]
  for row in estimates:
    if 'error' in row:
      lines.append(f'| {row["accelerator"]} | {row["error"]} | | | |')
      continue
    on_cpu = ', '.join(f'{count} {name}' for name, count in row['cpu_operators'].items()) or 'none'
    lines.append(
      f'| {row["accelerator"]} | {row["memory_mode"]} | {1000 * row["seconds"]:.3f} '
      f'| {row["sram_bytes"]:,} | {on_cpu} |'
    )
  return '\n'.join(lines) + '\n'


def _percent(fraction: float) -> str:
  return f'{100 * fraction:.2f} %'
