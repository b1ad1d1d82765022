"""MNIST and Frey faces from folders: real copies where there are some, damaged ones always."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from vaeaudit.core.errors import ChecksumError, DataCorruptError, DataMissingError, DataShapeError
from vaeaudit.data import frey_faces, mnist
from vaeaudit.data.registry import load_data
from vaeaudit.data.store import check_sha256, find_file, read_content, search_folders


def idx(array, code=0x08):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    ("dtype", "code"), [("u1", 0x08), ("i2", 0x0B), ("i4", 0x0C), ("f4", 0x0D), ("f8", 0x0E)]
)
def test_idx_arrays_are_read_back(dtype, code):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    read = mnist.parse_idx(idx(array, code), "x")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"<html>not found</html>", "not an IDX file"),
        (gzip.compress(b"x", mtime=0), "end in .gz"),
        (idx(np.zeros((2, 2), np.uint8))[:6], "within its header"),
        (idx(np.zeros((2, 2), np.uint8))[:-1], "cut off or damaged"),
        (idx(np.zeros((2, 2), np.uint8)) + b"0", r"\(2, 2\), 16 bytes in all; it has 17"),
    ],
)
def test_what_is_no_idx_file(content, message):
    with pytest.raises(DataCorruptError, match=message):
        mnist.parse_idx(content, "x")


def test_folders_are_searched_in_order(cache, tmp_path, monkeypatch):
    given, named = tmp_path / "given", tmp_path / "named"
    given.mkdir()
    named.mkdir()
    monkeypatch.setenv("VAEAUDIT_DATA_DIR", str(named))
    assert search_folders(given) == [given, named, cache]
    assert search_folders(None) == [named, cache]
    (named / "b").touch()
    assert find_file([given, named], ["a", "b"]) == named / "b"
    (given / "b").touch()
    assert find_file([given, named], ["a", "b"]) == given / "b"
    assert find_file([given, named], ["c"]) is None
    with pytest.raises(DataMissingError, match="`data_dir` names the folder"):
        search_folders(tmp_path / "absent")
    monkeypatch.setenv("VAEAUDIT_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(DataMissingError, match="`VAEAUDIT_DATA_DIR` names"):
        search_folders(None)


@pytest.mark.parametrize(
    ("name", "hint"), [("mnist", "train-images-idx3-ubyte"), ("frey_faces", "frey_rawface.mat")]
)
def test_missing_files_say_how_to_supply_them(cache, tmp_path, name, hint):
    with pytest.raises(DataMissingError, match=rf"by hand, put .*{hint}.* Looked in: .*{tmp_path.name}"):
        load_data(name, data_dir=tmp_path, download=False)


def test_damaged_gzip_files(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.compress(np.random.default_rng(0).bytes(10_000))
    for content in (whole[:-100], b"<html>", b"", whole[:50] + b"xx" + whole[52:]):
        path.write_bytes(content)
        if content:
            with pytest.raises(DataCorruptError, match="not a whole gzip file"):
                read_content(path)
    path.write_bytes(whole)
    assert len(read_content(path)) == 10_000


def test_a_whole_file_with_other_content_fails_its_checksum(cache, tmp_path):
    fake = np.zeros((60_000, 28, 28), np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(fake))
    with pytest.raises(ChecksumError, match=r"train-images-idx3-ubyte has sha256 .*; expected ba891046"):
        load_data("mnist", data_dir=tmp_path, download=False)
    check_sha256("x", b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_mnist_from_a_folder(published_data):
    data = load_data("mnist", form="grey", data_dir=published_data, download=False)
    assert (data.train.shape, data.validation.shape, data.test.shape) == (
        (50_000, 28, 28), (10_000, 28, 28), (10_000, 28, 28),
    )  # fmt: skip
    # the published mean of the 60,000 training pixels is 0.1307
    assert np.concatenate([data.train, data.validation]).mean(dtype=np.float64) == pytest.approx(
        0.1307, abs=5e-5
    )
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(data.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_binary_from_decompressed_files_in_the_folder_itself(cache, published_data, tmp_path):
    for name in mnist.FILES:
        (tmp_path / name).write_bytes(read_content(published_data / "mnist" / f"{name}.gz"))
    data = load_data("mnist", data_dir=tmp_path, download=False)
    assert data.form == data.support == "binary"
    raw = mnist.parse_idx((tmp_path / "t10k-images-idx3-ubyte").read_bytes(), "x")
    np.testing.assert_array_equal(data.test, raw >= 128)


def test_frey_faces_from_a_folder(published_data, monkeypatch):
    monkeypatch.setenv("VAEAUDIT_DATA_DIR", str(published_data))
    data = load_data("frey_faces", download=False)
    assert data.form == "grey"
    assert data.event_shape == (28, 20)
    raw = np.load(published_data / "freyfaces" / "freyfaces.npz", allow_pickle=False)["images"]
    assert sorted(x.tobytes() for x in np.rint(data.pooled * 255).astype(np.uint8)) == sorted(
        x.tobytes() for x in raw
    )


def test_frey_faces_from_the_published_matlab_layout(cache, published_data, tmp_path):
    from scipy.io import savemat

    raw = np.load(published_data / "freyfaces" / "freyfaces.npz", allow_pickle=False)["images"]
    savemat(tmp_path / "frey_rawface.mat", {"ff": raw.reshape(1965, 560).T})
    from_mat = load_data("frey_faces", data_dir=tmp_path, download=False)
    assert from_mat.sha256 == load_data("frey_faces", data_dir=published_data).sha256


def test_damaged_frey_faces(cache, tmp_path):
    path = tmp_path / "freyfaces.npz"
    np.savez(path, images=np.zeros((1965, 28, 20), np.uint8))
    with pytest.raises(ChecksumError, match="the pixels of"):
        frey_faces.read_pixels(path)
    np.savez(path, images=np.zeros((10, 28, 20), np.uint8))
    with pytest.raises(DataShapeError, match=r"\(1965, 28, 20\); got uint8 \(10, 28, 20\)"):
        frey_faces.read_pixels(path)
    np.savez(path, faces=np.zeros(3))
    with pytest.raises(DataCorruptError, match="lacks the array"):
        frey_faces.read_pixels(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataCorruptError, match=r"not a readable \.npz"):
        load_data("frey_faces", data_dir=tmp_path, download=False)
    path = tmp_path / "frey_rawface.mat"
    for content in (b"<html>not found</html>" * 20, b""):
        path.write_bytes(content)
        with pytest.raises(DataCorruptError, match="not a MATLAB file"):
            frey_faces.read_pixels(path)


def test_copies_are_not_needed_by_name_only(published_data, cache, tmp_path):
    """A file that is present but wrong is reported, not passed over for the next folder."""
    shutil.copytree(published_data / "mnist", cache / "mnist", copy_function=shutil.copyfile)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(10_000, np.uint8)))
    with pytest.raises(ChecksumError, match="t10k-labels"):
        load_data("mnist", data_dir=tmp_path, download=False)
