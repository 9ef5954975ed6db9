"""The page in the browser against Python: features, detector, decoder; in Node and Chromium."""

import base64
import dataclasses
import io
import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data_prep import audio, mel
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax import demo
from m3net_jax.deploy import firmware, page
from m3net_jax.inference import classifier, detection, detector
from m3net_jax.inference.detector import Settings
from tests.deploy import chromium
from tests.deploy.test_bundle import INPUT, OUTPUT, SPEC

DIGITS = Path(__file__).parents[2] / 'models' / 'digits'
NODE = shutil.which('node')
needs_node = pytest.mark.skipif(not NODE, reason='needs node')
RUNTIME = page.runtime_folder()
needs_browser = pytest.mark.skipif(
  not (chromium.PROGRAM and page.has_runtime(RUNTIME)),
  reason='needs Chromium, and LiteRT.js: python -m m3net_jax.demo --model=models/digits --download',
)


def node(job, **given):
  said = subprocess.run(
    [NODE, Path(__file__).with_name('page.mjs')],
    input=json.dumps({'job': job, **given}),
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert said.returncode == 0, said.stderr
  return json.loads(said.stdout)


def constants(spec):
  shape = (1, *spec.input_shape)
  return json.loads(json.dumps(page.constants(spec, INPUT._replace(shape=shape), OUTPUT)))


def variant(shape=(32, 32, 1), features=None, **changes):
  return dataclasses.replace(
    SPEC,
    features=Features(**{**SPEC.features.to_json(), **(features or {})}),
    input_shape=shape,
    **changes,
  )


def made(count, seed=0):
  """A recording: noise that is louder and quieter, and a tone, [count] float32."""
  rng = np.random.default_rng(seed)
  seconds = np.arange(count) / 8000
  loud = 0.01 + 0.2 * np.abs(np.sin(3 * seconds))
  samples = rng.normal(0, 0.2, count) * loud + 0.3 * np.sin(5000 * seconds) * (loud > 0.15)
  return (np.round(samples * 32768).clip(-32768, 32767) / 32768).astype(np.float32)


def nearly(stored, expected):
  """Whether int8 inputs are equal but for roundings in a few of them: C++ has the same."""
  difference = np.abs(np.asarray(stored, int) - expected.astype(int).ravel())
  return difference.max() <= 1 and np.mean(difference > 0) < 0.01


@needs_node
@pytest.mark.parametrize(
  'spec, count',
  [
    (variant(), 4000),
    (variant((24, 40, 1), {'center': False, 'hop_length': 100}), 4000),
    (variant((32, 32, 3), {'top_db': 30.0}), 4000),
    (variant((16, 48, 3), channels='delta', normalisation='clip'), 4000),
    (variant(features={'fit': 'repeat', 'htk': True, 'ref': 0.01}), 900),
    (variant(), 900),
    (variant(features={'center': False, 'top_db': 0.0, 'amin': 1e-8}), 4000),
  ],
  ids=['as the log-Mel', 'resized', 'magma', 'delta', 'repeated', 'padded', 'stream'],
)
def test_the_features_are_those_of_python(spec, count):
  samples = made(count)
  said = node('features', constants=constants(spec), samples=samples.tolist())
  log_mel = mel.log_mel(mel.fit_length(samples, spec.features), spec.features)
  columns = np.transpose(said['columns'])
  columns = np.maximum(columns, columns.max() - spec.features.range_db)
  np.testing.assert_allclose(columns, log_mel, atol=5e-3 if spec.features.top_db else 2e-2)
  assert nearly(said['input'], INPUT.stored(spec.images(log_mel[None])))


@needs_node
@pytest.mark.parametrize(
  'settings',
  [
    None,
    Settings(4, 1, 1, 0, (20000, 0, 32768)),
    Settings(4, 16, 3, 5, (12000, 9000, 11000)),
    Settings(4, 2, 1, 3, (9000, 9000, 9000)),
  ],
)
def test_the_detector_finds_the_events_of_python(settings):
  spec = dataclasses.replace(SPEC, detector=settings)
  outputs = firmware.golden_outputs(1500, 3)
  outputs[700:720] = (-128, 127, -128)  # the largest difference
  outputs[800:820] = (5, 5, 5)  # equal means
  said = node('detector', constants=constants(spec), outputs=outputs.tolist())
  probabilities = detector.of_stored(outputs, OUTPUT.scale)
  assert said['probabilities'] == probabilities.tolist()
  events = detector.events(probabilities, firmware.settings_of(spec))
  assert said['events'] == [event._asdict() for event in events]
  assert len(events) > 10


@needs_node
@pytest.mark.parametrize('center', [True, False])
@pytest.mark.parametrize('blocks', [[1024], [37, 5000, 1]])
def test_windows_of_a_stream_are_those_of_the_command_line(center, blocks):
  spec = variant(features={'center': center}, detector=Settings(6, 2, 1, 2, (9000, 9000, 9000)))
  samples = made(16123)
  said = node('stream', constants=constants(spec), samples=samples.tolist(), blocks=blocks)
  model = SimpleNamespace(spec=spec)
  mels = np.concatenate(list(detection.windows_of(model, samples, spec.detector)))
  inputs = INPUT.stored(spec.images(mels))
  assert len(said['inputs']) == len(mels) > 10
  assert all(nearly(input_, expected) for input_, expected in zip(said['inputs'], inputs))
  ends = detector.seconds(np.arange(len(mels)), spec.detector, spec.features)
  np.testing.assert_allclose(said['ends'], ends)
  outputs = np.array([[input_[17 * k] for k in range(3)] for input_ in said['inputs']])
  events = detector.events(detector.of_stored(outputs, OUTPUT.scale), spec.detector)
  assert said['events'] == [event._asdict() for event in events]
  assert len(events) > 1
  # The picture has every column that needs no zeros, in order.
  first, last = said['columns'][0], said['columns'][-1]
  assert said['columns'] == list(range(first, last + 1))
  assert first == (2 if center else 0)
  assert last == (16123 - 256 + (128 if center else 0)) // 126


def wav(samples, subtype='PCM_16', rate=16000):
  file = io.BytesIO()
  soundfile.write(file, samples, rate, subtype=subtype, format='WAV')
  return file.getvalue()


@needs_node
def test_wav_files_are_read_as_on_the_command_line():
  mono, stereo = made(777), np.stack([made(500, 1), made(500, 2)], 1)
  others = [wav(mono, 'FLOAT'), wav(mono, 'PCM_24'), wav(mono)[:-100], wav(mono)[:30], b'', b'RIFF']
  files = [wav(mono), wav(stereo, rate=44100), *others]
  said = node('wave', files=[base64.b64encode(file).decode() for file in files])
  for read, file in zip(said[:2], files):
    samples, rate = audio.decode(file)
    assert read['rate'] == rate
    np.testing.assert_array_equal(np.float32(read['samples']), samples)
  assert said[2:] == [None] * len(others)


def test_mistakes_are_one_line_with_the_fix(tmp_path, monkeypatch):
  monkeypatch.setattr(page, 'runtime_folder', lambda: tmp_path)
  (tmp_path / 'model_int8.tflite').write_bytes(b'')
  cases = [
    (tmp_path / 'absent', 'is not a bundle'),
    (tmp_path, 'is not a bundle'),  # no model.json
    (DIGITS, f'{tmp_path}: LiteRT.js .* is not there: add --download once'),
  ]
  for model, message in cases:
    with pytest.raises(UserError, match=message) as caught:
      demo.main([], SimpleNamespace(model=str(model), port=0, download=False))
    assert '\n' not in str(caught.value)


def test_the_server_sends_its_files_only_and_lets_the_page_load_nothing_else():
  sent = {'/': page.Resource('text/html; charset=utf-8', b'<p>')}
  with demo._server(0, sent) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    with urllib.request.urlopen(f'{url}/?again') as answer:
      assert answer.read() == b'<p>'
      assert answer.headers['Content-Type'] == 'text/html; charset=utf-8'
      assert answer.headers['Content-Security-Policy'].startswith("default-src 'self';")
    for path in ('/setup.cfg', '/../setup.cfg', '/main.js'):
      with pytest.raises(urllib.error.HTTPError, match='404'):
        urllib.request.urlopen(f'{url}{path}')
    with pytest.raises(UserError, match=rf'--port={server.server_port}: Address already in use'):
      demo._server(server.server_port, sent)
    server.shutdown()


@pytest.fixture
def recording(tmp_path):
  """Hums that the model of digits takes for words, as 16-bit WAV."""
  rng, seconds, parts = np.random.default_rng(0), np.arange(6400) / 16000, []
  hums = ((110, 300, 2300), (140, 500, 1800), (220, 600, 2500), (120, 700, 1100))
  for pitch, first, second in hums:
    tones = pitch * np.arange(1, 30)
    weights = np.exp(-(((tones - first) / 200) ** 2)) + np.exp(-(((tones - second) / 300) ** 2)) / 2
    hum = weights @ np.sin(2 * np.pi * tones[:, None] * seconds)
    parts += [np.zeros(14400), 0.2 * hum * np.hanning(6400)]
  samples = np.concatenate([*parts, np.zeros(16000)])
  path = tmp_path / 'made.wav'
  path.write_bytes(wav(samples + rng.normal(0, 3e-4, len(samples))))
  return path


@needs_browser
def test_the_page_finds_the_events_of_the_command_line(recording, tmp_path):
  model = classifier.load(DIGITS)
  found = detection.detect(model, audio.read(recording, 16000))
  expected = [[f'{time:.2f} s', label] for time, label, _ in found.rows()]
  assert len(expected) >= 3
  microphone = tmp_path / 'microphone.wav'
  samples = audio.resample(audio.read(recording, 16000), 16000, 48000)
  microphone.write_bytes(wav(samples, rate=48000))
  (tmp_path / 'short.wav').write_bytes(wav(made(3000), rate=8000))
  status = "document.getElementById('status').textContent"
  events = (
    "[...document.querySelectorAll('#events tr')].map(r => [...r.cells].map(c => c.textContent))"
  )
  _, sent = page.of_bundle(DIGITS, RUNTIME)
  with (
    demo._server(0, sent) as server,
    chromium.page(
      '--use-fake-device-for-media-stream',
      f'--use-file-for-fake-audio-capture={microphone}%noloop',
    ) as browser,
  ):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}/'
    browser.call('Page.navigate', url=url)
    browser.until(f"document.getElementById('status') && {status}.startsWith('Ready')")

    def allow(setting):
      browser.call(
        'Browser.setPermission',
        permission={'name': 'microphone'},
        setting=setting,
        origin=url[:-1],
      )

    browser.choose('#file', recording)
    browser.until(f"{status}.includes('windows.')")
    said = browser.evaluate(events)
    assert [row[:2] for row in said] == expected
    scores = [float(score) for _, _, score in said]
    np.testing.assert_allclose(scores, [score for _, _, score in found.rows()], atol=0.02)

    browser.evaluate(
      'const moved = new DataTransfer(); moved.items.add(new File(["no sound"], "text.wav"));'
      'document.dispatchEvent(new DragEvent("drop", {dataTransfer: moved}))'
    )
    assert 'cannot decode it' in browser.until(f'/^text.wav: /.test({status}) && {status}')

    browser.choose('#file', tmp_path / 'short.wav')
    assert 'from 8000 Hz' in browser.until(f"{status}.includes('shorter') && {status}")
    assert browser.evaluate(events) == []

    allow('granted')
    browser.evaluate("document.getElementById('listen').click()")
    # A busy computer leaves gaps in what the browser records, so weaker events may be missed here.
    browser.until(f"{events}.some(row => row[1] === '8')")
    browser.evaluate("document.getElementById('listen').click()")
    assert browser.evaluate(status) == 'Stopped.'

    allow('denied')
    browser.evaluate("document.getElementById('listen').click()")
    browser.until(f"{status}.startsWith('The microphone was refused')")
    server.shutdown()
  assert {address.startswith(url) for address in browser.requested} == {True}
