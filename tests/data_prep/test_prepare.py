import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import pytest

from data_prep import compute, mel, store
from data_prep import prepare as module
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.prepare import prepare
from tests.data_prep.conftest import write_tone

FEATURES = Features(sample_rate=8000, clip_seconds=0.4, n_fft=256, hop_length=128, n_mels=20)


@pytest.fixture
def computed(monkeypatch) -> list[str]:
  """Paths of the clips whose features were computed, in order."""
  paths, original = [], compute.clip

  def compute_one(root, key, features, tables):
    paths.append(key[0])
    return original(root, key, features, tables)

  monkeypatch.setattr(compute, 'clip', compute_one)
  return paths


def names(folder: Path) -> set[str]:
  """Names of the entries of a folder except locks."""
  return {path.name for path in folder.iterdir() if not path.name.endswith('.lock')}


def test_arrays_are_those_of_librosa(folder_corpus, tmp_path):
  loaded = store.load(prepare('folder', folder_corpus, tmp_path / 'stores', FEATURES))
  assert loaded.classes == ('high', 'low') and loaded.labels.tolist() == [0] * 4 + [1] * 4
  for path, array in zip(loaded.paths, loaded.mels):
    samples, _ = librosa.load(folder_corpus / path, sr=8000)
    samples = librosa.util.fix_length(samples, size=3200)
    power = librosa.feature.melspectrogram(y=samples, sr=8000, n_fft=256, hop_length=128, n_mels=20)
    np.testing.assert_allclose(array, librosa.power_to_db(power), rtol=1e-3, atol=0.01)
  assert names(tmp_path / 'stores') == {loaded.path.name}


def test_several_processes_make_the_same_store(folder_corpus, tmp_path, monkeypatch):
  one = store.load(prepare('folder', folder_corpus, tmp_path / 'one', FEATURES, num_processes=1))
  monkeypatch.setattr(module, '_MAX_SERIAL', 0)
  monkeypatch.setattr(module, 'CHUNK', 2)
  two = store.load(prepare('folder', folder_corpus, tmp_path / 'two', FEATURES, num_processes=2))
  assert one.manifest == two.manifest
  np.testing.assert_array_equal(one.mels, two.mels)


def test_a_second_time_nothing_is_computed(folder_corpus, tmp_path, computed):
  first = prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  before = os.stat(first / 'mels.npy').st_ino
  computed.clear()
  assert prepare('folder', folder_corpus, tmp_path / 's', FEATURES) == first
  assert computed == [] and os.stat(first / 'mels.npy').st_ino == before
  for path in folder_corpus.rglob('*.wav'):
    os.utime(path, (1, 1))  # the bytes stay the same
  shutil.move(folder_corpus, tmp_path / 'moved')
  assert prepare('folder', tmp_path / 'moved', tmp_path / 's', FEATURES) == first
  assert computed == [] and os.stat(first / 'mels.npy').st_ino == before
  shutil.rmtree(tmp_path / 'moved')
  assert prepare('folder', tmp_path / 'moved', tmp_path / 's', FEATURES) == first


def test_a_changed_corpus_is_noticed_and_only_the_changes_are_computed(
  folder_corpus, tmp_path, computed
):
  path = prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  old = store.load(path)
  computed.clear()
  write_tone(folder_corpus / 'low' / '1.wav', 999.0)
  write_tone(folder_corpus / 'low' / '9.wav', 400.0)
  (folder_corpus / 'high' / '0.wav').unlink()
  new = store.load(prepare('folder', folder_corpus, tmp_path / 's', FEATURES))
  assert sorted(computed) == ['low/1.wav', 'low/9.wav']
  assert 'high/0.wav' not in new.paths and 'low/9.wav' in new.paths
  fresh = store.load(prepare('folder', folder_corpus, tmp_path / 't', FEATURES))
  np.testing.assert_array_equal(new.mels, fresh.mels)
  assert new.manifest == fresh.manifest
  changed = [
    path
    for path, array, digest in zip(old.paths, old.mels, old.hashes)
    if path in new.paths and digest != new.hashes[new.paths.tolist().index(path)]
  ]
  assert changed == ['low/1.wav']


def test_an_interrupted_preparation_continues(folder_corpus, tmp_path, monkeypatch, computed):
  monkeypatch.setattr(module, 'CHUNK', 2)
  original = compute.clip

  def compute_one(root, key, features, tables):
    if len(computed) == 5:
      raise KeyboardInterrupt
    return original(root, key, features, tables)

  monkeypatch.setattr(compute, 'clip', compute_one)
  with pytest.raises(KeyboardInterrupt):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES, num_processes=1)
  (partial,) = names(tmp_path / 's')
  # Like a crash: a row without its line, and half a line.
  with (
    open(tmp_path / 's' / partial / 'rows.bin', 'ab') as rows,
    open(tmp_path / 's' / partial / 'rows.jsonl', 'a') as lines,
  ):
    rows.write(b'123')
    lines.write('[["low/')
  write_tone(folder_corpus / 'high' / '0.wav', 1234.5)  # a clip that was done
  monkeypatch.setattr(compute, 'clip', original)
  complete = store.load(prepare('folder', folder_corpus, tmp_path / 't', FEATURES))
  computed.clear()
  continued = store.load(prepare('folder', folder_corpus, tmp_path / 's', FEATURES))
  # Two chunks of two clips were done, and one of these recordings has changed.
  assert len(computed) == 5
  np.testing.assert_array_equal(continued.mels, complete.mels)
  assert continued.manifest == complete.manifest and names(tmp_path / 's') == {continued.path.name}


def test_unreadable_recordings_stop_it_unless_they_are_skipped(folder_corpus, tmp_path, computed):
  for name in 'abcde':
    (folder_corpus / 'low' / f'{name}.wav').write_bytes(b'' if name == 'a' else b'RIFF nonsense')
  with pytest.raises(
    UserError,
    match=r'5 of 13 recordings cannot be decoded: low/a.wav \(empty file\), .* and 2 more; '
    r'all are listed in .*unreadable.txt: .*--skip_unreadable',
  ) as error:
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  listing = Path(re.search(r'listed in (.*?unreadable.txt)', str(error.value)).group(1))
  assert [line.split('\t')[0] for line in listing.read_text().splitlines()] == [
    f'low/{name}.wav' for name in 'abcde'
  ]
  assert not [
    name for name in names(tmp_path / 's') if not name.startswith('.') and name != listing.name
  ]
  computed.clear()
  loaded = store.load(
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES, skip_unreadable=True)
  )
  assert len(computed) == 5  # the readable clips are kept from the first run
  assert (
    len(loaded.labels) == 8
    and len(loaded.manifest['skipped']) == 5
    and loaded.manifest['num_recordings'] == 13
  )
  assert not listing.exists()
  with pytest.raises(UserError, match='5 of 13 recordings cannot be decoded'):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  for name in 'abcde':
    write_tone(folder_corpus / 'low' / f'{name}.wav')
  assert (
    store.load(prepare('folder', folder_corpus, tmp_path / 's', FEATURES)).manifest['skipped'] == {}
  )


def test_a_class_that_skipping_leaves_too_small_is_refused(folder_corpus, tmp_path):
  for name in '12':
    (folder_corpus / 'low' / f'{name}.wav').write_bytes(b'x')
  with pytest.raises(
    UserError, match=r'without its 2 unreadable recordings: fewer than 3 clips in low \(2\)'
  ):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES, skip_unreadable=True)


def test_mistakes(folder_corpus, tmp_path):
  with pytest.raises(
    UserError, match='--corpus=nonsense: not known; known are synthetic_commands, '
  ):
    prepare('nonsense', folder_corpus, tmp_path / 's', FEATURES)
  with pytest.raises(UserError, match='absent is not there'):
    prepare('folder', tmp_path / 'absent', tmp_path / 's', FEATURES)
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match='empty has no recordings'):
    prepare('folder', tmp_path / 'empty', tmp_path / 's', FEATURES)
  for number in (2, 3):
    (folder_corpus / 'low' / f'{number}.wav').unlink()
  with pytest.raises(UserError, match=r'fewer than 3 clips in low \(2\)'):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  with pytest.raises(UserError, match='urbansounddataset.weebly.com'):
    prepare('urbansound8k', tmp_path / 'empty', tmp_path / 's', FEATURES, download=True)


@pytest.fixture
def other_corpus(tmp_path):
  """Another folder of one's own, with other recordings."""
  for label in 'ab':
    for number in range(3):
      write_tone(tmp_path / 'other' / label / f'{number}.wav', 500 + number)
  return tmp_path / 'other'


def test_two_folders_of_ones_own_have_two_stores(folder_corpus, other_corpus, tmp_path, computed):
  prepare_one = lambda folder: prepare('folder', folder, tmp_path / 's', FEATURES)
  first, second = prepare_one(folder_corpus), prepare_one(other_corpus)
  assert second == first.with_name(f'{first.name}-2')
  assert store.load(first).classes == ('high', 'low') and store.load(second).classes == ('a', 'b')
  computed.clear()
  assert (prepare_one(folder_corpus), prepare_one(other_corpus)) == (first, second)
  # A copy has the same store until it changes.
  copy = shutil.copytree(folder_corpus, tmp_path / 'copy')
  assert prepare_one(copy) == first and computed == []
  write_tone(copy / 'low' / '9.wav', 400.0)
  third = prepare_one(copy)
  assert third.name == f'{first.name}-3' and len(store.load(third).labels) == 9
  assert prepare_one(folder_corpus) == first and len(store.load(first).labels) == 8
  # A folder that has moved takes its store along, though it has changed since.
  shutil.move(other_corpus, tmp_path / 'moved')
  write_tone(tmp_path / 'moved' / 'a' / '9.wav', 400.0)
  assert prepare_one(tmp_path / 'moved') == second and len(store.load(second).labels) == 7


def test_an_unfinished_store_of_another_folder_is_left_alone(
  folder_corpus, tmp_path, monkeypatch, computed
):
  """Two folders whose recordings have the same names, sizes and times."""
  other = shutil.copytree(folder_corpus, tmp_path / 'other')
  for path in sorted(other.rglob('*.wav')):
    write_tone(path, 700.0)
    times = (folder_corpus / path.relative_to(other)).stat().st_mtime_ns
    os.utime(path, ns=(times, times))
  monkeypatch.setattr(module.store, 'write', lambda *_: 1 / 0)
  for name in 's', 'u':
    with pytest.raises(ZeroDivisionError):
      prepare('folder', folder_corpus, tmp_path / name, FEATURES)
  monkeypatch.undo()
  second = store.load(prepare('folder', other, tmp_path / 's', FEATURES))
  alone = store.load(prepare('folder', other, tmp_path / 't', FEATURES))
  np.testing.assert_array_equal(second.mels, alone.mels)
  assert second.path.name == f'{alone.path.name}-2'
  first = prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  assert first.name == alone.path.name
  # If that folder is gone, its unfinished store is, too.
  shutil.rmtree(folder_corpus)
  only = store.load(prepare('folder', other, tmp_path / 'u', FEATURES))
  np.testing.assert_array_equal(only.mels, alone.mels)
  assert only.path.name == alone.path.name


@pytest.mark.parametrize('corpus', ['folder', 'fsdd'])
def test_a_mistyped_folder_never_takes_the_store_of_another(corpus, tmp_path):
  for number in range(3):
    for digit in range(10):
      name = f'{digit}_jackson_{number}.wav' if corpus == 'fsdd' else f'{digit}/{number}.wav'
      write_tone(tmp_path / 'mine' / 'recordings' / name, 300.0 + 40 * digit, 8000, 0.2)
  path = prepare(corpus, tmp_path / 'mine', tmp_path / 's', FEATURES)
  made_from = store.read_manifest(path)['raw_dir']
  with pytest.raises(UserError, match=f'is not there, and .* was made from {made_from}: correct'):
    prepare(corpus, tmp_path / 'mien', tmp_path / 's', FEATURES)
  shutil.rmtree(tmp_path / 'mine')
  assert prepare(corpus, made_from, tmp_path / 's', FEATURES) == path


def test_recordings_that_moved_are_found_by_those_who_read_the_store(folder_corpus, tmp_path):
  path = prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  before = store.load(path).sha256
  shutil.move(folder_corpus, tmp_path / 'moved')
  assert prepare('folder', tmp_path / 'moved', tmp_path / 's', FEATURES) == path
  loaded = store.load(path)
  assert loaded.manifest['raw_dir'] == str(tmp_path / 'moved') and loaded.sha256 == before


def test_an_altered_store_is_refused(folder_corpus, tmp_path):
  path = prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  with open(path / 'mels.npy', 'ab') as file:
    file.write(b'x')
  with pytest.raises(UserError, match='mels.npy has .* bytes'):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES)


def test_a_segment_is_the_part_of_its_recording(tmp_path):
  write_tone(tmp_path / 'raw' / 'long.wav', 500.0, 8000, 3.0)
  rows = [
    f'long.wav,{label},{start},{gain}'
    for label in 'ab'
    for start, gain in ((0, 1), (0.5, 0.5), (2.0, 0))
  ]
  (tmp_path / 'raw' / 'clips.csv').write_text('\n'.join(['path,label,start,gain', *rows]))
  loaded = store.load(prepare('csv', tmp_path / 'raw', tmp_path / 's', FEATURES))
  samples, _ = librosa.load(tmp_path / 'raw' / 'long.wav', sr=8000)
  for clip, array in zip(store.read_clips(loaded.path), loaded.mels):
    part = samples[round(clip.start * 8000) :][:3200] * np.float32(clip.gain)
    np.testing.assert_allclose(array, mel.log_mel(part, FEATURES), rtol=1e-3)
  assert (
    loaded.manifest['num_recordings'] == 1
    and len(loaded.labels) == 6
    and not loaded.manifest['longer']
  )
  # The path of the csv file names the same corpus, also the second time.
  for _ in range(2):
    assert prepare('csv', tmp_path / 'raw' / 'clips.csv', tmp_path / 's', FEATURES) == loaded.path


def test_two_lists_in_one_folder_have_two_stores(folder_corpus, tmp_path):
  for name, classes in (('a', 'xy'), ('b', 'yx')):
    rows = [
      f'{label}/{take}.wav,{classes[label == "low"]}'
      for label in ('low', 'high')
      for take in '0123'
    ]
    (folder_corpus / f'{name}.csv').write_text('\n'.join(['path,label', *rows]))
  prepared = lambda raw_dir: prepare('csv', raw_dir, tmp_path / 's', FEATURES, num_processes=1)
  first, second = (prepared(folder_corpus / f'{name}.csv') for name in 'ab')
  assert first != second and prepared(folder_corpus / 'a.csv') == first
  moved = folder_corpus.rename(tmp_path / 'moved')
  assert [prepared(moved / f'{name}.csv') for name in 'ba'] == [second, first]
  shutil.rmtree(moved)
  assert prepared(moved / 'b.csv') == second
  with pytest.raises(UserError, match=r'ab\.csv is not there, and .* was made from .*a\.csv'):
    prepared(moved / 'ab.csv')


def test_strange_names(tmp_path):
  for label in ('größe', '日本語'):
    for name in ('mit Leerzeichen.wav', 'a,"b".wav', os.fsdecode(b'\xff.wav'), 'line\nbreak.wav'):
      write_tone(tmp_path / 'raw' / label / name)
  loaded = store.load(prepare('folder', tmp_path / 'raw', tmp_path / 's', FEATURES))
  assert loaded.classes == ('größe', '日本語')
  assert {Path(path).name for path in loaded.paths} == {
    'mit Leerzeichen.wav',
    'a,"b".wav',
    '\udcff.wav',
    'line\nbreak.wav',
  }
  assert prepare('folder', tmp_path / 'raw', tmp_path / 's', FEATURES) == loaded.path


def test_a_killed_command_continues(tmp_path):
  for label in 'ab':
    write_tone(tmp_path / 'raw' / label / '0.wav', seconds=4.0, rate=44100)
    for number in range(1, 300):
      os.link(tmp_path / 'raw' / label / '0.wav', tmp_path / 'raw' / label / f'{number}.wav')
  command = [
    sys.executable,
    '-m',
    'data_prep.main',
    '--corpus=folder',
    f'--raw_dir={tmp_path / "raw"}',
    f'--store_dir={tmp_path / "s"}',
    '--num_processes=2',
  ]
  done = 0
  for signal_number in (signal.SIGKILL, signal.SIGINT):
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while (
      process.poll() is None
      and sum(
        len(path.read_bytes().splitlines())
        for path in (tmp_path / 's').glob('.*.partial/rows.jsonl')
      )
      <= done
    ):
      time.sleep(0.01)
    process.send_signal(signal_number)
    # Reads to the end of the pipe: the workers of a killed command, which also have it, have ended.
    _, output = process.communicate(timeout=30)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal_number)
    assert 'Traceback' not in output and f'{done} are done already' in output or not done
    assert not [name for name in names(tmp_path / 's') if not name.startswith('.')]
    (lines,) = (tmp_path / 's').glob('.*.partial/rows.jsonl')
    done = lines.read_bytes().count(b'\n')
  again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
  assert f'{600 - done} clips, {done} are done already' in again.stderr
  assert len(store.load(again.stdout.strip()).labels) == 600


def test_a_clip_that_starts_after_the_end(tmp_path):
  write_tone(tmp_path / 'raw' / 'x.wav')
  (tmp_path / 'raw' / 'clips.csv').write_text(
    'path,label,start\n'
    + ''.join(f'x.wav,{name},{start}\n' for name in 'ab' for start in (0, 0.1, 9))
  )
  with pytest.raises(UserError, match='x.wav .a clip starts at 9 s, after its end.'):
    prepare('csv', tmp_path / 'raw', tmp_path / 's', FEATURES)


def test_a_recording_under_two_labels_is_said(folder_corpus, tmp_path, capsys):
  shutil.copy(folder_corpus / 'high' / '0.wav', folder_corpus / 'low' / 'copy.wav')
  prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  said = capsys.readouterr().err
  assert (
    '1 recordings are there under two labels, such as high/0.wav (high) and low/copy.wav' in said
  )


def test_clips_of_a_recording_are_computed_together(monkeypatch):
  monkeypatch.setattr(module, 'CHUNK', 4)
  monkeypatch.setattr(module, '_LARGEST_CHUNK', 6)
  keys = [(f'{number % 3}.wav', float(number), 1.0) for number in range(24)]
  keys += [(f'short {number}.wav', 0.0, 1.0) for number in range(9)]
  chunks = list(module._chunks(keys))
  assert sorted(key for chunk in chunks for key in chunk) == sorted(keys)
  assert [len({path for path, *_ in chunk}) for chunk in chunks] == [1, 2, 2, 3, 4, 3]
  assert [len(chunk) for chunk in chunks] == [6, 8, 8, 4, 4, 3]


def test_silence_is_cut_and_false_alarms_are_negatives(folder_corpus, tmp_path, monkeypatch):
  """A noise recording of another rate, clips as `detect` saves them, and an unreadable noise."""
  for number in range(3):
    write_tone(folder_corpus / '_unknown_' / f'stream_{number:04}.40s.wav', 900.0, 16000, 1.0)
  for name, rate in (('long', 44100), ('other', 8000)):
    write_tone(folder_corpus / '_noise_' / f'{name}.wav', 50.0, rate, 20.0)
  decoded, original = [], compute.audio.decode
  monkeypatch.setattr(compute.audio, 'decode', lambda data: (decoded.append(1), original(data))[1])
  options = {'num_processes': 1, 'silence_clips': 30}
  loaded = store.load(prepare('folder', folder_corpus, tmp_path / 's', FEATURES, **options))
  assert loaded.classes == ('_silence_', '_unknown_', 'high', 'low')
  assert len(decoded) == 4 + 4 + 3 + 2
  assert loaded.manifest['longer'] == 11 and loaded.manifest['silence_clips'] == 30
  samples = {
    f'_noise_/{name}.wav': librosa.load(folder_corpus / '_noise_' / f'{name}.wav', sr=8000)[0]
    for name in ('long', 'other')
  }
  rows = store.read_clips(loaded.path)
  silence = [i for i, row in enumerate(rows) if row.label == '_silence_']
  assert len(silence) == 30 and len({rows[i].start for i in silence}) > 25
  for i in silence:
    first = round(8000 * rows[i].start)
    power = librosa.feature.melspectrogram(
      y=rows[i].gain * samples[rows[i].path][first : first + 3200],
      sr=8000,
      n_fft=256,
      hop_length=128,
      n_mels=20,
    )
    np.testing.assert_allclose(loaded.mels[i], librosa.power_to_db(power), rtol=1e-3, atol=0.02)
  decoded.clear()
  (folder_corpus / '_noise_' / 'bad.wav').write_bytes(b'RIFF')
  with pytest.raises(UserError, match='1 of 14 recordings cannot be decoded: _noise_/bad.wav'):
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES, **options)
  loaded = store.load(
    prepare('folder', folder_corpus, tmp_path / 's', FEATURES, skip_unreadable=True, **options)
  )
  assert list(loaded.manifest['skipped']) == ['_noise_/bad.wav'] and len(loaded.labels) < 41


def test_other_numbers_of_silent_clips_keep_what_is_computed(
  folder_corpus, tmp_path, computed, capsys
):
  write_tone(folder_corpus / '_noise_' / 'long.wav', seconds=9.0)
  prepare('folder', folder_corpus, tmp_path / 's', FEATURES)
  assert len(computed) == 12 and '4 clips of _silence_ are cut' in capsys.readouterr().err
  path = prepare('folder', folder_corpus, tmp_path / 's', FEATURES, silence_clips=7)
  assert len(computed) == 15 and 'clips, labels or parts differ' in capsys.readouterr().err
  prepare('folder', folder_corpus, tmp_path / 's', FEATURES, silence_clips=0)
  assert len(computed) == 15 and store.load(path).classes == ('high', 'low')
