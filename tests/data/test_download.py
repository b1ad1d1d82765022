"""Downloads from a server on this machine: mirrors, checks, and never a half-written file."""

import gzip
import hashlib
from pathlib import Path

import pytest

from vaeaudit.core.errors import ChecksumError, DataCorruptError, DataMissingError
from vaeaudit.data import mnist
from vaeaudit.data.registry import load_data
from vaeaudit.data.store import check_sha256, fetch, read_content

CONTENT = bytes(range(256)) * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def verify(path):
    check_sha256(path.name, read_content(path), SHA256)


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def leftovers(folder):
    return [p for p in folder.rglob("*") if p.name != "x.gz" and p.name != "set"]


def test_the_first_good_mirror_serves_and_the_file_lands_whole(cache, web):
    folder, address = web
    (folder / "wrong.gz").write_bytes(gzip.compress(b"something else", mtime=0))
    (folder / "cut.gz").write_bytes(gzip.compress(CONTENT, mtime=0)[:-20])
    (folder / "good.gz").write_bytes(gzip.compress(CONTENT, mtime=0))
    urls = [address + name for name in ("absent.gz", "wrong.gz", "cut.gz", "good.gz")]
    path = fetch(urls, "set/x.gz", verify, by_hand="By hand: …")
    assert path == cache / "set" / "x.gz"
    assert read_content(path) == CONTENT
    assert files_in(cache) == ["set/x.gz"]
    assert not leftovers(cache)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (gzip.compress(b"something else", mtime=0), ChecksumError),
        (gzip.compress(CONTENT)[:-20], DataCorruptError),
    ],
)
def test_a_wrong_download_leaves_nothing_behind(cache, web, content, error):
    folder, address = web
    (folder / "x.gz").write_bytes(content)
    with pytest.raises(
        error, match=r"could not be fetched. Tried:\n  http\S+: HTTP 404 .*\n  http.*\nBy hand: …"
    ):
        fetch([address + "absent.gz", address + "x.gz"], "set/x.gz", verify, by_hand="By hand: …")
    assert files_in(cache) == []
    assert not leftovers(cache)


def test_no_answer_at_all_is_missing_data(cache):
    with pytest.raises(DataMissingError, match=r"ConnectionError.*\nBy hand: …"):
        fetch(["http://127.0.0.1:9/x.gz"], "set/x.gz", verify, by_hand="By hand: …")
    assert files_in(cache) == []


def test_an_interrupted_download_keeps_the_old_file(cache, web, monkeypatch):
    folder, address = web
    (folder / "x.gz").write_bytes(gzip.compress(CONTENT, mtime=0))
    target = cache / "set" / "x.gz"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")

    def interrupt(path: Path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([address + "x.gz"], "set/x.gz", interrupt, by_hand="")
    assert target.read_bytes() == b"old"
    assert not leftovers(cache)


def test_without_permission_nothing_is_fetched(cache):
    with pytest.raises(DataMissingError, match=r"download=False\. By hand: …"):
        fetch(["http://127.0.0.1:9/x.gz"], "set/x.gz", verify, by_hand="By hand: …", download=False)
    assert not cache.exists()


def test_mnist_is_fetched_once_and_then_found(cache, web, published_data, monkeypatch):
    folder, address = web
    monkeypatch.setattr(mnist, "MIRRORS", (address + "down/", address))
    for name in mnist.FILES:
        (folder / f"{name}.gz").symlink_to(published_data / "mnist" / f"{name}.gz")
    first = load_data("mnist")
    assert files_in(cache) == sorted(f"mnist/{name}.gz" for name in mnist.FILES)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert load_data("mnist", download=False).sha256 == first.sha256
