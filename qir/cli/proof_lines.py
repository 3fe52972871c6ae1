"""What a proof has shown, in a few lines."""

from __future__ import annotations

from qir.backends.proof_result import Proof

_LISTED = 5


def proof_lines(proof: Proof | None) -> list[str]:
    """Sentences for the summary of a job; none without a proof."""
    if proof is None:
        return []
    samples = f"{proof.samples} sample{'s' if proof.samples != 1 else ''}"
    proven = len(proof.layers) - len(proof.unprovable)
    counted = f"{proof.compared} integers of {len(proof.layers)} layer{'s' if len(proof.layers) != 1 else ''}"
    outputs = "equal to the bit" if proof.max_abs == 0 else f"within {proof.max_abs:.3g}"
    if proof.different:
        lines = [
            f"proof: {proof.different} of {counted} differ between deploy and fake-quant graph on {samples}, "
            f"as float32 rounds sums in the latter; outputs are {outputs}"
        ]
    else:
        lines = [
            f"proof: deploy and fake-quant graph agree on {samples}: {counted} are equal, and outputs are "
            f"{outputs}"
        ]
    if proof.unprovable:
        names = ", ".join(f"'{layer.name}'" for layer in proof.unprovable[:_LISTED])
        more = "" if len(proof.unprovable) <= _LISTED else f" and {len(proof.unprovable) - _LISTED} more"
        exact = "1 layer is" if proven == 1 else f"{proven} layers are"
        lines.append(
            f"proof: {exact} exact for every input; sums of {names}{more} can reach 2^24, which float32 "
            "cannot hold: they were compared within rounding"
        )
    if proof.moved:
        count = len(proof.moved)
        read = "1 layer behind reads, which was" if count == 1 else f"{count} layers behind read, which were"
        lines.append(f"proof: that rounding moved what {read} not held to equality")
    if proof.flips:
        lines.append(
            f"proof: ONNX Runtime's default optimizations change {proof.flips} integers of the fake-quant "
            f"graph ({100 * proof.flips / proof.read:.2g} %); run it with them off to see the deploy graph's"
        )
    return lines
