"""The files that a search puts in place are those of one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import qir
from qir.samples import sample_named
from qir.search.published import Place

SAMPLE = sample_named("digits")


def test_files_of_an_earlier_search_for_another_target_do_not_stay(tmp_path: Path) -> None:
    with np.load(SAMPLE.calibration) as data:
        feeds = [{"input": data["input"][:2]}]
    graph = qir.quantize(SAMPLE.model, feeds).graph
    for deploys, count in ((True, 4), (False, 1)):
        place = Place(str(tmp_path / "m"), "qdq", feeds, deploys)
        place.clear()
        place.publish(graph)
        place.remove_scratch()
        assert len(list(tmp_path.iterdir())) == count
        assert place.paths.fake_quant_model.exists()
