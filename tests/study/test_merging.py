"""Studies of some of the seeds, merged, are the study of all seeds, bit for bit; or one line."""

import dataclasses
import errno
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import m3net_jax as m3
from data_prep import files, store
from data_prep.errors import UserError
from m3net_jax.study import (
  arrays_file,
  checkpoint,
  complete,
  ingredients,
  merging,
  noise_bank,
  opening,
  recorded_splits,
  results,
  teacher,
  workdir,
)
from tests import small_study
from tests.conftest import optimised
from tests.study.conftest import share

CONFIG = dataclasses.replace(small_study.QUICK, num_epochs=3)
OWN = ('seconds', 'environments', 'compilations')  # of results.json, which may differ


@pytest.fixture(scope='module')
def clips(tones, tmp_path_factory):
  """A store of the tones with folds and some wrong labels, on disk."""
  folds = ([1] * 4 + [2] * 6 + [3] * 10) * 3
  labels = [tones.classes[label] for label in tones.labels]
  for i, label in zip((3, 11, 24, 37, 45, 58), ('low', 'middle', 'high', 'middle', 'high', 'low')):
    labels[i] = label
  rows = [
    store.ClipRow(path, label, '', fold, '', sha256, 0.0, 1.0, 0.25, 1.0, 100.0)
    for path, label, fold, sha256 in zip(tones.paths, labels, folds, tones.hashes)
  ]
  recordings = [store.RecordingRow(row.path, 1, 1, row.sha256, '') for row in rows]
  manifest = {
    'corpus': 'folder',
    'raw_dir': tones.manifest['raw_dir'],
    'features': tones.features.to_json(),
    'classes': tones.classes,
  }
  path = tmp_path_factory.mktemp('stores') / 'clips'
  store.write(path, manifest, tones.mels.shape, [tones.mels], rows, recordings)
  return store.load(path)


@pytest.fixture(scope='module', autouse=True)
def programs(made_programs):
  """Studies of equal programs share them."""
  with pytest.MonkeyPatch.context() as patch, optimised(False):
    share(made_programs, patch)
    yield


def train(clips, path, config):
  """Trains a study as the main command does, without its report."""
  found = opening.find(path, config, clips)
  shared = ingredients.obtain(found.begun, config, clips, found.splits)
  opening.write(found, clips, shared)
  complete.complete(found.study, clips, shared)
  return found.study


def jobs(clips, folder, config, *ranges):
  """Trains one study of all seeds, and one of each range; returns the folders of the latter."""
  paths = []
  for seeds in (config.seeds, *ranges):
    job = dataclasses.replace(config, first_seed=seeds.start, num_seeds=len(seeds))
    paths.append(train(clips, folder / f'seeds_{seeds.start}_{len(seeds)}', job).path)
  return paths


@pytest.fixture(scope='module')
def simple(clips, tmp_path_factory):
  """Two variants of one program: the folder of the study of four seeds, those of two jobs."""
  config = dataclasses.replace(CONFIG, variants=('plain', 'full'), num_seeds=4)
  whole, *parts = jobs(clips, tmp_path_factory.mktemp('simple'), config, range(2), range(2, 4))
  return whole, parts


def content_of(path):
  return {name: value for name, value in workdir.read(path).results().items() if name not in OWN}


def epochs_of(path):
  return [{**row, 'seconds': 0} for row in workdir.read(path).metrics()]


def times(path):
  return {file: file.stat().st_mtime_ns for file in path.rglob('*') if file.suffix != '.lock'}


def assert_merged(out, whole, parts):
  """The study in `out`, merged of `parts`, is that in `whole`, which trained all its seeds."""
  merged, alone = workdir.read(out), workdir.read(whole)
  each = [workdir.read(path) for path in parts]
  assert merged.finished and merged.config == alone.config
  assert merged.seed_ranges == [seeds for study in each for seeds in study.seed_ranges]
  assert merged._replace(path=whole, seed_ranges=alone.seed_ranges) == alone
  assert content_of(out) == content_of(whole)
  for name in ('seconds', 'compilations'):
    total = sum(study.results()[name] for study in each)
    assert merged.results()[name] == pytest.approx(total, abs=0.06)
  assert len(merged.results()['environments']) == 1  # of all parts
  predicted, expected = merged.predictions(), alone.predictions()
  assert list(predicted) == list(expected)
  jax.tree.map(np.testing.assert_array_equal, predicted, expected)
  assert epochs_of(out) == epochs_of(whole)
  for seed in merged.config.seeds:
    seconds = [row['seconds'] for row in merged.metrics() if row['seed'] == seed]
    assert seconds[-1] <= merged.results()['seconds'] + 0.06
  last = [row['seconds'] for row in merged.metrics() if row['seed'] == merged.config.seeds[-1]]
  assert min(last) > sum(study.results()['seconds'] for study in each[:-1]) - 0.06
  for name in ('splits.npz', 'noise.npz', 'teacher.npz'):
    assert (out / name).exists() == (whole / name).exists()
    if (out / name).exists():
      jax.tree.map(
        np.testing.assert_array_equal,
        arrays_file.read(out / name),
        arrays_file.read(whole / name),
      )
  num_splits = len(recorded_splits.read(whole).splits)
  for lane in results.tested(merged.results()):
    both = [
      checkpoint.restore_lane(study.config, study.seed_ranges, 3, num_splits, study.path, lane)
      for study in (merged, alone)
    ]
    jax.tree.map(np.testing.assert_array_equal, *(each._replace(split=0) for each in both))
  for folder in (out / 'checkpoints').iterdir():
    assert len(checkpoint.numbers(folder)) == 2


def merge(parts, out):
  """Merges studies as the function for notebooks does, without a report."""
  merging.write(merging.find(parts, out), out)


def test_two_jobs_are_the_study_of_all_seeds_and_go_on_as_it(simple, clips, tmp_path):
  whole, parts = simple
  before = [times(path) for path in parts]
  study = m3.merge_studies([m3.open_study(parts[1]), str(parts[0])], tmp_path / 'new' / 'out')
  assert_merged(study.path, whole, parts)
  assert before == [times(path) for path in parts]
  assert [path.name for path in study.path.parent.iterdir()] == ['out']
  assert not (study.path / '.study.lock').exists()
  assert study.lanes() == m3.open_study(whole).lanes()
  one, other = study.best_lane('full'), m3.open_study(whole).best_lane('full')
  assert one.name == other.name
  jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
  report = (study.path / 'report.md').read_text()
  assert f'--workdir={study.path}' in report and '--num_seeds=4' in report
  # The command of all seeds says that it is finished, and writes nothing.
  before = times(study.path)
  assert m3.train(clips, workdir=study.path, config=study.config).finished
  assert before == times(study.path)
  more = dataclasses.replace(study.config, num_seeds=6)
  for path in (study.path, whole_copy := shutil.copytree(whole, tmp_path / 'whole')):
    train(clips, path, more)
  assert content_of(study.path) == content_of(whole_copy)
  assert [row['seed'] for row in study.lanes()] == 2 * [0, 1, 2, 3, 4, 5]
  seconds = [row['seconds'] for row in study.metrics() if row['seed'] == 4]
  assert seconds[0] > max(row['seconds'] for row in study.metrics() if row['seed'] == 3)


def test_every_fold_and_a_job_whose_seeds_were_added(clips, tmp_path):
  config = dataclasses.replace(CONFIG, split='folds', first_seed=3, num_seeds=3)
  whole, first, last = jobs(clips, tmp_path, config, range(3, 4), range(5, 6))
  train(clips, first, dataclasses.replace(config, num_seeds=2))
  merge([last, first], tmp_path / 'out')
  assert_merged(tmp_path / 'out', whole, [first, last])
  assert workdir.read(tmp_path / 'out').seed_ranges == [range(3, 4), range(4, 5), range(5, 6)]


def test_a_split_of_every_seed_with_noise_and_a_teacher(clips, tmp_path):
  config = dataclasses.replace(CONFIG, split_seeds=True, num_seeds=2, first_seed=1)
  taught = train(clips, tmp_path / 'teacher', config)
  config = dataclasses.replace(config, noise=0.5, teacher=taught.path, teacher_weight=0.5)
  whole, *parts = jobs(clips, tmp_path, config, range(1, 2), range(2, 3))
  merge(parts, tmp_path / 'out')
  assert_merged(tmp_path / 'out', whole, parts)
  assert (tmp_path / 'out/teacher.npz').exists() and (tmp_path / 'out/noise.npz').exists()
  # Its last epoch, trained again, has the same teacher.
  (tmp_path / 'out/results.json').unlink()
  folder = tmp_path / 'out/checkpoints/no_ma_seeds_2-2'
  shutil.rmtree(folder / str(checkpoint.numbers(folder)[0]))
  train(clips, tmp_path / 'out', config)
  assert content_of(tmp_path / 'out') == content_of(whole)
  one, other = map(epochs_of, (tmp_path / 'out', whole))
  key = lambda row: (row['seed'], row['epoch'])
  assert sorted(one, key=key) == sorted(other, key=key)


def test_what_decides_no_lane_may_differ(simple, tmp_path):
  whole, parts = simple
  other = shutil.copytree(parts[1], tmp_path / 'other')
  rewrite(other, margin=3.0, lanes_at_once=2)
  study = workdir.read(other)
  workdir.write(study._replace(environments=({**study.environments[0], 'device': 'another'},)))
  merge([other, parts[0]], tmp_path / 'out')
  assert content_of(tmp_path / 'out') == content_of(whole)
  devices = [each['device'] for each in workdir.read(tmp_path / 'out').environments]
  assert devices == [study.environments[0]['device'], 'another']


def test_a_study_without_metrics_is_merged_without_learning_curves(simple, tmp_path, capsys):
  whole, parts = simple
  other = shutil.copytree(parts[1], tmp_path / 'other')
  (other / 'metrics.jsonl').unlink()
  merge([parts[0], other], tmp_path / 'out')
  assert f'{other}: has no metrics.jsonl' in capsys.readouterr().err
  assert content_of(tmp_path / 'out') == content_of(whole)
  assert not (tmp_path / 'out/metrics.jsonl').exists() and not workdir.read(other).metrics()


def test_a_store_that_only_one_study_finds_is_enough(simple, clips, tmp_path):
  """As if the jobs ran on computers of their own, and their folders were copied to one."""
  whole, parts = simple
  moved = tmp_path / 'stores' / 'moved'
  shutil.copytree(clips.path, moved)
  for number, path in enumerate(parts):
    shutil.copytree(path, tmp_path / str(number))
  first, second = (workdir.read(tmp_path / str(number)) for number in range(2))
  content = files.read_json(first.path / 'config.json', '')
  content |= {'store': '/nowhere', 'store_from_here': 'nowhere'}
  files.write_json(first.path / 'config.json', content)
  workdir.write(second._replace(store=moved))
  merge([first.path, second.path], tmp_path / 'out')
  assert content_of(tmp_path / 'out') == content_of(whole)
  assert workdir.read(tmp_path / 'out').store == moved
  shutil.rmtree(moved)
  shutil.rmtree(tmp_path / 'out')
  with pytest.raises(UserError, match='/nowhere: the store of .*/0 is not there'):
    merge([first.path, second.path], tmp_path / 'out')


def rewrite(path, **settings):
  """Changes settings of a study's config.json."""
  study = workdir.read(path)
  changed = dataclasses.replace(study.config, **settings)
  ranges = [changed.seeds] if changed.seeds != study.config.seeds else study.seed_ranges
  workdir.write(study._replace(config=changed, seed_ranges=ranges))


def other_splits(path):
  recorded = recorded_splits.read(path)
  (split,) = recorded.splits
  swapped = split._replace(train=split.test, test=split.train)
  recorded_splits.write(path, [swapped], workdir.read(path).load_store())


def other_store(path):
  study = workdir.read(path)
  workdir.write(study._replace(store_sha256='0' * 64))


def cut(name):
  """Damages a file: the second half of it is gone."""

  def damage(path):
    (file,) = path.glob(name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

  return damage


def without_lanes(path):
  study = workdir.read(path)
  answers = study.predictions()
  answers.pop('plain/random/3')
  study.write_predictions(answers)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda path: shutil.rmtree(path), 'holds no study'),
    (lambda path: (path / 'results.json').unlink(), r'is not finished \(no results.json\)'),
    (
      lambda path: workdir.write(
        (study := workdir.read(path))._replace(
          config=dataclasses.replace(study.config, num_seeds=4),
          seed_ranges=[range(2, 4), range(4, 6)],
        )
      ),
      'other: seeds 4 to 5 are not finished: run its command again, or with --num_seeds=2 to give',
    ),
    (
      lambda path: rewrite(path, batch_size=10),
      'other: has batch_size=10, .*seeds_0_2 has 12: give studies with the same settings',
    ),
    (
      lambda path: rewrite(path, variants=('plain',)),
      'other: has variants=plain, .*seeds_0_2 has plain,full: give',
    ),
    (
      lambda path: rewrite(path, sweep=('learning_rate=0.01,0.02',)),
      'other: is a sweep, whose setting .* train the chosen setting by its flags',
    ),
    (other_store, r'other: was trained on another store \(.*\) than .*seeds_0_2'),
    (other_splits, 'other/splits.npz: has other clips on its sides than .*seeds_0_2/splits.npz'),
    (cut('config.json'), 'other/config.json: cannot be read'),
    (cut('results.json'), 'other/results.json: cannot be read'),
    (cut('predictions.npz'), 'other/predictions.npz: cannot be read'),
    (cut('splits.npz'), 'other/splits.npz: cannot be read'),
    (cut('metrics.jsonl'), 'other/metrics.jsonl: the rows of .* are not those of the epochs'),
    (cut('checkpoints/*/12/default/_METADATA'), 'checkpoints/plain.full_seeds_2-3/12: is damaged'),
    (lambda path: shutil.rmtree(path / 'checkpoints'), 'full_seeds_2-3: holds no checkpoint'),
    (without_lanes, 'other/predictions.npz: is not of the lanes of results.json: delete results'),
  ],
  ids=lambda value: None if callable(value) else value[:40],
)
def test_a_study_that_cannot_be_merged_is_named_in_one_line(simple, tmp_path, change, message):
  _, (first, second) = simple
  other = shutil.copytree(second, tmp_path / 'studies' / 'other')
  change(other)
  with pytest.raises(UserError, match=message) as caught:
    m3.merge_studies([first, other], tmp_path / 'out')
  assert '\n' not in str(caught.value)
  assert [path.name for path in tmp_path.iterdir()] == ['studies']


def test_seeds_must_follow_one_another(simple, tmp_path):
  """Of seeds 0 to 1 and 2 to 3, with copies that say that they have others."""
  _, (first, second) = simple
  copy = shutil.copytree(first, tmp_path / 'copy')
  with pytest.raises(UserError, match='seeds 0 to 1, which .* has too: give one of them alone'):
    merge([first, second, copy], tmp_path / 'out')

  def moved(start):
    """A copy of the second study with later or earlier seeds."""
    path = shutil.copytree(second, tmp_path / f'from {start}')
    rewrite(path, first_seed=start)
    content = workdir.read(path).results()
    for variant in content['variants'].values():
      for lane in variant['lanes']:
        lane['seed'] += start - 2
    files.write_json(path / 'results.json', content)
    return path

  with pytest.raises(UserError, match='from 1: has seed 1, which .*seeds_0_2 has too'):
    merge([first, moved(1)], tmp_path / 'out')
  with pytest.raises(UserError) as caught:
    merge([first, far := moved(5)], tmp_path / 'out')
  assert str(caught.value) == (
    f'seeds 2 to 4: missing between {first} and {far}: give the study that has them, or train it '
    'with --first_seed=2 --num_seeds=3'
  )
  with pytest.raises(UserError, match='^seed 4: missing between .*seeds_2_2 and .* --num_seeds=1$'):
    merge([far, second, first], tmp_path / 'out')


def test_which_studies_and_where_to(simple, tmp_path):
  _, (first, second) = simple
  out = tmp_path / 'out'
  for paths, message in (
    ([], 'no study: a merge needs two studies or more: python -m m3net_jax.merge WORKDIR'),
    ([first], f'{first}: a merge needs two studies or more'),
    (first, f'{first}: a merge needs two studies or more'),
    ([first, second, first / '.'], f'{first}: is named twice: name each study once'),
  ):
    with pytest.raises(UserError, match=message):
      m3.merge_studies(paths, out)
  (tmp_path / 'link').symlink_to(second)
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'thesis.tex').write_text('mine')
  before = times(first), times(second), set(tmp_path.rglob('*'))
  for place, message in (
    (second, 'is, or is in, one of the studies to merge'),
    (tmp_path / 'link', 'is, or is in, one of the studies'),
    (first / 'merged', 'is, or is in, one of the studies'),
    (tmp_path / 'file', 'is a file: give a folder'),
    (tmp_path / 'full', 'is not empty: give a new folder'),
  ):
    with pytest.raises(UserError, match=f'--workdir={place}: {message}'):
      m3.merge_studies([first, second], place)
  assert before == (times(first), times(second), set(tmp_path.rglob('*')))
  out.mkdir()
  (out / '.study.lock').write_text('')  # left by a command that was killed
  merge([first, second], out)
  with pytest.raises(UserError, match='out: is not empty: give a new folder'):
    merge([first, second], out)


@pytest.mark.parametrize('name', ['noise.npz', 'teacher.npz'])
def test_noise_and_teacher_must_be_the_same(simple, tmp_path, name):
  _, parts = simple
  studies = []
  for number, path in enumerate(parts):
    studies.append(shutil.copytree(path, tmp_path / str(number)))
    rewrite(studies[-1], noise=0.5, teacher='teacher', teacher_weight=0.5)
    parts_of = {'noise.npz': 0, 'teacher.npz': 0} | {name: number}
    shape = workdir.read(path).features.shape
    noise = np.full((2, *shape), parts_of['noise.npz'], np.float16)
    noise_bank.write(studies[-1], noise_bank.NoiseBank(noise, np.array(['a']), np.array([''])))
    logits = np.full((60, 1, 3), parts_of['teacher.npz'], np.float32)
    teacher.write(studies[-1], teacher.Answers(logits, np.array(['random'])))
  flag = {'noise.npz': '--noise_dir', 'teacher.npz': '--teacher'}[name]
  with pytest.raises(UserError, match=f'1/{name}: is not that of .*0: .* with the same {flag}$'):
    merge(studies, tmp_path / 'out')
  (studies[1] / name).unlink()
  with pytest.raises(UserError, match=f'1/{name}: is missing'):
    merge(studies, tmp_path / 'out')


@pytest.mark.parametrize('name', ['results.json', 'config.json', 'manifest.ocdbt'])
def test_a_full_disk_leaves_nothing(simple, tmp_path, monkeypatch, name):
  write_bytes = files.write_bytes

  def full(path, content):
    if path.name == name:
      raise OSError(errno.ENOSPC, 'No space left on device', str(path))
    write_bytes(path, content)

  monkeypatch.setattr(files, 'write_bytes', full)
  with pytest.raises(OSError) as caught:
    m3.merge_studies(simple[1], tmp_path / 'out')
  assert caught.value.errno == errno.ENOSPC
  assert Path(caught.value.filename) == tmp_path / 'out'
  assert not list(tmp_path.iterdir())
