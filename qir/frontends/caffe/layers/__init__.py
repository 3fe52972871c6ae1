"""The layer types that qir reads: each is turned into ONNX ops by one function."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from qir.frontends.caffe.inputs import read_data, read_dummy_data, read_input, read_memory_data
from qir.frontends.caffe.layers.activation import (
    bnll,
    clip,
    copy,
    dropout,
    elu,
    prelu,
    relu,
    relu6,
    sigmoid,
    silence,
    swish,
    tanh,
    threshold,
)  # fmt: skip
from qir.frontends.caffe.layers.arithmetic import abs_val, axpy, eltwise, exp, log, power
from qir.frontends.caffe.layers.convolution import convolution, deconvolution, depthwise_convolution
from qir.frontends.caffe.layers.detection_output import detection_output
from qir.frontends.caffe.layers.inner_product import inner_product
from qir.frontends.caffe.layers.normalization import lrn, mvn, normalize, softmax
from qir.frontends.caffe.layers.pooling import pooling
from qir.frontends.caffe.layers.prior_box import prior_box
from qir.frontends.caffe.layers.reduction import arg_max, reduction
from qir.frontends.caffe.layers.resize import interp, upsample
from qir.frontends.caffe.layers.scale import batch_norm, bias, scale
from qir.frontends.caffe.layers.shape import (
    concat,
    crop,
    flatten,
    permute,
    reshape,
    shuffle_channel,
    slice_blob,
    tile,
)  # fmt: skip
from qir.frontends.caffe.scope import LayerScope

LAYERS: Mapping[str, Callable[[LayerScope], None]] = MappingProxyType(
    {
        "AbsVal": abs_val,
        "AnnotatedData": read_data,
        "ArgMax": arg_max,
        "Axpy": axpy,
        "BNLL": bnll,
        "BatchNorm": batch_norm,
        "Bias": bias,
        "Clip": clip,
        "Concat": concat,
        "Convolution": convolution,
        "ConvolutionDepthwise": depthwise_convolution,
        "Crop": crop,
        "Data": read_data,
        "Deconvolution": deconvolution,
        "DepthwiseConvolution": depthwise_convolution,
        "DetectionOutput": detection_output,
        "Dropout": dropout,
        "DummyData": read_dummy_data,
        "ELU": elu,
        "Eltwise": eltwise,
        "Exp": exp,
        "Flatten": flatten,
        "HDF5Data": read_data,
        "ImageData": read_data,
        "InnerProduct": inner_product,
        "Input": read_input,
        "Interp": interp,
        "LRN": lrn,
        "Log": log,
        "MVN": mvn,
        "MemoryData": read_memory_data,
        "Normalize": normalize,
        "PReLU": prelu,
        "Permute": permute,
        "Pooling": pooling,
        "Power": power,
        "PriorBox": prior_box,
        "ReLU": relu,
        "ReLU6": relu6,
        "Reduction": reduction,
        "Reshape": reshape,
        "Scale": scale,
        "ShuffleChannel": shuffle_channel,
        "Sigmoid": sigmoid,
        "Silence": silence,
        "Slice": slice_blob,
        "Softmax": softmax,
        "Split": copy,
        "Swish": swish,
        "TanH": tanh,
        "Threshold": threshold,
        "Tile": tile,
        "Upsample": upsample,
        "WindowData": read_data,
    }
)
"""Layer type -> the function that adds its nodes."""

TRAINING = frozenset(
    {
        "Accuracy",
        "ContrastiveLoss",
        "DetectionEvaluate",
        "EuclideanLoss",
        "HDF5Output",
        "HingeLoss",
        "InfogainLoss",
        "MultiBoxLoss",
        "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss",
        "SmoothL1Loss",
        "SoftmaxWithLoss",
    }
)
"""Layer types that compare with labels: they say nothing of a model in use."""
