"""Nested lists and mappings of arrays and plain values as bytes and back: exact, and free of pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeaudit.core.errors import ArgumentError

_ARRAY = "\u0000array"  # key that marks the place of an array


def pack(tree: Any) -> bytes:
    """Bytes of a tree of mappings with text keys, lists, arrays, text, numbers, truth values and None.

    A JSON header of known length, then the arrays' bytes one after another.

    Parameters
    ----------
    tree
        The tree; tuples come back as lists, JAX arrays as numpy arrays.

    Returns
    -------
    bytes

    Raises
    ------
    ArgumentError
        For anything else in the tree.

    Notes
    -----
    Every float keeps its bits, in arrays and outside. Arrays of dtype object may hold text and None only.

    Examples
    --------
    >>> unpack(pack({"x": np.arange(3.0), "note": ["a", None, 0.1]}))
    {'x': array([0., 1., 2.]), 'note': ['a', None, 0.1]}
    """
    blobs: list[bytes] = []

    def plain(node: Any) -> Any:
        if node is None or isinstance(node, str | bool | int | float):
            return node
        if isinstance(node, Mapping):
            if not all(isinstance(key, str) for key in node):
                raise ArgumentError(f"keys of what processes exchange must be text; got {list(node)}.")
            return {key: plain(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [plain(value) for value in node]
        array = np.asarray(node)
        place: dict[str, Any] = {"dtype": array.dtype.name, "shape": array.shape}
        if array.dtype == object:
            place["text"] = array.ravel().tolist()
            if not all(value is None or isinstance(value, str) for value in place["text"]):
                raise ArgumentError("arrays that processes exchange hold numbers, truth values or text.")
        else:
            place["dtype"] = array.dtype.str if array.dtype.kind in "US" else array.dtype.name
            blobs.append(np.ascontiguousarray(array).tobytes())
            place["bytes"] = len(blobs[-1])
        return {_ARRAY: place}

    header = json.dumps(plain(tree)).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *blobs])


def unpack(content: bytes) -> Any:
    """Read what `pack` wrote."""
    start = 8 + int.from_bytes(content[:8], "little")
    position = start

    def full(node: Any) -> Any:
        nonlocal position
        if isinstance(node, list):
            return [full(value) for value in node]
        if not isinstance(node, dict):
            return node
        if _ARRAY not in node:
            return {key: full(value) for key, value in node.items()}
        place = node[_ARRAY]
        if "text" in place:
            array = np.empty(len(place["text"]), object)
            array[:] = place["text"]
        else:
            dtype = np.dtype(place["dtype"])  # bfloat16 too, once JAX is loaded
            raw = content[position : position + place["bytes"]]
            position += place["bytes"]
            array = np.frombuffer(raw, dtype).copy()  # a buffer of bytes is read-only
        return array.reshape(place["shape"])

    return full(json.loads(content[8:start]))
