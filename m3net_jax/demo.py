"""Serves a page on this computer that listens: microphone or file, spectrogram, events.

    python -m m3net_jax.demo --model=models/digits --download
    python -m m3net_jax.demo --model=bundles/quick

The int8 model of the bundle runs in the browser, by LiteRT.js. --download fetches it once, 12 MB
from the npm registry. The page loads nothing from outside, and no sound leaves it.
"""

import contextlib
import http.server
from collections.abc import Mapping
from typing import TYPE_CHECKING

from absl import flags

from data_prep import cli
from data_prep.errors import UserError

if TYPE_CHECKING:
  from m3net_jax.deploy.page import Resource

_HOST = '127.0.0.1'
# The browser refuses whatever does not come from this server; the import map is in the page itself.
_POLICY = (
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; img-src 'self' data:"
)


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path('model', None, 'folder of a bundle', values=values, required=True)
  flags.DEFINE_integer(
    'port', 8017, 'port of the page; 0: any that is free', 0, 65535, flag_values=values
  )
  flags.DEFINE_bool(
    'download', False, 'fetch LiteRT.js from registry.npmjs.org if it is absent', flag_values=values
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Serves the page until Ctrl-C."""
  cli.no_arguments(arguments)
  from m3net_jax.deploy import page  # imports JAX: not for --help

  folder = page.runtime_folder()
  if values.download:
    page.fetch_runtime(folder)
  spec, sent = page.of_bundle(values.model, folder)
  with _server(values.port, sent) as server:
    print(f'{spec.name}: http://{_HOST}:{server.server_port} (Ctrl-C ends)', flush=True)
    try:
      server.serve_forever()
    except KeyboardInterrupt:
      pass


def _server(port: int, sent: Mapping[str, 'Resource']) -> http.server.ThreadingHTTPServer:
  """A server of these resources, for programs on this computer only.

  Raises:
    UserError: the port cannot be used.
  """

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
      resource = sent.get(self.path.partition('?')[0])
      if resource is None:
        self.send_error(404)
        return
      self.send_response(200)
      for name, value in (
        ('Content-Type', resource.kind),
        ('Content-Length', str(len(resource.content))),
        ('Content-Security-Policy', _POLICY),
        ('Cache-Control', 'no-store'),
        ('X-Content-Type-Options', 'nosniff'),
      ):
        self.send_header(name, value)
      self.end_headers()
      with contextlib.suppress(ConnectionError):  # the page was closed
        self.wfile.write(resource.content)

    def log_message(self, *_: object) -> None:
      """Says nothing: the page says what is wrong."""

  try:
    return http.server.ThreadingHTTPServer((_HOST, port), Handler)
  except OSError as error:
    raise UserError(
      f'--port={port}: {error.strerror}: give another one, or 0 for any that is free'
    ) from error


if __name__ == '__main__':
  cli.run(main, define)
