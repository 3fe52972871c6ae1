"""The golden nets of the reference as modules of PyTorch, with the weights of their float models."""

from __future__ import annotations

import onnx
import torch
from amct_reference import DATA
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F  # noqa: N812


class CnnBn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.dw, self.bn2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.BatchNorm2d(8)
        self.pw, self.pool = nn.Conv2d(8, 16, 1), nn.AvgPool2d(2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu6(self.bn2(self.dw(x)))
        x = self.pool(F.relu(self.pw(x)))
        return self.fc(torch.flatten(x, 1))


class Resid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.a, self.abn = nn.Conv2d(12, 12, 3, padding=2, dilation=2), nn.BatchNorm2d(12)
        self.b, self.bbn = nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.short, self.head = nn.Conv2d(12, 12, 1), nn.Conv2d(12, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.stem(x))
        y = self.bbn(self.b(F.relu(self.abn(self.a(x)))))
        return self.head(F.leaky_relu(y + self.short(x), 0.1)).mean((2, 3))


class Decon(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.up, self.ubn = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, groups=2), nn.BatchNorm2d(6)
        self.up2, self.out = nn.ConvTranspose2d(6, 3, 2, stride=2, bias=False), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.ubn(self.up(F.elu(self.c(x)))))
        return torch.sigmoid(self.out(self.up2(x)))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(16, 32), nn.Linear(32, 32, bias=False), nn.Linear(32, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.l1(x))
        return self.l3(x * torch.sigmoid(self.l2(x)))


class Vol(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c3, self.b3 = nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6)
        self.c3b = nn.Conv3d(6, 4, (1, 3, 3), stride=(1, 2, 2))
        self.c1, self.fc = nn.Conv1d(4, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.c3b(F.relu(self.b3(self.c3(x))))).mean((3, 4))
        return self.fc(F.relu(self.c1(x)).mean(2))


class Variant(nn.Module):
    """The net of the variants: two layers that read one tensor, groups, a Linear in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 8, 1)
        self.gdc = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.gc = nn.Conv2d(6, 6, 3, groups=3, bias=False)
        self.l3, self.l4 = nn.Linear(6, 5), nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gc(self.gdc(F.relu(self.c1(x) + self.c2(x))))
        return self.l4(F.relu(self.l3(x.flatten(2).transpose(1, 2))))


VARIANTS = ("default_sym", "hfmg", "fp16", "int4", "dmq")
NETS = {"cnn_bn": CnnBn, "resid": Resid, "decon": Decon, "mlp": Mlp, "vol": Vol}


def net(name: str) -> nn.Module:
    """A golden net with its weights, in evaluation mode."""
    module = Variant() if name in VARIANTS else NETS[name]()
    held = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in _initializers(name)}
    missing, surplus = module.load_state_dict(held, strict=False)
    assert not surplus
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return module.eval()


def _initializers(name: str) -> list[onnx.TensorProto]:
    return list(onnx.load(DATA / name / "float.onnx").graph.initializer)
