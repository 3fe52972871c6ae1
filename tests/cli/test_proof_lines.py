"""What is printed of a proof."""

from __future__ import annotations

from qir.backends.proof_result import LayerProof, OutputDifference, Proof
from qir.cli.proof_lines import proof_lines


def layer(name: str, bound: int = 9, different: int = 0, flips: int = 0, moved: bool = False) -> LayerProof:
    return LayerProof(name, "Conv", bound, 100, 250, different, float(different), flips, moved)


def test_no_proof_no_lines() -> None:
    assert proof_lines(None) == []


def test_a_clean_proof_is_one_line() -> None:
    proof = Proof(1, (layer("a"), layer("b")), (OutputDifference("y", 0.0),))
    assert proof_lines(proof) == [
        "proof: deploy and fake-quant graph agree on 1 sample: 500 integers of 2 layers are equal, "
        "and outputs are equal to the bit"
    ]
    alone = Proof(1, (layer("a"),), (OutputDifference("y", 0.0),))
    assert "250 integers of 1 layer are equal" in proof_lines(alone)[0]


def test_everything_else_is_said() -> None:
    wide = [layer(f"wide{i}", 2**24, 1) for i in range(7)]
    proof = Proof(
        3, (*wide, layer("behind", different=2, flips=8, moved=True)), (OutputDifference("y", 0.5),)
    )
    first, second, third, fourth = proof_lines(proof)
    assert first.startswith("proof: 9 of 2000 integers of 8 layers differ")
    assert "on 3 samples" in first
    assert first.endswith("outputs are within 0.5")
    assert "proof: 1 layer is exact for every input; sums of 'wide0', " in second
    assert "'wide4' and 2 more can reach 2^24" in second
    assert third == "proof: that rounding moved what 1 layer behind reads, which was not held to equality"
    assert "change 8 integers" in fourth
    assert "(1 %)" in fourth
    more = Proof(1, (*wide, layer("one"), layer("two"), *(layer(n, moved=True) for n in "ab")), ())
    assert proof_lines(more)[1].startswith("proof: 4 layers are exact for every input; ")
    assert "what 2 layers behind read, which were not held" in proof_lines(more)[2]
