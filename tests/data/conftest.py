"""Development copies of MNIST and Frey faces, a private cache, and a web server on this machine."""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published_data():
    """Folder with ``mnist/`` and ``freyfaces/``: VAEAUDIT_DATA_DIR, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("VAEAUDIT_DATA_DIR") or beside)
    if not (folder / "mnist").is_dir() or not (folder / "freyfaces").is_dir():
        pytest.skip(f"no copies of MNIST and Frey faces in {folder}; name their folder in VAEAUDIT_DATA_DIR")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no data folder named in the environment."""
    monkeypatch.setenv("VAEAUDIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("VAEAUDIT_DATA_DIR", raising=False)
    return tmp_path / "cache" / "data"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder and the address under which this machine serves it."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()
