"""Downloads from a local server that fails in the ways of real servers."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from data_prep import corpora, download, store
from data_prep.download import Archive
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.prepare import prepare
from tests.data_prep.conftest import write_tone


class Server(http.server.ThreadingHTTPServer):
  """Serves `files`; cuts the n-th answer after `cuts[n]` bytes; records the requested ranges."""

  def __init__(self):
    super().__init__(('127.0.0.1', 0), Handler)
    self.files: dict[str, bytes] = {}
    self.cuts: list[int] = []
    self.ranges: list[str | None] = []
    self.knows_ranges = True
    self.announced = 0  # bytes, if the answer is to be shorter than it says
    threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

  def url(self, name: str) -> str:
    return f'http://127.0.0.1:{self.server_port}/{name}'


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'

  def do_GET(self):
    server, data = self.server, self.server.files.get(self.path.strip('/'))
    if data is None:
      self.send_error(404)
      return
    requested = self.headers.get('Range')
    server.ranges.append(requested)
    first = 0
    if requested and server.knows_ranges:
      first = int(requested.removeprefix('bytes=').rstrip('-'))
    if first >= len(data):
      self.send_error(416)
      return
    self.send_response(206 if first else 200)
    self.send_header('Content-Length', str(server.announced or len(data) - first))
    self.end_headers()
    cut = server.cuts.pop(0) if server.cuts else len(data)
    self.wfile.write(data[first : first + cut])
    if cut < len(data) - first:
      self.close_connection = True

  def log_message(self, *_):
    pass


@pytest.fixture
def server():
  local = Server()
  yield local
  local.shutdown()
  local.server_close()


def tar(members: dict[str, bytes], add=()) -> bytes:
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz') as archive:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
    for info in add:
      archive.addfile(info)
  return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      archive.writestr(name, data)
  return file.getvalue()


def sha256(data: bytes) -> str:
  return 'sha256:' + hashlib.sha256(data).hexdigest()


MEMBERS = {'inside/a/1.txt': b'one' * 1000, 'inside/b.txt': b'two'}
CHUNK = download._CHUNK
BIG = tar(
  {
    'inside/noise.bin': b''.join(
      hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(20000)
    )
  }
)


def fetch(server, tmp_path, data, name='x.tar.gz', **change) -> Path:
  server.files[name] = data
  archive = Archive(server.url(name), sha256(data), 'inside')._replace(**change)
  download.fetch(archive, tmp_path / 'corpora' / 'mine')
  return tmp_path / 'corpora' / 'mine'


@pytest.mark.parametrize('name, make', [('x.tar.gz', tar), ('x.zip', zipped)])
def test_an_archive_becomes_the_folder(server, tmp_path, name, make):
  root = fetch(server, tmp_path, make(MEMBERS), name)
  assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*.txt')} == {
    'a/1.txt': b'one' * 1000,
    'b.txt': b'two',
  }
  assert [path.name for path in root.parent.iterdir()] == ['mine']


def test_a_cut_download_continues_by_itself(server, tmp_path):
  server.cuts = [20 * CHUNK, 10 * CHUNK]
  root = fetch(server, tmp_path, BIG)
  assert (root / 'noise.bin').stat().st_size == 640000
  assert server.ranges == [None, f'bytes={20 * CHUNK}-', f'bytes={30 * CHUNK}-']


def test_a_download_that_is_cut_again_and_again_continues_the_next_time(server, tmp_path):
  server.cuts = [5 * CHUNK] * 4
  with pytest.raises(UserError, match='run again to continue the download'):
    fetch(server, tmp_path, BIG)
  assert not (tmp_path / 'corpora' / 'mine').exists()
  server.cuts = []
  fetch(server, tmp_path, BIG)
  assert server.ranges[-1] == f'bytes={20 * CHUNK}-'


def test_what_a_killed_command_left_is_used_or_deleted(server, tmp_path):
  left = tmp_path / 'corpora' / '.mine.unpacked' / 'inside'
  left.mkdir(parents=True)
  (tmp_path / 'corpora' / '.mine.part').write_bytes(BIG)
  root = fetch(server, tmp_path, BIG)
  assert server.ranges == []
  assert [path.name for path in root.parent.iterdir()] == ['mine']


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
  server.cuts, server.knows_ranges = [1000], False
  assert (fetch(server, tmp_path, BIG) / 'noise.bin').stat().st_size == 640000


def test_a_wrong_checksum_is_thrown_away(server, tmp_path):
  with pytest.raises(UserError, match='does not have the checksum'):
    fetch(server, tmp_path, tar(MEMBERS), checksum=sha256(b'other'))
  assert list((tmp_path / 'corpora').iterdir()) == []


def test_not_found_and_no_server(server, tmp_path):
  with pytest.raises(UserError, match='the server says 404 Not Found: fetch it by hand'):
    fetch(server, tmp_path, b'', url=server.url('absent.tar.gz'))
  with pytest.raises(UserError, match='cannot be fetched'):
    fetch(server, tmp_path, b'', url='http://127.0.0.1:9/x.tar.gz')
  assert list((tmp_path / 'corpora').iterdir()) == []


def test_no_space_for_the_announced_bytes(server, tmp_path):
  server.announced = 10**15
  with pytest.raises(UserError, match=r'corpora: needs 1000000\.0 GB, .* GB are free: free some'):
    fetch(server, tmp_path, b'x')
  assert list((tmp_path / 'corpora').iterdir()) == []


def linked(kind: bytes, name: str = 'inside/link', target: str = '/etc/passwd') -> tarfile.TarInfo:
  info = tarfile.TarInfo(name)
  info.type, info.linkname = kind, target
  return info


def zip_with_link() -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    info = zipfile.ZipInfo('inside/link')
    info.external_attr = 0o120777 << 16
    archive.writestr(info, '/etc/passwd')
  return file.getvalue()


def announced() -> bytes:
  """An archive whose header announces a terabyte that does not follow."""
  info = tarfile.TarInfo('inside/large')
  info.size = 10**12
  return gzip.compress(info.tobuf() + bytes(1024))


def locked_zip() -> bytes:
  """An archive whose member is marked as encrypted, in its own header and in the index."""
  data = bytearray(zipped(MEMBERS))
  for place in (data.index(b'PK\x03\x04') + 6, data.index(b'PK\x01\x02') + 8):
    data[place] |= 1
  return bytes(data)


BOMB = zipped({'inside/ok': b'', 'inside/zeros': bytes(4 * 10**7)})
EMPTY_MEMBER = tarfile.TarInfo('inside/empty').tobuf()
MANY = gzip.compress(EMPTY_MEMBER * 6000, 1)
NUMBERS = tar({'inside/numbers.txt': b' '.join(b'%d' % n for n in range(100_000))})
DAMAGED = NUMBERS[:50_000] + bytes(100) + NUMBERS[50_100:]


@pytest.mark.parametrize(
  'data, name, reason',
  [
    (tar({'inside/ok': b'', '../escaped.txt': b'x'}), 'x.tar.gz', 'outside'),
    (tar({'inside/ok': b'', '/tmp/escaped.txt': b'x'}), 'x.tar.gz', 'outside'),
    (tar({'inside/ok': b''}, [linked(tarfile.SYMTYPE)]), 'x.tar.gz', 'link'),
    (tar({'inside/ok': b''}, [linked(tarfile.LNKTYPE, target='inside/ok')]), 'x.tar.gz', 'link'),
    (tar({'inside/ok': b''}, [linked(tarfile.CHRTYPE)]), 'x.tar.gz', 'device'),
    (zipped({'inside/ok': b'', '../escaped.txt': b'x'}), 'x.zip', 'outside'),
    (zip_with_link(), 'x.zip', 'link'),
    (tar({'inside/ok': b''}, [linked(tarfile.FIFOTYPE)]), 'x.tar.gz', 'device'),
    (tar({'inside/ok': b'', 'inside/a\n../../../../escaped': b'x'}), 'x.tar.gz', 'outside'),
    (tar({'inside/ok': b'', 'inside/\x00': b'x'}), 'x.tar.gz', 'cannot be unpacked'),
    (
      BOMB,
      'x.zip',
      'have more than 20,000,000 bytes, which is too much for an archive of [0-9]',
    ),
    (announced(), 'x.tar.gz', 'have more than'),
    (MANY, 'x.tar.gz', 'have more than'),
    (DAMAGED, 'x.tar.gz', 'cannot be unpacked'),
    (locked_zip(), 'x.zip', 'cannot be unpacked'),
    (BIG[:50000], 'x.tar.gz', 'cannot be unpacked'),
    (b'no archive at all', 'x.tar.gz', 'cannot be unpacked'),
    (tar({'elsewhere/a': b''}), 'x.tar.gz', 'has no folder inside'),
  ],
  ids=[
    'parent',
    'absolute',
    'symlink',
    'hardlink',
    'device',
    'zip parent',
    'zip link',
    'pipe',
    'newline',
    'NUL',
    'bomb',
    'announced',
    'many members',
    'damaged',
    'locked',
    'truncated',
    'no archive',
    'other',
  ],
)
def test_a_dangerous_or_damaged_archive_is_not_unpacked(server, tmp_path, data, name, reason):
  with pytest.raises(UserError, match=reason) as error:
    fetch(server, tmp_path, data, name)
  assert len(str(error.value).splitlines()) == 1
  assert not (tmp_path / 'corpora' / 'mine').exists() and not list(tmp_path.rglob('escaped*'))
  assert not [path for path in (tmp_path / 'corpora').iterdir() if path.is_dir()]


def test_prepare_downloads_only_when_asked(server, tmp_path, monkeypatch):
  for digit in range(10):
    for take in range(3):
      write_tone(tmp_path / 'own' / f'{digit}_ann_{take}.wav', 300 + 50 * digit, 8000, 0.2)
  data = zipped(
    {f'd-1/recordings/{path.name}': path.read_bytes() for path in (tmp_path / 'own').iterdir()}
  )
  server.files['d.zip'] = data
  fsdd = corpora.get('fsdd')
  monkeypatch.setattr(fsdd, 'DOWNLOAD', Archive(server.url('d.zip'), sha256(data), 'd-1'))
  features = Features(sample_rate=8000, clip_seconds=0.2, n_fft=256, hop_length=256, n_mels=16)
  with pytest.raises(UserError, match='--download'):
    prepare('fsdd', tmp_path / 'corpora', tmp_path / 's', features)
  assert server.ranges == []
  # A file that is not a recording does not prevent the download.
  (tmp_path / 'corpora').mkdir(exist_ok=True)
  (tmp_path / 'corpora' / 'notes.txt').write_text('mine')
  loaded = store.load(
    prepare('fsdd', tmp_path / 'corpora', tmp_path / 's', features, download=True)
  )
  assert (
    len(loaded.labels) == 30
    and (tmp_path / 'corpora' / 'fsdd' / 'recordings' / '0_ann_0.wav').exists()
  )
