"""Memory: its peak, and that calibration holds no more of many samples than of a few."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from qir.runtime.memory import peak_memory

MB = 1_000_000
GROWTH = """
import numpy as np
import qir
from qir.runtime.memory import peak_memory

NET = qir.parse('''
graph @net(%x: f32[N,1,512,512]) {
  opsets {onnx=17}
  %w = const [0.5,0.25] : f32[2,1,1,1]
  %a = Conv "a"(%x, %w) : f32[N,2,512,512]
  %p = AveragePool "p"(%a) {kernel_shape=[8,8], strides=[8,8]} : f32[N,2,64,64]
  return %p
}
''')

def samples(count):
    for i in range(count):
        yield {"x": np.full((1, 1, 512, 512), i + 1.0, np.float32)}  # 1 MB each, and 2 MB behind the layer

def peak(count):
    assert qir.calibrate(NET, samples(count)).origin.units == count
    return peak_memory()

few = peak(40)  # more than the 16 threads at most of a large machine have under way
print(peak(200) - few)
"""


def test_the_peak_rises_with_what_is_held() -> None:
    before = peak_memory()
    held = np.ones(300 * MB // 8)
    assert peak_memory() >= held.nbytes
    assert peak_memory() >= before


def test_calibration_takes_no_more_memory_for_more_samples() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60 * MB  # of the 480 MB that the further samples and their tensors are
