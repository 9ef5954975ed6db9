import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep import corpora, store
from data_prep.corpora import base, speech_commands, speech_commands_12, urbansound8k
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.prepare import prepare
from tests.data_prep.conftest import write_tone


def touch(root: Path, *paths: str) -> None:
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b'')


def by_path(corpus) -> dict:
  return {clip.path: clip for clip in corpus.clips}


@pytest.mark.parametrize('name', corpora.NAMES)
def test_every_corpus_says_its_length_and_its_fit(name):
  module = corpora.get(name)
  assert Features(clip_seconds=module.CLIP_SECONDS, fit=module.FIT)
  assert len(module.__doc__.strip()) > 50


@pytest.mark.parametrize('name', corpora.NAMES)
def test_a_missing_an_empty_and_a_wrong_folder(name, tmp_path):
  (tmp_path / 'file').write_text('')
  (tmp_path / 'empty').mkdir()
  touch(tmp_path, 'wrong/notes.txt', 'wrong/sub/more.txt')
  for root in ('absent', 'empty', 'wrong', 'file'):
    with pytest.raises(UserError) as error:
      corpora.get(name).read(tmp_path / root)
    assert str(tmp_path / root) in str(error.value) and '\n' not in str(error.value)


def test_where_a_corpus_is(tmp_path):
  assert corpora.locate('fsdd', tmp_path / 'absent') == tmp_path / 'absent' / 'fsdd'
  assert corpora.locate('fsdd', tmp_path) == tmp_path / 'fsdd'
  assert corpora.locate('folder', tmp_path) == tmp_path
  touch(tmp_path / 'own', 'recordings/0_a_1.wav')
  assert corpora.locate('fsdd', tmp_path / 'own') == tmp_path / 'own'
  (tmp_path / 'esc10').mkdir()
  assert corpora.locate('esc10', tmp_path) == tmp_path / 'esc10'
  # Other recordings in the folder are not taken for the synthetic corpus.
  assert (
    corpora.locate('synthetic_commands', tmp_path / 'own')
    == tmp_path / 'own' / 'synthetic_commands'
  )
  folder = tmp_path / 'elsewhere' / 'synthetic_commands'
  touch(folder, 'yes/0_nohash_0.wav')
  assert (
    corpora.locate('synthetic_commands', folder)
    == corpora.locate('synthetic_commands', folder.parent)
    == folder
  )
  assert corpora.locate('folder', tmp_path) == tmp_path


def test_folder(tmp_path):
  touch(
    tmp_path,
    'dog/a.wav',
    'dog/deep/b.FLAC',
    'cat/c.ogg',
    'cat/notes.txt',
    'loose.wav',
    '.git/x.wav',
    'cat/.hidden.wav',
  )
  corpus = corpora.get('folder').read(tmp_path)
  assert corpus.classes == ('cat', 'dog')
  assert {clip.path: clip.label for clip in corpus.clips} == {
    'dog/a.wav': 'dog',
    'dog/deep/b.FLAC': 'dog',
    'cat/c.ogg': 'cat',
  }
  assert set(corpus.ignored) == {'cat/notes.txt', 'loose.wav'}


@pytest.fixture
def reserved(tmp_path):
  """Classes of 10 and 20 clips, 50 negatives, and noise of 30, 12.5 and 0.4 s."""
  for label, count in (('go', 10), ('stop', 20), ('_unknown_', 50)):
    touch(tmp_path, *(f'{label}/stream_{number:04}.40s.wav' for number in range(count)))
  for name, seconds in (('sea.wav', 30.0), ('deep/rain.flac', 12.5), ('tick.ogg', 0.4)):
    write_tone(tmp_path / '_noise_' / name, seconds=seconds)
  touch(tmp_path, '_noise_/README.txt')
  return tmp_path


def test_the_reserved_folders_of_a_folder(reserved):
  corpus = corpora.read('folder', reserved)
  assert corpus.classes == ('_silence_', '_unknown_', 'go', 'stop')
  assert corpus.ignored == ('_noise_/README.txt',)
  own = {clip for clip in corpus.clips if clip.label != '_silence_'}
  assert len(own) == 80 and all(clip.path.startswith(f'{clip.label}/') for clip in own)
  silence = [clip for clip in corpus.clips if clip.label == '_silence_']
  assert len(silence) == 15  # the mean of 10 and 20
  assert corpus.notes == (
    '15 clips of _silence_ are cut from 3 noise recordings (--silence_clips)',
  )
  many = [clip for clip in corpora.read('folder', reserved, 300).clips if clip.label == '_silence_']
  assert len(many) == 300 and set(silence) <= set(many)
  latest = {'_noise_/sea.wav': 29.0, '_noise_/deep/rain.flac': 11.5, '_noise_/tick.ogg': 0.0}
  for path, end in latest.items():
    starts = [clip.start for clip in many if clip.path == path]
    assert 70 < len(starts) < 130 and 0 <= min(starts) and 0.95 * end <= max(starts) <= end
  gains = np.array([clip.gain for clip in many])
  assert 0.15 < np.mean(gains == 0) < 0.25
  np.testing.assert_allclose(
    np.quantile(gains[gains > 0], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.1
  )
  assert not any(clip.group for clip in many)
  half = corpora.read('folder', reserved, 300, clip_seconds=10.0).clips
  assert max(clip.start for clip in half) <= 20.0


def test_how_many_clips_of_silence_are_cut(reserved):
  count = lambda *options: sum(
    clip.label == '_silence_' for clip in corpora.read('folder', reserved, *options).clips
  )
  assert (count(0), count(3)) == (0, 3)
  assert '_silence_' not in corpora.read('folder', reserved, 0).classes
  assert not corpora.read('folder', reserved, 0).notes
  touch(reserved, *(f'_silence_/{number}.wav' for number in range(4)))
  assert (count(), count(0), count(3)) == (15, 4, 7)  # the default fills the class up
  touch(reserved, *(f'_silence_/{number}.wav' for number in range(16)))
  assert count() == 16
  shutil.rmtree(reserved / '_silence_')
  assert count(None, 5.0) == 8  # no more than the 42.9 s of noise are clips long
  (reserved / '_noise_').rename(reserved / '_background_noise_')
  assert count() == 15 and '_background_noise_' not in corpora.read('folder', reserved).classes
  for name in ('sea.wav', 'deep/rain.flac'):
    (reserved / '_background_noise_' / name).unlink()
  assert count() == 3  # of 0.4 s: the fewest that a class may have


def test_folders_with_an_underscore_or_a_dot_are_told(tmp_path):
  for label in ('a', '_noise', '.old', '.git'):
    touch(
      tmp_path, *(f'{label}/{number}.{"x" if label == ".git" else "wav"}' for number in range(3))
    )
  corpus = corpora.read('folder', tmp_path)
  assert corpus.classes == ('_noise', 'a')
  assert corpus.notes == (
    '_noise is a class like any other (reserved: _silence_, _unknown_, _noise_)',
    '.old begins with a dot: its recordings are left out',
  )


@pytest.mark.parametrize(
  ('paths', 'silence_clips', 'message'),
  [
    (['a/1.wav', '_noise_/x.txt'], None, '--raw_dir: ROOT/_noise_ holds no recordings: put some'),
    (['a/1.wav', '_unknown_/x.txt'], None, '--raw_dir: ROOT/_unknown_ holds no recordings'),
    (
      ['_noise_/1.wav', '_unknown_/1.wav', '_silence_/1.wav'],
      None,
      '--raw_dir: ROOT has only _noise_, _silence_, _unknown_: add a folder of recordings for each',
    ),
    (['a/1.wav'], 9, '--silence_clips=9: ROOT has no folder _noise_ to cut silence from: put'),
    (['a/1.wav'], -1, '--silence_clips=-1: give 0 or more'),
  ],
)
def test_reserved_folders_without_what_they_are_for(tmp_path, paths, silence_clips, message):
  touch(tmp_path, *paths)
  with pytest.raises(UserError) as error:
    corpora.read('folder', tmp_path, silence_clips)
  text = str(error.value)
  assert text.startswith(message.replace('ROOT', str(tmp_path))) and '\n' not in text


def test_silence_is_cut_for_a_folder_only(tmp_path):
  touch(tmp_path, 'recordings/0_a_1.wav')
  with pytest.raises(
    UserError, match='--silence_clips=3: only --corpus=folder .*, not fsdd: leave'
  ):
    corpora.read('fsdd', tmp_path, 3)


def test_fsdd(tmp_path):
  touch(tmp_path, 'recordings/7_jackson_3.wav', 'recordings/0_theo_49.wav', 'recordings/readme.md')
  clips = by_path(corpora.get('fsdd').read(tmp_path))
  assert clips['recordings/7_jackson_3.wav'][1:5] == ('7', 'jackson', 0, 'test')
  assert clips['recordings/0_theo_49.wav'][1:5] == ('0', 'theo', 0, 'train')


def speech(root: Path, takes: int = 1) -> list[str]:
  """Writes empty files of every word by 40 speakers, and background noise; returns the paths."""
  speakers = [hashlib.sha1(bytes([number])).hexdigest()[:8] for number in range(40)]
  paths = [
    f'{word}/{speaker}_nohash_{take}.wav'
    for word in speech_commands.WORDS
    for speaker in speakers
    for take in range(takes)
  ]
  touch(root, *paths)
  write_tone(root / speech_commands.NOISE / 'tap.wav', seconds=3.0)
  write_tone(root / speech_commands.NOISE / 'hum.wav', 50.0, seconds=1.5)
  return paths


@pytest.mark.parametrize(
  'speaker', ['0c540988', '0cb74144', '5170b77f', '87070229', '022cd682', '03401e93']
)
def test_the_hash_rule_puts_speakers_of_the_published_test_set_into_test(speaker):
  assert speech_commands.part_by_hash(f'bed/{speaker}_nohash_0.wav') == 'test'


def test_speech_commands_by_the_hash_rule(tmp_path):
  paths = speech(tmp_path)
  corpus = corpora.get('speech_commands').read(tmp_path)
  assert len(corpus.classes) == 35 and len(corpus.clips) == len(paths)
  assert (
    not any('background' in clip.path for clip in corpus.clips)
    and '_background_noise_' not in corpus.classes
  )
  parts = {}
  for clip in corpus.clips:
    assert clip.label == clip.path.split('/')[0] and re.fullmatch('[0-9a-f]{8}', clip.group)
    # The rule of the data set's README.
    share = int(hashlib.sha1(clip.group.encode()).hexdigest(), 16) % 2**27 * (100.0 / (2**27 - 1))
    assert clip.part == ('validation' if share < 10 else 'test' if share < 20 else 'train')
    parts.setdefault(clip.group, set()).add(clip.part)
  assert all(len(speaker_parts) == 1 for speaker_parts in parts.values())


def test_speech_commands_by_its_lists(tmp_path):
  paths = speech(tmp_path)
  (tmp_path / 'validation_list.txt').write_text(f'{paths[0]}\n{paths[7]}\n')
  (tmp_path / 'testing_list.txt').write_text(f'{paths[3]}\n')
  clips = by_path(corpora.get('speech_commands').read(tmp_path))
  assert [clips[path].part for path in (paths[0], paths[7], paths[3], paths[1])] == [
    'validation'
  ] * 2 + ['test', 'train']
  (tmp_path / 'testing_list.txt').write_bytes(b'\xff\xff')
  with pytest.raises(UserError, match='testing_list.txt'):
    corpora.get('speech_commands').read(tmp_path)


def test_speech_commands_without_a_word(tmp_path):
  paths = speech(tmp_path)
  for path in paths:
    if path.startswith('zero/'):
      (tmp_path / path).unlink()
  with pytest.raises(UserError, match='no recordings of zero: .*--corpus=folder'):
    corpora.get('speech_commands').read(tmp_path)


def test_the_twelve_classes_by_the_recipe(tmp_path):
  speech(tmp_path)
  corpus = corpora.get('speech_commands_12').read(tmp_path)
  assert corpus.classes == (*speech_commands_12.TEN, '_silence_', '_unknown_')
  own = by_path(corpora.get('speech_commands').read(tmp_path))
  for part in ('train', 'validation', 'test'):
    clips = [clip for clip in corpus.clips if clip.part == part]
    ten = [clip for clip in clips if clip.label in speech_commands_12.TEN]
    unknown = [clip for clip in clips if clip.label == '_unknown_']
    silence = [clip for clip in clips if clip.label == '_silence_']
    assert len(ten) == sum(
      clip.part == part and clip.label in speech_commands_12.TEN for clip in own.values()
    )
    assert len(unknown) == len(silence) == -(-len(ten) // 10)
    assert all(
      own[clip.path].part == part and own[clip.path].label not in speech_commands_12.TEN
      for clip in unknown
    )
    assert len({clip.path for clip in unknown}) == len(unknown)
    for clip in silence:
      length = 3.0 if 'tap' in clip.path else 1.5
      assert 0 <= clip.start <= length - 1 and 0 <= clip.gain <= 0.1 and clip.group == clip.path
  silence = [clip for clip in corpus.clips if clip.label == '_silence_']
  assert (
    any(clip.gain == 0 for clip in silence)
    and len({clip.start for clip in silence}) > len(silence) / 2
  )
  assert corpora.get('speech_commands_12').read(tmp_path) == corpus


def test_the_twelve_classes_as_published(tmp_path):
  for word in speech_commands_12.TEN:
    touch(tmp_path, f'{word}/022cd682_nohash_0.wav')
  touch(
    tmp_path,
    '_silence_/1024.wav',
    '_unknown_/backward_0c540988_nohash_0.wav.wav',
    '_unknown_/three_87070229_nohash_4.wav.wav',
    'README.md',
  )
  clips = by_path(corpora.get('speech_commands_12').read(tmp_path))
  assert clips['_unknown_/backward_0c540988_nohash_0.wav.wav'][1:5] == (
    '_unknown_',
    '0c540988',
    0,
    'test',
  )
  assert clips['_unknown_/three_87070229_nohash_4.wav.wav'].group == '87070229'
  assert clips['_silence_/1024.wav'][1:5] == ('_silence_', '', 0, 'test')
  assert clips['yes/022cd682_nohash_0.wav'].group == '022cd682' and len(clips) == 13


def test_the_real_twelve_classes(real_data):
  corpus = corpora.get('speech_commands_12').read(real_data / 'speech_commands_test12')
  assert len(corpus.clips) == 4890 and len({clip.group for clip in corpus.clips} - {''}) == 239
  speakers = {clip.group for clip in corpus.clips if clip.label != '_silence_'}
  assert all(re.fullmatch('[0-9a-f]{8}', speaker) for speaker in speakers)
  # The hash rule puts every speaker of the published test set into the test part.
  assert {speech_commands.part_by_hash(f'{speaker}_nohash_0.wav') for speaker in speakers} == {
    'test'
  }


def test_the_real_digits_and_sounds(real_data):
  digits = corpora.get('fsdd').read(real_data / 'fsdd')
  assert len(digits.clips) == 3000 and len({clip.group for clip in digits.clips}) == 6
  sounds = corpora.get('esc10').read(real_data / 'esc10')
  assert len(sounds.clips) == 400 and [clip.fold for clip in sounds.clips].count(3) == 80
  assert sounds.classes[:2] == ('Dog bark', 'Rain')
  folds = {}
  for clip in sounds.clips:
    folds.setdefault(clip.group, set()).add(clip.fold)
  assert all(len(group_folds) == 1 for group_folds in folds.values())


def urban(root: Path, seconds: float = 0.15) -> int:
  """Writes the layout of UrbanSound8K with its variety of formats; returns the number of slices.

  There is one slice per class and fold; every two neighbours come from one recording.
  """
  rates = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 192000)
  subtypes = ('PCM_16', 'PCM_24', 'PCM_U8', 'FLOAT', 'IMA_ADPCM', 'PCM_32', 'MS_ADPCM')
  lines = ['slice_file_name,fsID,start,end,salience,fold,classID,class']
  number = 0
  for fold in range(1, 11):
    for class_id, label in enumerate(urbansound8k.CLASSES):
      number += 1
      name = f'{1000 + number}-{class_id}-0-{fold}.wav'
      lines.append(f'{name},{recording(number)},0.0,{seconds},1,{fold},{class_id},{label}')
      path = root / 'audio' / f'fold{fold}' / name
      write_tone(
        path,
        200.0 + 10 * number,
        rates[number % 10],
        seconds,
        1 + number % 2,
        subtype=subtypes[number % 7],
      )
  (root / 'metadata').mkdir()
  (root / urbansound8k.CSV).write_text('\n'.join(lines) + '\n')
  touch(root, 'UrbanSound8K_README.txt', 'audio/fold1/.DS_Store')
  return number


def recording(number: int) -> int:
  """The fsID of a slice: two neighbours of one fold share it."""
  return 1000 + (number + 1) // 2


def test_urbansound8k_with_all_its_folds(tmp_path):
  number = urban(tmp_path / 'us')
  features = Features(clip_seconds=0.2, n_mels=32, fit='repeat')
  loaded = store.load(prepare('urbansound8k', tmp_path / 'us', tmp_path / 'stores', features))
  assert loaded.classes == urbansound8k.CLASSES and len(loaded.labels) == number == 100
  assert np.bincount(loaded.folds).tolist() == [0, *[10] * 10]
  for path, label, group, fold in zip(loaded.paths, loaded.labels, loaded.groups, loaded.folds):
    slice_id, class_id, _, fold_in_name = Path(path).stem.split('-')
    assert (int(class_id), int(fold_in_name)) == (label, fold) and int(group) == recording(
      int(slice_id) - 1000
    )
    assert path.startswith(f'audio/fold{fold}/')
  assert loaded.manifest['features']['fit'] == 'repeat' and loaded.manifest['shorter'] == 100
  assert loaded.manifest['ignored'] == ['UrbanSound8K_README.txt']
  mels = np.load(loaded.path / 'mels.npy')
  assert np.isfinite(mels).all() and (mels.astype(np.float32).std((1, 2)) > 1).all()


def test_a_corpus_is_found_under_the_name_of_its_archive(tmp_path):
  urban(tmp_path / 'UrbanSound8K')
  assert corpora.locate('urbansound8k', tmp_path) == tmp_path / 'UrbanSound8K'


def test_links_back_to_a_folder_above_are_not_followed(tmp_path):
  for label in 'ab':
    touch(tmp_path, *(f'{label}/{number}.wav' for number in range(3)))
    (tmp_path / label / 'loop').symlink_to('..')
  (tmp_path / 'b' / 'beside').symlink_to(tmp_path / 'a')
  assert list(base.files(tmp_path)) == [
    f'{folder}/{n}.wav' for folder in ('a', 'b', 'b/beside') for n in range(3)
  ]


def test_urbansound8k_mistakes(tmp_path):
  urban(tmp_path / 'us')
  table = tmp_path / 'us' / urbansound8k.CSV
  good = table.read_text()
  for old, new, expected in (
    ('fold,classID', 'folt,classID', 'no column fold'),
    (',1,1,0,air', ',1,11,0,air', "fold='11'"),
    ('air_conditioner', 'heater', "line 2: class='heater'"),
    ('air_conditioner', '', 'line 2: nothing'),
  ):
    table.write_text(good.replace(old, new, 1))
    with pytest.raises(UserError, match=expected):
      corpora.get('urbansound8k').read(tmp_path / 'us')
  table.write_text(good)
  lost = next((tmp_path / 'us' / 'audio' / 'fold3').glob('*.wav'))
  lost.unlink()
  with pytest.raises(UserError, match=f'audio/fold3/{lost.name} \\(No such file'):
    prepare(
      'urbansound8k', tmp_path / 'us', tmp_path / 'stores', Features(clip_seconds=0.2, fit='repeat')
    )


def test_esc50_and_the_ten_of_it(tmp_path):
  (tmp_path / 'meta').mkdir()
  lines = ['filename,fold,target,category,esc10,src_file,take']
  for fold in range(1, 6):
    for target, name, ten in ((0, 'dog', True), (1, 'rooster', True), (7, 'cow', False)):
      lines.append(
        f'{fold}-{100 + fold}-A-{target}.wav,{fold},{target},{name},{ten},{100 + fold},A'
      )
      touch(tmp_path, f'audio/{fold}-{100 + fold}-A-{target}.wav')
  (tmp_path / 'meta' / 'esc50.csv').write_text('\n'.join(lines))
  fifty, ten = corpora.get('esc50').read(tmp_path), corpora.get('esc10').read(tmp_path)
  assert fifty.classes == ('dog', 'rooster', 'cow') and ten.classes == ('dog', 'rooster')
  assert len(fifty.clips) == 15 and len(ten.clips) == 10 and not fifty.ignored and not ten.ignored
  assert by_path(fifty)['audio/3-103-A-7.wav'][1:4] == ('cow', '103', 3)


def test_esc10_of_2015(tmp_path):
  touch(tmp_path, '001 - Dog bark/1-100032-A.ogg', '010 - Fire crackling/5-7-B.ogg', 'README.md')
  with pytest.raises(UserError, match='has 2 of the 10 classes'):
    corpora.get('esc10').read(tmp_path)
  touch(tmp_path, *(f'{number:03} - Sound {number}/2-{number}-A.ogg' for number in range(2, 10)))
  corpus = corpora.get('esc10').read(tmp_path)
  assert corpus.classes[::9] == ('Dog bark', 'Fire crackling') and corpus.ignored == ('README.md',)
  assert by_path(corpus)['010 - Fire crackling/5-7-B.ogg'][1:4] == ('Fire crackling', '7', 5)


def test_csv(tmp_path):
  table = tmp_path / 'mine.csv'
  table.write_text(
    '\ufefflabel, path ,group,fold,part\ncat,a.wav,ann,2,test\ndog,sub/b.wav,,,\n', encoding='utf-8'
  )
  corpus = corpora.get('csv').read(table)
  assert corpus.root == tmp_path and corpus.classes == ('cat', 'dog')
  assert [clip[:5] for clip in corpus.clips] == [
    ('a.wav', 'cat', 'ann', 2, 'test'),
    ('sub/b.wav', 'dog', '', 0, ''),
  ]
  for text, expected in (
    ('file,label\na,b\n', 'no column path'),
    ('path,label\n', 'no clips in it'),
    ('path,label,fold\na,b,x\n', "line 2: fold='x'"),
    ('path,label,part\na,b,later\n', "part='later'"),
    ('path,label,gain\na,b,-1\n', "gain='-1'"),
    ('path,label\na,b\nc,b\na,b\n', "line 4: path='a' is the clip of line 2"),
    ('', 'no column path, label'),
  ):
    table.write_text(text)
    with pytest.raises(UserError, match=expected):
      corpora.get('csv').read(table)
  table.write_bytes(b'path,label\n\xff\xfe,b\n')
  with pytest.raises(UserError, match='UTF-8'):
    corpora.get('csv').read(table)


def test_a_class_with_two_clips(tmp_path):
  touch(
    tmp_path,
    *(f'{label}/{number}.wav' for label, count in (('a', 3), ('b', 2)) for number in range(count)),
  )
  with pytest.raises(
    UserError, match=r'fewer than 3 clips in b \(2\): add recordings or remove the class'
  ):
    corpora.read('folder', tmp_path)


def test_a_class_whose_name_is_not_utf_8_is_named(tmp_path):
  for folder in (b'high', b'l\xffw'):
    (tmp_path / os.fsdecode(folder)).mkdir()
    for take in range(3):
      write_tone(tmp_path / os.fsdecode(folder) / f'{take}.wav', 440)
  with pytest.raises(UserError, match=r'the name of the class l\\udcffw is not UTF-8: rename it'):
    corpora.read('folder', tmp_path)


def test_a_csv_as_spreadsheets_write_it(tmp_path):
  """Semicolons or tabs, UTF-16, capitals, 1.0 for a fold, other names of the parts, empty rows."""
  (tmp_path / 'b').mkdir()
  for path in ('b/1.wav', 'b/2.wav'):
    write_tone(tmp_path / path, 440)
  rows = (('Path', 'LABEL', 'Fold', 'part'), ('b/1.wav', 'x', '1.0', 'Train'))
  rows += (('b\\2.wav', 'y', '2', 'val'), ('', '', '', ''))
  for delimiter, encoding in ((';', 'utf-8'), ('\t', 'utf-16'), (',', 'utf-8-sig')):
    text = ''.join(delimiter.join(row) + '\r\n' for row in rows)
    (tmp_path / 'clips.csv').write_bytes(text.encode(encoding))
    corpus = corpora.get('csv').read(tmp_path)
    assert [clip[:5] for clip in corpus.clips] == [
      ('b/1.wav', 'x', '', 1, 'train'),
      ('b/2.wav', 'y', '', 2, 'validation'),
    ]


def test_a_csv_names_files_in_another_form_of_unicode_or_without_the_suffix(tmp_path):
  decomposed = unicodedata.normalize('NFD', 'Grün.wav')
  write_tone(tmp_path / decomposed, 440)
  table = tmp_path / 'clips.csv'
  table.write_text('path,label\n' + unicodedata.normalize('NFC', decomposed) + ',a\n')
  assert corpora.get('csv').read(tmp_path).clips[0].path == decomposed
  write_tone(tmp_path / 'red.wav', 440)
  table.write_text('path,label\nred,a\n')
  with pytest.raises(UserError, match=r"line 2: path='red': is not there, red\.wav is: write"):
    corpora.get('csv').read(tmp_path)


def tones(root, *folders, suffix='wav'):
  for folder in folders:
    for take in range(3):
      (root / folder).mkdir(parents=True, exist_ok=True)
      write_tone(root / folder / f'{take}.{suffix}', 440)


def test_a_folder_in_a_folder(tmp_path):
  tones(tmp_path, 'download/mine/cat', 'download/mine/dog', 'download/mine/_noise_')
  corpus = corpora.read('folder', tmp_path, 0)
  assert corpus.classes == ('cat', 'dog') and len(corpus.clips) == 6
  assert 'the classes are the folders in download/mine' in corpus.notes
  tones(tmp_path / 'one', 'cat')
  with pytest.raises(UserError, match='has one class, cat: give recordings of two classes'):
    corpora.read('folder', tmp_path / 'one')


def test_a_folder_that_is_already_split(tmp_path):
  tones(tmp_path, *(f'{part}/{name}' for part in ('Train', 'val', 'test') for name in ('a', 'b')))
  corpus = corpora.read('folder', tmp_path)
  assert corpus.classes == ('a', 'b')
  assert {clip.path.split('/')[0]: clip.part for clip in corpus.clips} == {
    'Train': 'train',
    'val': 'validation',
    'test': 'test',
  }
  assert corpus.notes == (
    'Train, test, val are the parts of a split, not classes: --split=official',
  )
  shutil.rmtree(tmp_path / 'val')
  corpus = corpora.read('folder', tmp_path)
  assert Counter((clip.label, clip.part) for clip in corpus.clips) == {
    ('a', 'train'): 2,
    ('a', 'validation'): 1,
    ('a', 'test'): 3,
    ('b', 'train'): 2,
    ('b', 'validation'): 1,
    ('b', 'test'): 3,
  }
  assert corpora.read('folder', tmp_path).clips == corpus.clips
  # Words may be called so: then they have recordings of their own.
  tones(tmp_path / 'words', 'train', 'test')
  assert corpora.read('folder', tmp_path / 'words').classes == ('test', 'train')


def test_what_is_left_out_and_what_looks_alike_is_said(tmp_path):
  tones(tmp_path, 'dog', 'Dog')
  touch(tmp_path, 'dog/a.xyz', 'dog/b.xyz', 'Dog/notes.txt')
  notes = corpora.read('folder', tmp_path).notes
  assert '2 files are left out for their suffix (seen: 2 .xyz)' in notes
  assert any(note.startswith('the classes Dog, dog differ only in capitals') for note in notes)
  touch(tmp_path / 'none', 'a/1.doc', 'a/2.doc')
  with pytest.raises(UserError, match=r'no recordings in class folders \(seen: 2 \.doc\): give'):
    corpora.read('folder', tmp_path / 'none')


def test_lists_with_backslashes_and_recordings_in_capitals(tmp_path):
  names = [f'{word}/{i}_nohash_0.WAV' for word in speech_commands.WORDS for i in range(3)]
  touch(tmp_path, *names)
  for part, position in (('validation', 0), ('testing', 1)):
    lines = [f'.\\{word}\\{position}_nohash_0.wav' for word in speech_commands.WORDS]
    (tmp_path / f'{part}_list.txt').write_text('\r\n'.join(lines))
  parts = Counter(clip.part for clip in speech_commands.read(tmp_path).clips)
  assert parts == {'train': 35, 'validation': 35, 'test': 35}
  (tmp_path / 'validation_list.txt').write_text('elsewhere/a.wav')
  (tmp_path / 'testing_list.txt').write_text('elsewhere/b.wav')
  with pytest.raises(UserError, match='name none of the recordings: restore the originals'):
    speech_commands.read(tmp_path)
