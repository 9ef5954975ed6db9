"""Drives a headless Chromium by its DevTools pipe: pages, files, screenshots."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAM = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), ''
)


class Page:
  """A page; `logged` has the texts of its console and of its errors."""

  def __init__(self, send, receive):
    self._send, self._receive, self._number, self._session = send, receive, 0, None
    self.logged, self.requested = [], []
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
    for domain in ('Page', 'Runtime', 'Log', 'Network', 'DOM'):
      self.call(f'{domain}.enable')

  def call(self, method, **parameters):
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': parameters}
    if self._session:
      message['sessionId'] = self._session
    self._send(message)
    while (answer := self._receive()).get('id') != self._number:
      self._note(answer.get('method'), answer.get('params', {}))
    if 'error' in answer:
      raise RuntimeError(f'{method}: {answer["error"]}')
    return answer['result']

  def _note(self, method, parameters):
    if method == 'Network.requestWillBeSent':
      self.requested.append(parameters['request']['url'])
    elif method == 'Runtime.exceptionThrown':
      self.logged.append(json.dumps(parameters['exceptionDetails']))
    elif method == 'Log.entryAdded':
      self.logged.append(parameters['entry']['text'])

  def evaluate(self, code):
    """The value of an expression; a promise is awaited."""
    result = self.call('Runtime.evaluate', expression=code, awaitPromise=True, returnByValue=True)
    if 'exceptionDetails' in result:
      raise RuntimeError(json.dumps(result['exceptionDetails']))
    return result['result'].get('value')

  def until(self, code, seconds=60):
    """Waits until an expression is true, and returns its value."""
    end = time.monotonic() + seconds
    while not (value := self.evaluate(code)):
      if time.monotonic() > end:
        text = self.evaluate('document.body.innerText')
        raise TimeoutError(f'{code}: {text}; {self.logged}')
      time.sleep(0.05)
    return value

  def choose(self, selector, path):
    """Puts a file into an input."""
    root = self.call('DOM.getDocument')['root']['nodeId']
    node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
    self.call('DOM.setFileInputFiles', nodeId=node, files=[str(path)])

  def picture(self, path, *, width, height, scheme, whole=True):
    """Writes a screenshot as PNG."""
    self.look(width=width, height=height, scheme=scheme)
    shot = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
    Path(path).write_bytes(base64.b64decode(shot['data']))

  def look(self, *, width, height, scheme):
    """Sets the size of the page in pixels, and the colour scheme."""
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=False,
    )
    self.call(
      'Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}]
    )


@contextlib.contextmanager
def page(*flags):
  """A page in a browser of its own, started with these flags."""
  to_browser, commands = os.pipe()
  answers, from_browser = os.pipe()
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    # The browser reads from file descriptor 3 and writes to 4; bash puts them there.
    process = subprocess.Popen(
      ['bash', '-c', f'exec "$@" 3<&{to_browser} 4>&{from_browser}', 'bash', PROGRAM]
      + [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--remote-debugging-pipe',
        '--hide-scrollbars',
      ]
      + [f'--user-data-dir={profile}', '--no-first-run', *flags],
      pass_fds=(to_browser, from_browser),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    buffer = b''

    def send(message):
      os.write(commands, json.dumps(message).encode() + b'\0')

    def receive():
      nonlocal buffer
      while b'\0' not in buffer:
        part = os.read(answers, 2**16)
        if not part:
          raise RuntimeError('the browser has ended')
        buffer += part
      message, _, buffer = buffer.partition(b'\0')
      return json.loads(message)

    try:
      yield Page(send, receive)
    finally:
      os.close(commands)
      process.terminate()
      process.wait(20)
      os.close(answers)
