"""kill -9, a full disk, a cut line: the search goes on where it was, and the best model is whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import killed
import onnx
import pytest
from chain import Counting, chain, in_order, samples

import qir
from qir.backends.files import Paths
from qir.ir.errors import QirError
from qir.search.errors import JournalError
from qir.search.fingerprints import Fingerprints
from qir.search.journal import Journal, journal_path
from qir.search.published import Place

FILES = ("c_deploy_model.onnx", "c_fake_quant_model.onnx", "c_quant.json", "c_record.txt")


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.ForkServerContext:
    """Makes processes that have imported everything, so that most of their time is the search."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "qir.search.driver", "qir.search.tuning.driver"])
    return context


def measured(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "c_journal.jsonl").read_text().splitlines()]
    return [json.dumps(line["lowered"]) for line in lines if line["kind"] == "metric"]


@pytest.mark.parametrize(
    ("seed", "work", "files"),
    [(1, killed.run, FILES), (2, killed.tune, (*FILES, "c_quant_config.json", "c_resolved_config.json"))],
)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    seed: int,
    work: Callable[[str], None],
    files: tuple[str, ...],
    server: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    killed_after(server, work, whole, None, 0)
    draw = random.Random(seed)
    kills = 0
    while not (cut / "done").exists():
        more = draw.randint(1, 3) if kills < 5 else None
        kills += killed_after(server, work, cut, more, draw.uniform(0, 0.3))
        check_published(cut)
    # However fast the machine: evaluations sleep, and until the second kill there is time for half of them.
    assert kills >= 2, "the search was over before it could be killed"
    for name in files:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert measured(cut) == measured(whole), "an evaluation was repeated, or another one was made"
    lines = (cut / "log.txt").read_text().splitlines()
    for ended in {line for line in lines if line.startswith("end")}:
        times = lines.count(ended)
        assert times == 1 or times <= 1 + kills, "more often than it could have been cut off from the journal"
    repeated = sum(line.startswith("end") for line in lines) - len(measured(cut))
    assert repeated <= kills
    assert sorted(p.name for p in cut.iterdir() if p.name.startswith(".")) == []


def killed_after(
    server: multiprocessing.context.ForkServerContext,
    work: Callable[[str], None],
    folder: Path,
    lines: int | None,
    seconds: float,
) -> bool:
    """Run the search; True when it was killed, so long after its evaluator had left so many more lines."""
    process = server.Process(target=work, args=(str(folder),))
    log = folder / "log.txt"
    log.touch()
    before = len(log.read_text().splitlines())
    process.start()
    while lines is not None and process.is_alive():
        if len(log.read_text().splitlines()) >= before + lines:
            time.sleep(seconds)
            process.kill()
            break
        time.sleep(0.005)
    process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode == -9


def check_published(folder: Path) -> None:
    """Each model that is in place is whole."""
    for name in FILES[:2]:
        if (folder / name).exists():
            onnx.load(folder / name)


def fingerprints(**changes: str) -> Fingerprints:
    names = ("weights", "graph", "config", "data", "evaluator", "sensitivity")
    return Fingerprints(**{**dict.fromkeys(names, "0"), **changes})


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "c")
    with Journal(path) as journal:
        journal.begin(fingerprints(), restart=False)
        journal.append({"kind": "metric", "key": "k", "lowered": {}, "metric": {"value": 1.5}})
    text = path.read_bytes()
    for cut in range(1, len(text.splitlines(keepends=True)[-1])):
        path.write_bytes(text[:-cut])
        with Journal(path) as journal:
            assert journal.metric("k", {}) is None
            journal.append({"kind": "metric", "key": "k", "lowered": None, "metric": {"value": 2}})
            assert journal.metric("k", None) is not None
        assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["inputs", "metric"]


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c_journal.jsonl"
    path.write_text("dear diary\nnothing happened\n")
    with pytest.raises(JournalError, match=r"line 1 of .* is no journal"):
        Journal(path)
    assert path.read_text() == "dear diary\nnothing happened\n"
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(tmp_path / "missing" / "folder" / "j.jsonl")
    path.write_text("")
    with Journal(path):  # the lock went with the error
        pass


def test_answers_belong_to_their_inputs(tmp_path: Path) -> None:
    one, other = fingerprints(), fingerprints(evaluator="1")
    with Journal(tmp_path / "j") as journal:
        assert journal.begin(one, restart=False) == ()
        journal.append({"kind": "metric", "key": one.key(("evaluator",)), "lowered": {}, "metric": {}})
        assert journal.begin(other, restart=False) == ("evaluator",)
        assert journal.metric(other.key(("evaluator",)), {}) is None
    with Journal(tmp_path / "j") as journal:
        assert journal.begin(one, restart=False) == ("evaluator",)
        assert journal.metric(one.key(("evaluator",)), {}) is not None
        with pytest.raises(JournalError, match="another model"):
            journal.begin(fingerprints(graph="1"), restart=False)
        assert journal.begin(fingerprints(graph="1"), restart=True) == ()
        assert journal.metric(one.key(("evaluator",)), {}) is None


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append({"kind": "metric", "key": "k", "lowered": None})
        before = (tmp_path / "j").read_bytes()
        write = __import__("os").write

        def full(file: int, data: bytes) -> int:
            if len(data) <= 8:
                raise OSError(28, "No space left on device")
            return write(file, data[:8])

        monkeypatch.setattr("os.write", full)
        with pytest.raises(JournalError, match="No space left"):
            journal.append({"kind": "metric", "key": "other", "lowered": None})
        assert (tmp_path / "j").read_bytes() == before
        monkeypatch.undo()
        journal.append({"kind": "metric", "key": "other", "lowered": None})
        assert len((tmp_path / "j").read_text().splitlines()) == 2


def test_what_was_evaluated_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    with Journal(tmp_path / "j") as journal:
        journal.append({"kind": "ranking", "key": "k", "scores": {}})
        assert synced == []
        journal.append({"kind": "metric", "key": "k", "lowered": None})
        assert synced == [(tmp_path / "j").stat().st_size]


def test_a_full_disk_leaves_no_empty_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(JournalError, match="No space left"), Journal(tmp_path / "j") as journal:
        journal.append({"kind": "metric", "key": "k", "lowered": None})
    assert not (tmp_path / "j").exists()


def test_a_full_disk_leaves_the_best_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def search() -> None:
        qir.auto_quantize(
            chain(), samples(), Counting({"g0"}), output=tmp_path / "c", sensitivity=in_order, proof_samples=0
        )

    replaced: list[int] = []

    def full(*args: object, **options: object) -> None:
        replaced.append(1)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        published = Place.publish_candidate

        def once(place: Place, graph: qir.Graph, candidate: Path) -> None:
            if (tmp_path / "c_record.txt").exists():
                patch.setattr("qir.backends.files.save_model", full)
            published(place, graph, candidate)

        patch.setattr("qir.search.published.Place.publish_candidate", once)
        with pytest.raises(QirError, match="No space left"):
            search()
    assert replaced
    assert killed.floats(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1", "g2"}
    count = len(measured(tmp_path))
    search()
    assert killed.floats(tmp_path / "c_fake_quant_model.onnx") == {"g0"}
    assert len(measured(tmp_path)) == count


def test_files_on_their_way_into_place_are_moved_by_the_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(str(tmp_path / "c"), "ascend", ())
    place.clear()
    for path in place.paths:
        path.write_text("old")
    candidate = place.scratch / "step3" / place.paths.fake_quant_model.name
    candidate.parent.mkdir()
    candidate.write_text("new")

    def write(_: qir.Graph, paths: Paths, *known: object) -> None:
        for path in paths[1:]:
            path.write_text("new")

    replace, moves = os.replace, iter((True, True, True, False))

    def killed(source: Path, target: Path) -> None:
        if not next(moves):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("qir.search.published.write_ascend", write)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            place.publish_candidate(chain(), candidate)
    assert sorted(path.read_text() for path in place.paths) == ["new", "new", "old", "old"]
    place.clear()
    assert [path.read_text() for path in place.paths] == ["new"] * 4
    assert list(place.scratch.iterdir()) == []
