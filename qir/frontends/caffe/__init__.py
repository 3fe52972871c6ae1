"""The Caffe door: a prototxt and its caffemodel come in as a graph of ONNX ops."""

from qir.frontends.caffe.reader import read_caffe

__all__ = ["read_caffe"]
