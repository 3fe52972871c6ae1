"""The workers of a dask.distributed cluster. Dask itself runs the jobs of a worker that dies elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from qir.ir.errors import ConfigError
from qir.runtime.sharding import ExecutorShards

_CONNECT_SECONDS = 20


class DaskShards(ExecutorShards):
    """All workers of the cluster whose scheduler is at `address`, as a context manager."""

    def __init__(self, address: str) -> None:
        """ConfigError when dask is not installed, nobody answers there, or the cluster has no workers."""
        self._client = _client(address)
        threads = sum(self._client.nthreads().values())
        if threads == 0:
            self._client.close()
            raise ConfigError(f"the dask cluster at '{address}' has no workers; start some (`dask worker`)")
        super().__init__(self._client.get_executor(pure=False), threads)
        self._settings = _without_warnings()

    def __enter__(self) -> DaskShards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()
        self._settings.__exit__(None, None, None)


def _without_warnings() -> Any:  # noqa: ANN401 - as below
    """Settings, until they are left, that let jobs be as large as a model: each worker needs it once."""
    from dask import config  # noqa: PLC0415 - as below

    return config.set({"distributed.admin.large-graph-warning-threshold": "64 GiB"})


def _client(address: str) -> Any:  # noqa: ANN401 - dask has no types
    try:
        from distributed import Client  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ConfigError("--dask needs dask.distributed: pip install 'qir[dask]'") from error
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no dask scheduler answers at '{address}' ({type(error).__name__}: {error}); give the address "
            f"that `dask scheduler` prints, as in tcp://10.0.0.1:8786"
        ) from error
