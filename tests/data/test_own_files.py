"""The user's own pictures and arrays, good and bad."""

import numpy as np
import pytest
from PIL import Image

from vaeaudit.core.errors import (
    ArgumentError,
    DataCorruptError,
    DataEmptyError,
    DataMissingError,
    DataRangeError,
    DataShapeError,
)
from vaeaudit.data.registry import load_data

RNG = np.random.default_rng(0)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def grey_image(value, size=(10, 8)):
    return np.full(size, value, np.uint8)


def test_a_folder_is_read_recursively_in_a_fixed_order(tmp_path):
    values = {"a/1.png": 0, "a/deep/2.jpg": 51, "b/3.BMP": 102, "b/4.tiff": 204, "b/5.webp": 255}
    for name, value in values.items():
        save(tmp_path / name, grey_image(value))
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    data = load_data("image_folder", data_dir=tmp_path, size=(4, 6))
    assert data.event_shape == (4, 6)
    assert data.name == tmp_path.name
    assert (data.form, data.support) == ("grey", "unit interval")
    means = sorted(float(x.mean()) for x in data.pooled)
    np.testing.assert_allclose(means, [0, 0.2, 0.4, 0.8, 1], atol=0.01)
    labels = np.concatenate([data.train_labels, data.validation_labels, data.test_labels])
    np.testing.assert_array_equal(labels, data.pooled.mean(axis=(1, 2)) > 0.3)
    assert load_data("image_folder", data_dir=tmp_path, size=(4, 6)).sha256 == data.sha256


def test_a_flat_folder_has_no_labels(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", grey_image(i))
    data = load_data("image_folder", data_dir=tmp_path, split=(2, 1, 1))
    assert data.train_labels is None
    assert data.event_shape == (32, 32)


def test_colour_grey_and_binary_of_one_picture(tmp_path):
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 255, 128
    for i in range(3):
        save(tmp_path / f"{i}.png", pixels)
    rgb = load_data("image_folder", form="rgb", data_dir=tmp_path, size=(3, 3))
    assert rgb.event_shape == (3, 3, 3)
    np.testing.assert_allclose(rgb.train[0, 0, 0], [1, 128 / 255, 0], atol=1e-6)
    grey = load_data("image_folder", data_dir=tmp_path, size=(3, 3))
    np.testing.assert_allclose(grey.train, 0.299 + 0.587 * 128 / 255, atol=0.01)
    binary = load_data("image_folder", form="binary", data_dir=tmp_path, size=(3, 3))
    assert binary.support == "binary"
    np.testing.assert_array_equal(binary.train, 1)


def test_transparency_16_bits_palettes_and_orientation(tmp_path):
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2, :, 3] = 255  # upper half opaque black, lower half clear
    save(tmp_path / "0.png", clear)
    save(tmp_path / "1.png", np.full((4, 4), 32768, np.uint16))
    Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).quantize(2).save(tmp_path / "2.gif")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90° for viewing
    picture = np.zeros((4, 4), np.uint8)
    picture[:, :2] = 255  # white on the left: on top after the turn
    save(tmp_path / "3.png", picture, exif=turned)
    data = load_data("image_folder", data_dir=tmp_path, size=(4, 4), split=(2, 1, 1))
    tops = {round(float(x[0].mean()), 2): round(float(x[3].mean()), 2) for x in data.pooled}
    assert tops == {0.0: 1.0, 0.5: 0.5, 1.0: tops[1.0]}
    pairs = sorted((round(float(x[0].mean()), 1), round(float(x[3].mean()), 1)) for x in data.pooled)
    assert pairs == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (1.0, 1.0)]


def test_damaged_pictures_are_named(tmp_path):
    save(tmp_path / "good.png", grey_image(3))
    whole = RNG.integers(0, 255, (60, 60), np.uint8).astype(np.uint8)
    for name in ("cut.png", "cut.jpg"):
        save(tmp_path / name, whole)
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataCorruptError, match=name.replace(".", r"\.")):
            load_data("image_folder", data_dir=tmp_path)
        path.unlink()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataCorruptError, match=r"text\.png is not a readable picture"):
        load_data("image_folder", data_dir=tmp_path)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(ArgumentError, match="needs the folder"):
        load_data("image_folder")
    with pytest.raises(DataMissingError, match="not a folder"):
        load_data("image_folder", data_dir=tmp_path / "absent")
    with pytest.raises(DataEmptyError, match="holds no picture"):
        load_data("image_folder", data_dir=tmp_path)
    save(tmp_path / "1.png", grey_image(1))
    with pytest.raises(DataEmptyError, match="too few"):
        load_data("image_folder", data_dir=tmp_path)
    with pytest.raises(ArgumentError, match="height, width"):
        load_data("image_folder", data_dir=tmp_path, size=(8,))


def archive(tmp_path, **arrays):
    np.savez(tmp_path / "own.npz", **arrays)
    return tmp_path / "own.npz"


def test_an_archive_in_all_forms(tmp_path):
    pixels = RNG.integers(0, 256, (10, 3, 2)).astype(np.uint8)
    path = archive(tmp_path, images=pixels, labels=np.arange(10))
    grey = load_data("npz", data_dir=path, label_key="labels")
    labels = np.concatenate([grey.train_labels, grey.validation_labels, grey.test_labels])
    np.testing.assert_allclose(grey.pooled, pixels[labels] / 255, rtol=1e-6)
    binary = load_data("npz", form="binary", data_dir=path)
    np.testing.assert_array_equal(binary.pooled, pixels[labels] >= 128)
    real = load_data("npz", form="real", data_dir=path, split=(6, 2, 2))
    assert (real.support, len(real.train), real.train.max() > 1) == ("real", 6, True)
    assert real.name == "own"


def test_which_array(tmp_path):
    path = archive(tmp_path, a=np.zeros((5, 2)), b=np.ones((5, 2)))
    with pytest.raises(ArgumentError, match=r"`key` must say .* a float64\(5, 2\), b float64\(5, 2\)"):
        load_data("npz", data_dir=path)
    with pytest.raises(ArgumentError, match="no array 'c'"):
        load_data("npz", data_dir=path, key="c")
    assert load_data("npz", data_dir=path, key="b").train.min() == 1


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((0, 2)), DataEmptyError, "empty"),
        (np.full((5, 2), 7.0), DataRangeError, "255"),
        (np.full((5, 2), np.nan), DataRangeError, "finite"),
        (np.zeros(5), DataShapeError, "at least two axes"),
        (np.full((5, 2), "a"), DataShapeError, "real numbers"),
        (np.full((5, 2), None), DataCorruptError, "never unpickled"),
    ],
)
def test_bad_arrays(tmp_path, array, error, message):
    path = archive(tmp_path, x=array)
    with pytest.raises(error, match=message):
        load_data("npz", data_dir=path, key="x")


def test_bad_archives(tmp_path):
    with pytest.raises(ArgumentError, match="needs the archive"):
        load_data("npz")
    with pytest.raises(DataMissingError, match="not a file"):
        load_data("npz", data_dir=tmp_path / "absent.npz")
    path = archive(tmp_path, x=np.zeros((50, 20)), y=np.zeros(3))
    with pytest.raises(DataShapeError, match=r"`y` must have shape \(50,\)"):
        load_data("npz", data_dir=path, label_key="y")
    content = path.read_bytes()
    for bad in (content[: len(content) // 2], b"", b"\x80\x04K\x01."):
        path.write_bytes(bad)
        with pytest.raises(DataCorruptError, match=r"own\.npz"):
            load_data("npz", data_dir=path)
    np.save(tmp_path / "one.npy", np.zeros((5, 2)))
    with pytest.raises(DataCorruptError, match=r"single \.npy"):
        load_data("npz", data_dir=tmp_path / "one.npy")
