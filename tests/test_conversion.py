"""The job that turns a float model and a record into both graphs, through the Python front door."""

from __future__ import annotations

from pathlib import Path

import pytest

import qir
from qir.backends.ascend.record import records
from qir.backends.ascend.record_reader import parse_record
from qir.ir.errors import BackendError
from qir.samples import sample_named

SAMPLE = sample_named("digits")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> qir.Quantized:
    out = tmp_path_factory.mktemp("out") / "digits"
    return qir.quantize(SAMPLE.model, SAMPLE.calibration, output=out, method="min-max")


def test_the_record_of_a_quantization_gives_its_files_again(
    quantized: qir.Quantized, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert quantized.paths is not None
    converted = qir.convert_record(SAMPLE.model, quantized.paths.record, tmp_path / "digits")
    assert len(converted.paths) == 4
    for old, new in zip(quantized.paths, converted.paths, strict=True):
        assert old.name == new.name
        assert old.read_bytes() == new.read_bytes(), new.name
    assert [(x.name, x.precision) for x in converted.layers] == [
        (x.name, x.precision) for x in quantized.report.layers
    ]
    assert not [r for r in caplog.records if "other fusions" in r.message]


def test_a_record_may_be_a_path_a_text_or_read_already(quantized: qir.Quantized) -> None:
    assert quantized.paths is not None
    path = quantized.paths.record
    model = qir.load(SAMPLE.model)
    text = str(model)
    expected = str(qir.apply_record(model, path))
    assert str(model) == text
    for record in (str(path), path.read_text(), path.read_bytes()):
        assert str(qir.apply_record(model, record)) == expected
    read = parse_record(path.read_text())  # which no longer says that equalize-layers comes first
    assert str(qir.apply_record(model, read, pipeline="default")) == expected
    graph = qir.apply_record(SAMPLE.model, path, pipeline="infer-types,fuse-bn,normalize-gemm")
    assert len(records(graph)) == len(parse_record(path.read_text()))


def test_a_record_of_weights_that_data_have_changed_is_refused(quantized: qir.Quantized) -> None:
    assert quantized.paths is not None
    text = quantized.paths.record.read_text()
    assert text.startswith("# after pass: equalize-layers\nrecord {")
    other = text.replace("equalize-layers", "equalize-inputs{strength=0.25}", 1)
    with pytest.raises(BackendError, match="weights after 'equalize-inputs', which needs the calibration"):
        qir.apply_record(SAMPLE.model, other)


def test_scales_of_other_weights_are_told(quantized: qir.Quantized, caplog: pytest.LogCaptureFixture) -> None:
    assert quantized.paths is not None
    layers = parse_record(quantized.paths.record.read_text())
    name = "/a/a.0/Conv"
    for factor, told in ((1.0, False), (0.1, True), (10.0, True)):
        caplog.clear()
        scales = tuple(factor * s for s in layers[name].scale_w)
        record = {name: layers[name].__class__(0.1, 0, scales)}
        qir.apply_record(SAMPLE.model, record, pipeline="default")
        assert (f"layer '{name}': its weights reach" in caplog.text) == told


def test_inputs_are_not_overwritten(quantized: qir.Quantized, tmp_path: Path) -> None:
    assert quantized.paths is not None
    record = tmp_path / "record.txt"
    record.write_bytes(quantized.paths.record.read_bytes())
    with pytest.raises(qir.QirError, match=r"record.txt' is read, so it is not overwritten"):
        qir.convert_record(SAMPLE.model, record, f"{tmp_path}/")
    model = tmp_path / "m_deploy_model.onnx"
    model.write_bytes(SAMPLE.model.read_bytes())
    with pytest.raises(qir.QirError, match=r"deploy_model.onnx' is read"):
        qir.convert_record(model, record, tmp_path / "m")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m_deploy_model.onnx", "record.txt"]


def test_nothing_is_written_for_a_record_that_does_not_fit(quantized: qir.Quantized, tmp_path: Path) -> None:
    assert quantized.paths is not None
    text = quantized.paths.record.read_text().replace("/a/a.0/Conv", "/a/a.0/Konv")
    with pytest.raises(qir.QirError, match=r"cannot find layer '/a/a.0/Konv'.*did you mean '/a/a.0/Conv'"):
        qir.convert_record(SAMPLE.model, text, tmp_path / "x" / "digits")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the record 'r.txt' is empty, no layers to be quantized"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"record {", r"the record_file{r.txt} cannot be parsered"),
        (None, "r.txt' cannot be read: No such file"),
    ],
)
def test_unreadable_records(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(qir.QirError, match=message):
        qir.apply_record(SAMPLE.model, path)


def test_pipelines_are_checked(quantized: qir.Quantized) -> None:
    assert quantized.paths is not None
    with pytest.raises(qir.QirError, match="did you mean 'amct'"):
        qir.apply_record(SAMPLE.model, quantized.paths.record, pipeline="amtc")
