"""A file is there whole or not at all, and a writer that was killed leaves nothing behind for long."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def killed_while_writing(target: Path) -> None:
    with written_aside(target) as file:
        file.write(b"half of what was to come, and longer than the rest")
        file.flush()
        os.kill(os.getpid(), 9)


def test_the_next_writer_takes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    process = multiprocessing.get_context("spawn").Process(target=killed_while_writing, args=(target,))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert not target.exists()
    assert hidden(tmp_path) == [".model.onnx.tmp"]
    with written_aside(target) as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
    assert hidden(tmp_path) == []


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with written_aside(target) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert hidden(tmp_path) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    expected = r"model\.onnx' cannot be written: No space left"
    with pytest.raises(ConfigError, match=expected), written_aside(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_writers_of_one_file_wait_for_each_other(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    failures: list[BaseException] = []

    def write(byte: bytes) -> None:
        try:
            for _ in range(50):
                with written_aside(target) as file:
                    for _ in range(20):
                        file.write(byte * 1000)
                        file.flush()
                assert len(set(target.read_bytes())) == 1
        except BaseException as error:  # a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=write, args=(bytes([i]),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(target.read_bytes()) == 20_000
    assert hidden(tmp_path) == []
