"""A folder of the user's pictures, resized to one shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vaeaudit.core.errors import ArgumentError, DataCorruptError, DataEmptyError, DataMissingError
from vaeaudit.data.dataset import Dataset, binarised, hashed_split
from vaeaudit.data.store import Folder

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def read_picture(path: Path, size: tuple[int, int], colour: bool) -> np.ndarray:
    """One picture in [0, 1], (H, W) or (H, W, 3), turned upright and resized by area-aware bilinear.

    Transparent parts are laid on white; 16-bit grey keeps its range; of an animation the first frame
    is taken.

    Raises
    ------
    DataCorruptError
        If the file is not a whole picture.
    """
    height, width = size
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I") or picture.mode == "F":
                grey = np.asarray(picture, dtype=np.float32)
                high = 65535.0 if picture.mode != "F" else 1.0
                if grey.min() < 0 or grey.max() > high:
                    raise DataCorruptError(
                        f"{path} holds values in [{grey.min():g}, {grey.max():g}] (mode {picture.mode}); "
                        f"expected [0, {high:g}]. Convert it to 8-bit grey or RGB."
                    )
                flat = Image.fromarray(grey / np.float32(high))
                x = np.asarray(flat.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
                x = np.clip(x, 0.0, 1.0)
                return np.repeat(x[..., None], 3, axis=-1) if colour else x
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
                picture = Image.alpha_composite(white, picture)
            picture = picture.convert("RGB" if colour else "L")
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture, dtype=np.float32) / np.float32(255.0)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataCorruptError):
            raise
        raise DataCorruptError(
            f"{path} is not a readable picture ({error}). Remove it from the folder or replace it."
        ) from error


def load_image_folder(
    form: str,
    *,
    data_dir: Folder = None,
    size: Sequence[int] = (32, 32),
    split: Sequence[float] = (0.8, 0.1, 0.1),
) -> Dataset:
    """Load every picture of a folder and of its subfolders.

    Parameters
    ----------
    form
        ``"grey"`` (H, W), ``"rgb"`` (H, W, 3), both in [0, 1], or ``"binary"`` (grey ≥ ½).
    data_dir
        The folder.
    size
        (H, W) in pixels; the aspect ratio is not kept.
    split
        Shares or counts of train, validation and test; the order is fixed by hashes.

    Returns
    -------
    Dataset
        Where every picture lies in a subfolder and there are two or more, labels are the indices of
        the first-level subfolders in alphabetical order.

    Raises
    ------
    ArgumentError, DataMissingError, DataEmptyError, DataCorruptError
    """
    if data_dir is None:
        raise ArgumentError(
            "data set 'image_folder' needs the folder: load_data('image_folder', data_dir='pictures')."
        )
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataMissingError(f"{folder} is not a folder. Give the folder of pictures as `data_dir`.")
    if len(size) != 2 or any(isinstance(s, bool) or int(s) != s or s < 1 for s in size):
        raise ArgumentError(f"`size` must be (height, width) in pixels; got {size!r}.")
    paths = sorted(
        (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()),
        key=lambda p: p.relative_to(folder).as_posix(),
    )
    if not paths:
        raise DataEmptyError(
            f"{folder} holds no picture: looked for {', '.join(SUFFIXES)} in all subfolders."
        )
    target = (int(size[0]), int(size[1]))
    x = np.stack([read_picture(path, target, form == "rgb") for path in paths])
    if form == "binary":
        x = binarised(x)
    groups = [p.relative_to(folder).parts for p in paths]
    classes = sorted({parts[0] for parts in groups if len(parts) > 1})
    labelled = len(classes) > 1 and all(len(parts) > 1 for parts in groups)
    labels = np.array([classes.index(parts[0]) for parts in groups], dtype=np.int32) if labelled else None
    parts = hashed_split("image_folder", len(x), split)
    named = [None] * 3 if labels is None else [labels[part] for part in parts]
    return Dataset(
        name=folder.resolve().name or "image_folder",
        form=form,
        support="binary" if form == "binary" else "unit interval",
        train=x[parts[0]],
        validation=x[parts[1]],
        test=x[parts[2]],
        train_labels=named[0],
        validation_labels=named[1],
        test_labels=named[2],
        source=f"{len(paths)} pictures of the folder {folder.name!r}, resized to {target}",
    )
