"""Recordings in, classes out: short ones, long ones window by window, and how they are printed."""

import json

import numpy as np
import pytest

from data_prep import audio
from data_prep.errors import UserError
from m3net_jax.inference import predictions, timeline
from m3net_jax.study import splits
from tests.conftest import FEATURES


def test_classes_of_a_folder_are_those_that_the_study_predicted(trained, model, tones, tones_dir):
  results = trained.results()
  best = max(results['variants']['full']['lanes'], key=lambda lane: lane['validation_accuracy'])
  predicted = trained.predictions()[f'full/random/{best["seed"]}']
  test = splits.make(tones, 'random')[0].test
  own = [
    predictions.classify(
      model, tones.paths[i], audio.read(tones_dir / tones.paths[i], FEATURES.sample_rate), 1000
    )
    for i in test
  ]
  # The store holds float16, so a probability moves a little; the classes stay.
  assert np.mean([each.probabilities[0].argmax() for each in own] == predicted) >= 11 / 12
  np.testing.assert_allclose([each.probabilities.sum() for each in own], 1.0)
  assert best['test_accuracy'] > 0.8  # so that this test says something


def test_a_long_recording_is_heard_tone_after_tone_and_drawn(model, long_recording, tmp_path):
  samples = audio.read(long_recording, FEATURES.sample_rate)
  assert len(samples) == 24 * 2000
  heard = predictions.classify(model, 'joined.flac', samples, 1000)
  assert len(heard.starts) == 47
  long_ones = [each for each in heard.segments if each.end - each.start > 1]
  assert [model.spec.classes[each.label] for each in long_ones] == ['low', 'high', 'middle']
  for each, start in zip(long_ones, (0, 2, 4)):
    assert abs(each.start - start) < 0.3 and abs(each.end - start - 2) < 0.3
  told = json.loads(predictions.as_json([heard], model.spec.name, 1))['recordings'][0]
  assert told['seconds'] == 6.0 and len(told['windows']) == 47
  assert told['windows'][-1]['end'] == 6.0 and told['segments'][0]['start'] == 0.0
  # Of a stretch as many classes are named as of a short recording: the means of its windows.
  for count in (1, 2, 3):
    lines = predictions.as_table([heard], count).splitlines()[1:]
    assert [line.count('%') for line in lines] == [count] * len(heard.segments)
  assert all(name in lines[0] for name in model.spec.classes)
  told = json.loads(predictions.as_json([heard], model.spec.name, 2))['recordings'][0]
  within = heard.probabilities[
    : np.argmax(heard.probabilities.argmax(1) != heard.segments[0].label)
  ].mean(0)
  assert [each['class'] for each in told['segments'][0]['top']] == [
    model.spec.classes[index] for index in np.argsort(-within)[:2]
  ]
  assert told['segments'][0]['top'][0]['probability'] == pytest.approx(within.max())
  timeline.write(tmp_path / 'picture.png', heard, samples, FEATURES)
  from matplotlib import image

  picture = image.imread(tmp_path / 'picture.png')
  assert min(picture.shape[:2]) > 300 and picture[..., :3].std() > 0.1
  with pytest.raises(UserError, match='ends in .png'):
    timeline.check_path(tmp_path / 'picture.wav')


def test_digital_silence_is_said_and_not_named(model, long_recording):
  samples = audio.read(long_recording, FEATURES.sample_rate).copy()
  samples[10000:16000] = 0
  heard = predictions.classify(model, 'joined.flac', samples, 1000)
  assert heard.silent.sum() == 5
  (silent,) = [each for each in heard.segments if each.is_silent]
  assert (silent.start, silent.end) == (1.3125, 1.9375)
  assert predictions.as_table([heard], 3).count(predictions.SILENT) == 1
  told = json.loads(predictions.as_json([heard], model.spec.name, 1))['recordings'][0]
  assert sum(window['silent'] for window in told['windows']) == 5
  zeros = predictions.classify(model, 'zeros.wav', np.zeros(2000, np.float32))
  assert predictions.as_table([zeros], 3) == f'zeros.wav  {predictions.SILENT}'
  # A class for silence is an answer as good as any.
  renamed = model.spec.__class__(**{**vars(model.spec), 'classes': ('_silence_', 'low', 'middle')})
  named = predictions.classify(
    model._replace(spec=renamed), 'zeros.wav', np.zeros(2000, np.float32)
  )
  assert not named.silent.any() and predictions.SILENT not in predictions.as_table([named], 3)
