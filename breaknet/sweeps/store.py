"""The folder of a sweep's results.

sweep.json               whose folder it is: the format and a checksum of the data; results on other data are refused
shards/DIGEST.parquet    the results of one shard, written whole or not at all; DIGEST names its jobs
.lock                    held by the one process that may write

A job is finished once the file with its row is in place: a kill at any moment loses the shard at work and no other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..data.splits import Digits
from ..errors import DataError
from ..files import kind_of, real_path, written_whole

FORMAT = "breaknet-sweep-1"

#: How to get the library that reads and writes Parquet.
ADVICE = "sweeps need pyarrow: pip install 'breaknet[sweep]'"


def parquet() -> Any:
    """The module pyarrow.parquet.

    Raises:
        ImportError: with one line that says how to install it.
    """
    try:
        import pyarrow.parquet as module
    except ImportError as error:
        raise ImportError(f"{ADVICE} ({error})") from error
    return module


def schema(parameters: bool = False) -> Any:
    """Columns and types of a shard's file; `parameters` are float32, little-endian, in the order of an MLP's."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    curves = ("curve_train_cost", "curve_valid_cost", "curve_train_accuracy", "curve_valid_accuracy")
    columns = [
        ("key", text), ("break", text), ("examples", whole), ("hidden", text), ("learning_rate", real),
        ("batch_size", whole), ("epochs", whole), ("seed", whole), ("points", whole), ("steps", whole),
        ("train_cost", real), ("valid_cost", real), ("train_accuracy", real), ("valid_accuracy", real),
        ("gap", real), ("diverged_at", whole), ("stuck_at", whole), ("backend", text), ("plan", text),
        ("device", text), ("curve_epoch", pa.list_(whole)), *((name, pa.list_(real)) for name in curves),
        *([("parameters", pa.binary())] if parameters else []),
    ]  # fmt: skip
    return pa.schema(columns, metadata={"breaknet": FORMAT})


def checksum(digits: Digits) -> str:
    """Of the training and the validation data."""
    found = hashlib.blake2b(digest_size=16)
    for split in (digits.train, digits.valid):
        found.update(np.ascontiguousarray(split.images).data)
        found.update(np.ascontiguousarray(split.labels).data)
    return found.hexdigest()


def read_all(folder: Path, keys: Sequence[str], parameters: bool = False) -> dict[str, list[Any]]:
    """`Store.read` of a folder whose data are not at hand."""
    return Store(folder, None).read(keys, parameters)


class Store:
    """A sweep's folder.

    Raises:
        DataError: for a folder that holds something else than a sweep on the same data, or that cannot be written.
        ImportError: without pyarrow.
    """

    def __init__(self, folder: str | os.PathLike[str], digits: Digits | None) -> None:
        self._parquet = parquet()
        self.folder = real_path(folder, "out")
        self.shards = self.folder / "shards"
        self._mark = {"format": FORMAT}
        if digits is not None:
            self._mark |= {"data": digits.source, "checksum": checksum(digits)}
        self._check()

    @property
    def _manifest(self) -> Path:
        return self.folder / "sweep.json"

    def _check(self) -> None:
        """Refuse a folder that is not this sweep's; one that is not there, or empty, may become it."""
        kind = kind_of(self.folder)
        if kind is None:
            return
        if kind != "a folder":
            raise DataError(f"{self.folder}: {kind} stands there; name a folder")
        if not self._manifest.exists():
            others = [path.name for path in self.folder.iterdir() if not self._own_beginning(path)]
            if others:
                raise DataError(
                    f"{self.folder}: holds other things than a sweep ({others[0]}); name another folder"
                )
            return
        try:
            found = json.loads(self._manifest.read_text(encoding="utf-8"))
            own = found["format"] == FORMAT and {"data", "checksum"} <= found.keys()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            own = False
        if not own:
            raise DataError(f"{self._manifest}: not the manifest of a sweep; name another folder")
        if found["checksum"] != self._mark.get("checksum", found["checksum"]):
            raise DataError(
                f"{self.folder}: holds results on other data ({found['data']}); name another folder"
            )

    def _own_beginning(self, path: Path) -> bool:
        """Whether a sweep that was killed before it had its manifest may have left this."""
        return path.name == ".lock" or _partial(path) or (path == self.shards and not any(path.iterdir()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The right to write, for one process at a time.

        Raises:
            DataError: where another one has it.
        """
        from filelock import FileLock, Timeout

        try:
            self.shards.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{self.folder}: another sweep is at work there") from None
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        try:
            self._check()
            for path in (*self.folder.iterdir(), *self.shards.iterdir()):
                if _partial(path):
                    path.unlink(missing_ok=True)
            if not self._manifest.exists():
                with written_whole(self._manifest) as unfinished:
                    unfinished.write_text(json.dumps(self._mark, indent=1) + "\n", encoding="utf-8")
            yield
        finally:
            lock.release()

    def write(self, rows: Sequence[dict[str, Any]]) -> Path:
        """Keep the results of a shard."""
        import pyarrow as pa

        name = hashlib.sha256("".join(row["key"] for row in rows).encode()).hexdigest()[:24]
        path = self.shards / f"{name}.parquet"
        table = pa.Table.from_pylist(list(rows), schema=schema("parameters" in rows[0]))
        with written_whole(path) as unfinished:
            self._parquet.write_table(table, unfinished)
        return path

    def finished(self, parameters: bool = False) -> set[str]:
        """The keys of all jobs whose results are kept; with `parameters`, of those whose parameters are kept too."""
        files = self._files(parameters)
        return {key for path in files for key in self._read(path, ["key"])["key"].to_pylist()}

    def read(self, keys: Sequence[str], parameters: bool = False) -> dict[str, list[Any]]:
        """The results of jobs by their keys, each once and in the order of `keys`; those not kept are left out."""
        import pyarrow as pa

        columns = schema(parameters)
        tables = [self._read(path, columns.names) for path in self._files(parameters)]
        # files of earlier versions have no stuck_at: it is null in them
        table = pa.concat_tables([columns.empty_table(), *tables], promote_options="default")
        places: dict[str, int] = {}
        for place, key in enumerate(table["key"].to_pylist()):
            places.setdefault(key, place)
        chosen = table.take(pa.array([places[key] for key in keys if key in places], pa.int64()))
        return {name: chosen[name].to_pylist() for name in columns.names}

    def _files(self, parameters: bool = False) -> list[Path]:
        """The result files; with `parameters`, those that hold them."""
        if not self.shards.is_dir():
            return []
        found = sorted(path for path in self.shards.iterdir() if not _partial(path))
        return [path for path in found if not parameters or "parameters" in self._read(path, None)]

    def _read(self, path: Path, columns: list[str] | None) -> Any:
        """Some columns of a file; None: the names of all.

        Raises:
            DataError: for a file that is broken or not of a sweep.
        """
        import pyarrow as pa

        try:
            with self._parquet.ParquetFile(path) as file:
                if (file.schema_arrow.metadata or {}).get(b"breaknet") != FORMAT.encode():
                    raise DataError(f"{path}: not a result file of a sweep; move it away")
                return file.schema_arrow.names if columns is None else file.read(columns=columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            if isinstance(error, DataError):
                raise
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{path}: a broken result file ({text}); delete it to have its jobs done again"
            ) from error


def _partial(path: Path) -> bool:
    """Whether a file is what a killed writer left behind; `written_whole` names them so."""
    name = path.name
    return (
        name.startswith(".")
        and (".parquet." in name or ".json." in name)
        and len(name.rsplit(".", 1)[1]) == 8
    )
