"""Files of named arrays: safetensors with JSON in the metadata. Such a file holds no pickle and no code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError

from xpnet.errors import InvalidParameterError, ModelFormatError
from xpnet.files import open_file

__all__ = ["Format", "safetensors_parts"]

_T = TypeVar("_T")
_DTYPES = {"BOOL": "?", "F16": "<f2", "F32": "<f4", "F64": "<f8"}  # by the format's names
_DTYPES |= {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}


class Format(NamedTuple):
    """A file format.

    Attributes
    ----------
    key : str
        Name of the metadata entry that holds the JSON. It identifies the format.
    what : str
        What a file holds, for messages: ``"model"``.
    version : int
        Stored in the JSON as ``format_version``.
    """

    key: str
    what: str
    version: int

    def parts(self, values: dict[str, Any], tensors: dict[str, np.ndarray]) -> Iterator[bytes | memoryview]:
        """Yield the content of a file, piece by piece.

        Parameters
        ----------
        values : dict
            Values that JSON can hold; NaN, infinity and the scalars of any array library are allowed too.
        tensors : dict of str to ndarray
        """
        text = json.dumps({"format_version": self.version, **values}, default=float)
        return safetensors_parts({self.key: text}, tensors)

    def read(self, path: str | Path, build: Callable[[dict[str, Any], dict[str, np.ndarray]], _T]) -> _T:
        """Read a file and return ``build(values, tensors)``, made of its JSON and its arrays.

        Parameters
        ----------
        path : str or Path
        build : callable
            Takes the JSON values and the arrays by name.

        Raises
        ------
        ModelFormatError
            The file is missing or truncated, is not a safetensors file, lacks this format's metadata, or `build`
            rejects it.
        """
        metadata, tensors = self._read(Path(path))
        try:
            values = json.loads(metadata)
            version = values["format_version"]
            if version != self.version:
                newer = isinstance(version, int) and version > self.version
                hint = " Update xpnet: pip install -U xpnet" if newer else ""
                raise ModelFormatError(
                    f"expected the format version {self.version}; received version {version!r:.40}.{hint}"
                )
            return build(values, tensors)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as exc:
            own = isinstance(exc, ModelFormatError | InvalidParameterError)
            reason = str(exc) if own else f"expected whole metadata; received {type(exc).__name__}: {exc}"
            raise ModelFormatError(f"{path}: no usable xpnet {self.what}: {' '.join(reason.split())[:300]}") from exc

    def _read(self, path: Path) -> tuple[str, dict[str, np.ndarray]]:
        from safetensors import safe_open

        if path.is_dir():
            hint = f"Give the {self.what}.safetensors in it."
            raise ModelFormatError(f"{path}: expected a {self.what} file; received a folder. {hint}")
        try:
            open_file(path).close()  # the library would wait for a pipe
            with safe_open(path, framework="numpy") as file:
                metadata = (file.metadata() or {}).get(self.key)
            tensors = _read_tensors(path)
        except OSError as exc:
            raise ModelFormatError(f"{path}: expected a {self.what} file; received: {exc.strerror or exc}") from exc
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ModelFormatError(
                f"{path}: expected a whole safetensors file; received a damaged file or another format ({exc!s:.300})"
            ) from exc
        if metadata is None:
            raise ModelFormatError(
                f"{path}: expected a {self.what} written by xpnet; received a safetensors file without the metadata "
                f"{self.key!r}"
            )
        return metadata, tensors


def safetensors_parts(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """Yield the content of a file: the length of its header, the header, and the arrays, which are not copied.

    The arrays begin at multiples of their item sizes: the largest sizes come first.
    """
    codes = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": codes[array.dtype.newbyteorder("<")],
            "shape": array.shape,
            "data_offsets": (start, end),
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    yield len(encoded).to_bytes(8, "little")
    yield encoded
    for _, array in ordered:
        yield np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a valid file. Without free memory this is a MemoryError; the library ends the program."""
    with open_file(path) as file:
        n_header = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_header))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            file.seek(8 + n_header + entry["data_offsets"][0])
            array = np.fromfile(file, _DTYPES[entry["dtype"]], math.prod(entry["shape"]))
            tensors[name] = array.reshape(entry["shape"])
    return tensors
