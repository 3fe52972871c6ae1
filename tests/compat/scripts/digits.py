# The network of the samples: the packaged model `digits` as a module.
import torch
from torch import nn


def block(inputs, outputs, size, stride=1, groups=1, bias=False, last=True):
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU()] if last else []))


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = block(1, 24, 3), block(24, 24, 3, stride=2, groups=24)
        self.c, self.pool = block(24, 48, 1), nn.AvgPool2d(2)
        self.d, self.e = block(48, 48, 3), block(48, 48, 3, bias=True, last=False)
        self.f1, self.f2 = nn.Linear(768, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = self.d(self.pool(self.c(self.b(self.a(x)))))
        x = torch.relu(x + self.e(x))
        return self.f2(torch.relu(self.f1(x.flatten(1))))
