"""Detection in streams: made, calibrated, listened to, by the command and in memory."""

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from absl import flags

from data_prep import audio, files, mel
from data_prep.errors import UserError
from m3net_jax import api
from m3net_jax import detect as command
from m3net_jax.inference import (
  best_lane,
  classifier,
  detection,
  detector,
  stream_study,
  timeline,
)
from m3net_jax.reporting import detections as pictures
from m3net_jax.reporting import model_card, report
from m3net_jax.stats import detections
from tests.conftest import FEATURES


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
  folder = tmp_path_factory.mktemp('noise')
  rng = np.random.default_rng(0)
  for name in range(4):
    soundfile.write(folder / f'{name}.wav', 0.1 * rng.standard_normal(12000), 8000)
  return folder


@pytest.fixture(scope='module')
def study(trained, tmp_path_factory):
  """A copy, because calibration writes into it."""
  path = tmp_path_factory.mktemp('study') / 'study'
  shutil.copytree(trained.path, path)
  return api.open_study(path)


def run(*arguments):
  values = flags.FlagValues()
  command.define(values)
  values(['detect', *map(str, arguments)])
  command.main([], values)


@pytest.fixture(scope='module')
def folder(study, noise, tmp_path_factory):
  """Streams of two ratios."""
  path = tmp_path_factory.mktemp('streams') / 'made'
  run(
    f'--model={study.path}',
    f'--make_stream={path}',
    f'--noise_dir={noise}',
    '--snr_db=30,0',
    '--minutes=1',
  )
  return path


@pytest.fixture(scope='module')
def calibrated(study, folder):
  return study.calibrate(folder, 900.0)


def test_streams_hold_the_clips_of_their_side(folder, tones, trained):
  described = json.loads((folder / 'streams.json').read_text())
  assert [row['name'] for row in described['streams']] == [
    'validation_30dB.flac',
    'validation_0dB.flac',
    'test_30dB.flac',
    'test_0dB.flac',
  ]
  assert not set(described['noise']['validation']) & set(described['noise']['test'])
  split = trained.splits(tones)[0]
  for side in ('validation', 'test'):
    samples = audio.read(folder / f'{side}_30dB.flac', FEATURES.sample_rate)
    words = list(csv.DictReader((folder / f'{side}_30dB.csv').open()))
    own = tones.mels[getattr(split, side)].astype(np.float32)
    other = tones.mels[np.setdiff1d(np.arange(60), getattr(split, side))].astype(np.float32)
    for word in words[:5]:
      start = round(float(word['start']) * FEATURES.sample_rate)
      heard = mel.log_mel(samples[start : start + FEATURES.num_samples], FEATURES)
      # At 30 dB and another level, a clip is still most like itself.
      nearest = [
        min(np.square(heard - each - (heard - each).mean()).mean() for each in clips)
        for clips in (own, other)
      ]
      assert nearest[0] < nearest[1]


def test_streams_that_were_made_again_in_part_are_not_used(
  study, noise, folder, tmp_path, monkeypatch
):
  def interrupted(*_):
    raise KeyboardInterrupt

  shutil.copytree(folder, tmp_path / 'made')
  monkeypatch.setattr(stream_study.streams, 'write', interrupted)
  with pytest.raises(KeyboardInterrupt):
    study.make_streams(tmp_path / 'made', [noise], snr_db=[30], minutes=1)
  with pytest.raises(UserError, match='made: holds no streams.json'):
    study.calibrate(tmp_path / 'made')


def test_altered_labels_of_a_stream_are_not_measured(study, folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'made')
  labels = tmp_path / 'made' / 'test_0dB.csv'
  labels.write_text(labels.read_text().replace('low', 'high'))
  with pytest.raises(UserError, match='test_0dB.csv: was altered: make the streams again'):
    study.calibrate(tmp_path / 'made')


def test_windows_of_a_stream_are_clips_at_the_hop(study):
  model = study.classifier()
  samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
  settings = detector.default(model.spec.classes, FEATURES)._replace(hop_frames=3)
  (heard,) = detection.listen([model], samples, settings, 'noise')
  hop = 3 * FEATURES.hop_length
  starts = range(0, 5000 - FEATURES.num_samples + 1, hop)
  clips = [mel.log_mel(samples[s : s + FEATURES.num_samples], FEATURES) for s in starts]
  expected = detector.of_probabilities(model.probabilities(np.stack(clips)))
  assert heard.shape == expected.shape
  assert np.abs(heard.astype(int) - expected).max() <= 1


def test_every_lane_has_constants_and_figures(calibrated, study):
  assert [(lane['variant'], lane['seed']) for lane in calibrated['lanes']] == [
    ('full', 0),
    ('full', 1),
  ]
  quiet, _ = calibrated['variants']['full']
  assert quiet['name'] == 'test_30dB.flac'
  assert (
    quiet['hit_rate']['mean'] > 0.1
  )  # noise, which the lanes never heard, sounds as two classes
  rates = [lane['streams'][0]['hit_rate'] for lane in calibrated['lanes']]
  assert quiet['hit_rate']['mean'] == pytest.approx(np.mean(rates))
  assert quiet['every_window_per_hour'] > quiet['per_hour']['mean']
  # The widest interval is shown: two lanes on a minute, so seeds or the length of the stream.
  for key, other in (('hit_rate', 'seeds and words'), ('per_hour', 'streams')):
    ends = {row['over']: row['ci95'] for row in quiet[key]['intervals']}
    assert ends.keys() == {'seeds', other}
    assert quiet[key]['ci95'] == max(ends.values(), key=lambda pair: pair[1] - pair[0])
  alarms = np.mean([lane['streams'][0]['false_alarms'] for lane in calibrated['lanes']])
  ends = {row['over']: row['ci95'] for row in quiet['per_hour']['intervals']}
  assert ends['streams'] == pytest.approx(detections.per_hour_interval(alarms, 60.0))
  written = files.read_json(study.path / 'detection.json', 'fix')
  assert written == json.loads(json.dumps(calibrated))


def test_the_constants_are_those_of_the_validation_streams(calibrated, study, folder):
  """The figures of a lane are those of listening to the files with its constants."""
  for lane in calibrated['lanes']:
    model = study.classifier(seed=lane['seed'])
    assert model.spec.detector.to_json(model.spec.classes) == lane['settings']
    for row in lane['streams']:
      path = folder / row['name']
      found = api.listen(model, path, truth=path.with_suffix('.csv'))
      assert (found.score.hits, found.score.wrong, found.score.false_alarms) == (
        row['hits'],
        row['wrong'],
        row['false_alarms'],
      )
    for name in ('validation_30dB', 'validation_0dB'):
      path = folder / f'{name}.flac'
      found = api.listen(model, path, truth=path.with_suffix('.csv'))
      assert found.score.per_hour <= 900.0


def test_the_report_shows_it(calibrated, study):
  text = (study.path / 'report.md').read_text()
  assert 'Detection in streams' in text
  quiet = calibrated['variants']['full'][0]
  assert f'{100 * quiet["hit_rate"]["mean"]:.2f}' in text
  low, high = quiet['per_hour']['ci95']
  assert f'{max(0, low):.1f} to {high:.1f}' in text
  # The card is of one lane.
  lane = calibrated['lanes'][1]
  row = lane['streams'][0]
  low, high = detections.per_hour_interval(row['false_alarms'], 60.0)
  card = model_card._detection(calibrated, lane)
  assert f'| {row["per_hour"]:.1f} | {low:.1f} to {high:.1f} |' in card
  assert (study.path / 'figures' / 'detection.png').stat().st_size > 10_000
  page = (study.path / 'report.html').read_text()
  assert 'id="detection"' in page
  assert all(len(line) <= 79 for line in pictures.text(calibrated).splitlines())


@pytest.mark.parametrize('form', ['table', 'json', 'csv', 'audacity'])
def test_the_command_says_the_same_in_every_form(calibrated, study, folder, capsys, form):
  path = folder / 'test_30dB.flac'
  expected = api.listen(study.classifier(), path).rows()
  capsys.readouterr()
  run(f'--model={study.path}', f'--stream={path}', f'--format={form}')
  out = capsys.readouterr().out
  if form == 'json':
    read = [(e['time'], e['class'], e['probability']) for e in json.loads(out)['events']]
    assert read == expected
  elif form == 'csv':
    read = [(float(r['time']), r['class']) for r in csv.DictReader(io.StringIO(out))]
    assert read == [(pytest.approx(time, abs=1e-4), label) for time, label, _ in expected]
  elif form == 'audacity':
    read = [line.split('\t') for line in out.splitlines()]
    assert [(float(r[1]), r[2]) for r in read] == [
      (pytest.approx(time, abs=1e-4), label) for time, label, _ in expected
    ]
    assert all(float(r[1]) - float(r[0]) == pytest.approx(0.25, abs=2e-4) for r in read)
  else:
    assert len(out.splitlines()) == len(expected)


def test_false_alarms_become_clips(calibrated, study, folder, tmp_path, capsys):
  path = folder / 'test_0dB.flac'
  run(
    f'--model={study.path}',
    f'--stream={path}',
    f'--truth={path.with_suffix(".csv")}',
    '--threshold=0.3',
    f'--save_false_alarms={tmp_path / "alarms"}',
    f'--plot={tmp_path / "stream.png"}',
  )
  out = capsys.readouterr().out
  model = study.classifier()
  found = api.listen(model, path, threshold=0.3, truth=path.with_suffix('.csv'))
  assert f'{found.score.false_alarms} false alarms' in out
  clips = sorted((tmp_path / 'alarms').iterdir())
  assert len(clips) == found.score.false_alarms > 0
  first = found.score.alarms[0]
  clip = audio.read(clips[0], FEATURES.sample_rate)
  assert len(clip) == FEATURES.num_samples
  # The clip is the window that was wrong.
  label = found.events[first].label
  logits = model.logits(mel.log_mel(clip, FEATURES)[None])
  window = found.stored[found.events[first].window]
  assert logits.argmax() == window.argmax()
  assert label in range(len(model.spec.classes))
  assert (tmp_path / 'stream.png').stat().st_size > 10_000
  # Of a recording without words every event is one.
  run(
    f'--model={study.path}',
    f'--stream={path}',
    '--threshold=0.3',
    f'--save_false_alarms={tmp_path}/all',
  )
  assert len(list((tmp_path / 'all').iterdir())) == len(found.events)


def test_an_int8_model_gives_the_probabilities_of_firmware():
  class Micro:
    """Stored logits times the scale, as `runtimes.Model` returns them."""

    logits = np.array([[3, -7, 100], [-128, 127, 0]])

  spec = None
  scale = 0.0625
  model = classifier.Classifier(spec, lambda images: None, scale)
  model = type('Model', (), {'output_scale': scale, 'logits': lambda self, m: Micro.logits * scale})
  expected = detector.of_stored(Micro.logits, scale)
  assert np.array_equal(detection.stored(model(), None), expected)


def test_mistakes_are_one_line(calibrated, study, folder, noise, tmp_path, monkeypatch):
  path, made = folder / 'test_30dB.flac', str(folder)
  (tmp_path / 'labels.csv').write_text('start,end,label\n1,2,loud\n')
  (tmp_path / 'late.csv').write_text('start,end,label\n1,900,low\n')
  soundfile.write(tmp_path / 'one.wav', np.zeros(1), 8000)
  (tmp_path / 'single').mkdir()
  shutil.copy(noise / '0.wav', tmp_path / 'single')
  cases = [
    ([], 'none of them is given'),
    ([f'--stream={path}', f'--calibrate={made}'], '--stream and --calibrate given'),
    ([f'--stream={tmp_path}/none.wav'], 'none.wav: No such file'),
    ([f'--stream={tmp_path}/one.wav'], 'the stream has 0.00 s'),
    ([f'--stream={path}', f'--truth={tmp_path}/labels.csv'], "'loud' is none of the classes"),
    ([f'--stream={path}', f'--truth={tmp_path}/late.csv'], 'ends at 900 s'),
    ([f'--stream={path}', '--threshold=1.5'], '--threshold=1.5'),
    ([f'--stream={path}', '--plot=x.txt'], '--plot=x.txt'),
    ([f'--calibrate={tmp_path}'], 'holds no streams.json'),
    ([f'--make_stream={tmp_path}/s'], '--noise_dir'),
    ([f'--make_stream={tmp_path}/s', f'--noise_dir={tmp_path}/single'], 'one recording'),
    ([f'--make_stream={tmp_path}/s', f'--noise_dir={noise}', '--snr_db=ten'], '--snr_db=ten'),
  ]
  for arguments, message in cases:
    with pytest.raises(UserError, match=message.replace('(', r'\(')) as error:
      run(f'--model={study.path}', *arguments)
    assert '\n' not in str(error.value)
  assert not (tmp_path / 's').exists()
  bundle = Path(__file__).parents[2] / 'models' / 'digits'
  with pytest.raises(UserError, match='--calibrate is for a study'):
    run(f'--model={bundle}', f'--calibrate={made}')


def test_a_damaged_file_is_named(calibrated, study, tmp_path):
  copy = tmp_path / 'study'
  shutil.copytree(study.path, copy)
  (copy / 'detection.json').write_text('{"lanes": [{"variant": "full", "seed": 0}]}')
  with pytest.raises(UserError, match=r'detection\.json: has no checksum'):
    best_lane.load(api.open_study(copy)._workdir, seed=0)


def test_silence_has_no_event_and_no_picture_breaks(study, tmp_path):
  model = study.classifier()
  found = api.listen(model, np.zeros(4000, np.float32), threshold=1.0)
  assert detection.as_table(found) in ('array: no event\n',) or found.events
  timeline.write_events(tmp_path / 'p.png', found, np.zeros(4000, np.float32))
  report.write(study._workdir)


def test_a_specification_keeps_its_detector(calibrated, study):
  spec = study.classifier(seed=1).spec
  values = json.loads(json.dumps(spec.to_json()))
  assert classifier.ModelSpec.from_json(values) == spec
  assert values['detector'] == calibrated['lanes'][1]['settings']
  without = dataclasses.replace(spec, detector=None)
  assert 'detector' not in without.to_json()
  assert without.digest() != spec.digest()
