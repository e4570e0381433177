from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vjepa_demo.media.fetch import fetch
from vjepa_demo.schema import RecordError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(tmp_path):
    """A site on this machine, which is no public host, with the file clip.mp4."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "clip.mp4").write_bytes(b"content")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_private_host_is_asked_only_where_it_is_trusted(site, tmp_path):
    with pytest.raises(RecordError, match=r"'127\.0\.0\.1' is no host on the public internet"):
        fetch(f"{site}/clip.mp4", tmp_path)
    with pytest.raises(RecordError, match="no host on the public internet"):
        fetch(f"{site}/clip.mp4", tmp_path, trusted_hosts=["*.example.com"])
    file = fetch(f"{site}/clip.mp4", tmp_path, trusted_hosts=["127.0.0.1"])
    assert (file.name, file.read_bytes()) == ("clip.mp4", b"content")


def test_a_limit_that_is_less_than_usual_is_explained(site, tmp_path):
    with pytest.raises(RecordError, match=r"cannot be fetched \(your share is used up\): upload the file instead"):
        fetch(
            f"{site}/clip.mp4", tmp_path, trusted_hosts=["127.0.0.1"], max_bytes=3, why_not_more="your share is used up"
        )
