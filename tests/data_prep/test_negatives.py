from data_prep.corpora import speech_commands_12
from data_prep.negatives import NEGATIVES, is_negative


def test_the_negatives_are_the_classes_of_the_twelve_that_are_no_words():
  assert NEGATIVES == ('_silence_', '_unknown_')
  negatives = {name for name in speech_commands_12.CLASSES if is_negative(name)}
  assert negatives == set(speech_commands_12.CLASSES) - set(speech_commands_12.TEN)
  assert not any(map(is_negative, ('silence', '_noise_', '_unknown', '')))
