"""Writes what a quantized graph compiles to: fake-quant model, deploy model, record, quantization file.

The four files appear together or not at all: they are written in a folder aside, the fake-quant model is
opened and run there, and only then are they moved into place.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from qir.backends.ascend import deploy
from qir.backends.ascend.quant_info import quant_info
from qir.backends.ascend.record import print_record, records
from qir.backends.fake_quant import check_form, lower
from qir.backends.layers import Integers
from qir.backends.trial import Outputs, largest_difference, made_up_feeds
from qir.frontends.onnx import WrittenNodes, data_beside, save_model, saved_files
from qir.ir.errors import BackendError, ConfigError, ModelError, QirError
from qir.ir.graph import Graph
from qir.ir.weight_passes import weight_passes
from qir.runtime.arena import shrink_shared_arena
from qir.runtime.memory import return_freed_memory
from qir.runtime.run_file import ModelFile
from qir.runtime.session import EXACT_INT8, Feeds, Session

T = TypeVar("T")
R = TypeVar("R")
_SATURATED = 0.02  # of the range of an output; other roundings stay far below
_OTHER_FORM = "write form 'ascend'"
_NARROW = "give weights 7 bits (`insert-quant{weight-bits=7}` in the pipeline)"
"""What keeps int8 sums from saturating: sums of two products fit into 16 bits then."""
_log = logging.getLogger(__name__)


class Paths(NamedTuple):
    """Where the files of one quantized model are; models over 2 GB have their data in `<model>.data`.

    Of targets without a deploy model only the fake-quant model is there.
    """

    fake_quant_model: Path
    deploy_model: Path
    record: Path
    quant_info: Path

    @property
    def written(self) -> tuple[Path, ...]:
        """The files that are there, each model with its data."""
        models = (file for path in self[:2] if path.exists() for file in saved_files(path))
        return (*models, *(path for path in self[2:] if path.exists()))


def output_paths(prefix: str | os.PathLike[str]) -> Paths:
    """`<prefix>_fake_quant_model.onnx` and so on; an empty prefix or one ending in `/` adds no name."""
    text = os.fspath(prefix)
    folder, name = os.path.split(text)
    start = f"{name}_" if name else ""
    return Paths(
        Path(folder, f"{start}fake_quant_model.onnx"),
        Path(folder, f"{start}deploy_model.onnx"),
        Path(folder, f"{start}record.txt"),
        Path(folder, f"{start}quant.json"),
    )


def check_prefix(prefix: str | os.PathLike[str]) -> None:
    """BackendError unless files of that prefix can be written: before the work, not after it.

    The folder itself may be missing, it is then created; the folder around it must be there.
    """
    paths = output_paths(prefix)
    folder = paths.record.parent
    for path in paths:
        if path.is_dir():
            raise BackendError(f"'{path}' is to be written but is a folder; choose another output prefix")
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        missing = "does not exist" if not place.exists() else "is not a folder"
        raise BackendError(
            f"the output folder '{folder}' cannot be made: '{place}' {missing}; create it first"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise BackendError(f"the output folder '{place}' is read-only; choose another output prefix")


def write_files(
    graph: Graph, prefix: str | os.PathLike[str], form: str = "ascend", feeds: Feeds | None = None
) -> Paths:
    """Write the files of a completely quantized graph; `form` is that of the fake-quant model.

    `feeds` is one set of inputs for the trial run (made up from the input types when None). BackendError when
    the graph has open quants, the place cannot be written, or the fake-quant model fails its trial run.
    """

    def look(_: Paths) -> Callable[[object], None]:
        return lambda _: None

    paths, _ = write_and_look(graph, prefix, form, feeds, look)
    return paths


def write_and_look(
    graph: Graph,
    prefix: str | os.PathLike[str],
    form: str,
    feeds: Feeds | None,
    look: Callable[[Paths], Callable[[R | None], T]],
    examine: Callable[[ModelFile], R] | None = None,
    *,
    deploys: bool = True,
) -> tuple[Paths, T]:
    """As `write_files`, and what a look at the files shows, before they are in their place.

    `examine` runs the written fake-quant model, with one thread and ONNX Runtime's optimizations, in place of
    a trial run on `feeds`. Beside it, `look` sees the files and may begin; what it returns ends the look,
    given what `examine` returned. An error of either leaves no file. Without `deploys` the fake-quant model
    is all that is written.
    """
    check_form(form)
    check_prefix(prefix)
    paths = output_paths(prefix)
    fake_quant = lower(graph, form, feeds)

    def write_rest(aside: Paths) -> Callable[[R | None], T]:
        if deploys:
            write_ascend(graph, aside, os.path.basename(prefix) or graph.name)
        return look(aside)

    with _published(paths, prefix) as aside:
        save_model(fake_quant, aside.fake_quant_model)
        fake_quant.release()  # as large as the float model, and what looks at the files takes memory too
        return_freed_memory()
        with ThreadPoolExecutor(1) as beside:
            # Not before the model is open: opening it takes three times its weights.
            looking = functools.cache(lambda: beside.submit(write_rest, aside))
            tried = _trial_run(graph, aside.fake_quant_model, form, feeds, looking, examine, deploys)
            shrink_shared_arena()
            return_freed_memory()
            end_look = looking().result()
        seen = end_look(tried)
    return paths, seen


@contextlib.contextmanager
def _published(paths: Paths, prefix: str | os.PathLike[str]) -> Iterator[Paths]:
    """Where to write the files aside; what was written is moved into place at the end, if all went well."""
    folder = paths.record.parent
    created = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".qir-", dir=folder) as made:
            yield Paths(*(Path(made, path.name) for path in paths))
            _publish(sorted(Path(made).iterdir()), paths)
    except BaseException as error:
        if created and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        if isinstance(error, (OSError, ConfigError)):
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise BackendError(f"the files '{prefix}_…' cannot be written: {reason}") from error
        raise


def write_ascend(
    graph: Graph,
    paths: Paths,
    title: str,
    integers: Integers | None = None,
    nodes: WrittenNodes | None = None,
) -> None:
    """Write the deploy model and what goes with it; `title` names it in the quantization file.

    `integers` holds those of other graphs with the same constants, `nodes` those of other deploy models.
    """
    deployed = deploy.lower(graph, integers)
    save_model(deployed, paths.deploy_model, written=nodes)
    paths.record.write_text(print_record(records(graph), weight_passes(graph)), encoding="utf-8")
    paths.quant_info.write_text(quant_info(graph, deployed, title), encoding="utf-8")
    deployed.release()


def _trial_run(
    graph: Graph,
    path: Path,
    form: str,
    feeds: Feeds | None,
    opened: Callable[[], object],
    examine: Callable[[ModelFile], R] | None,
    deploys: bool,
) -> R | None:
    """Open the written fake-quant model, call `opened`, and run it: as `examine` does, or once on `feeds`.

    Where nothing can be fed, opening it must do.
    """
    given = made_up_feeds(graph) if feeds is None else feeds
    try:
        model = ModelFile(path, exact=form == "qdq", threads=1, shared=True)
        opened()
        if given is None:
            _log.warning("'%s' was opened but not run: the input types do not say what to feed it", path.name)
            return None
        if form == "qdq":
            _try_default_options(path, given, model.run(given), _NARROW if not deploys else _OTHER_FORM)
        elif examine is None:
            model.run(given)
        return None if examine is None else examine(model)
    except ModelError as error:
        failure = None if given is None else _failure(graph, given)
        if failure is not None and feeds is None:
            _log.warning("'%s' was not run: made-up inputs do not fit the float model either", path.name)
            return None
        if failure is not None:
            raise BackendError(f"the float model itself fails: {failure}") from error
        raise BackendError(f"the fake-quant model fails its trial run: {error}") from error


def _try_default_options(path: Path, feeds: Feeds, exact: Outputs, otherwise: str) -> None:
    """Warn of what users meet who let ONNX Runtime fuse the Q/DQ pairs into int8 kernels.

    On x86 without VNNI these kernels saturate, which `otherwise` avoids, too; and some fusions fail.
    """
    try:
        difference = largest_difference(exact, ModelFile(path).run(feeds))
    except ModelError as error:
        _log.warning(
            "with its int8 optimizations on, %s: set the session option %s to %s", error, *EXACT_INT8
        )
        return
    if difference.relative > _SATURATED:
        _log.warning(
            "ONNX Runtime saturates int8 sums on this processor, which moves output '%s' of '%s' by %.0f %%: "
            "set the session option %s to %s where you run it, or %s",
            difference.name,
            path.name,
            100 * difference.relative,
            *EXACT_INT8,
            otherwise,
        )


def _failure(graph: Graph, feeds: Feeds) -> QirError | None:
    """What happens when the float model runs."""
    try:
        Session(graph, threads=1).run(feeds)
    except QirError as error:
        return error
    return None


def stale_files(paths: Paths, written: Collection[str]) -> list[Path]:
    """What stands at `paths` from an earlier run, data of large models included, but for names `written`."""
    possible = (file for path in paths for file in (path, data_beside(path)))
    return [file for file in possible if file.name not in written and file.exists()]


def _publish(files: Sequence[Path], paths: Paths) -> None:
    """Move files into the place of `paths`; if one cannot be moved, what stood there before is put back.

    What an earlier run has left at `paths`, and this one does not write, is of another model: it goes.
    """
    done: list[tuple[Path, Path | None]] = []
    aside, folder = files[0].parent, paths.record.parent
    try:
        for target in stale_files(paths, {path.name for path in files}):
            old = aside / f"{target.name}.old"
            os.replace(target, old)
            done.append((target, old))
        for path in files:
            target = folder / path.name
            kept = path.with_name(f"{path.name}.old") if target.exists() else None
            if kept is not None:
                os.replace(target, kept)
            done.append((target, kept))
            os.replace(path, target)
    except BaseException:
        for target, kept in reversed(done):
            target.unlink(missing_ok=True)
            if kept is not None:
                os.replace(kept, target)
        raise
