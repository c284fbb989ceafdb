"""SIFT Flow, for real Caffe."""

from fcnproto.caffe_layers.data_layer import DataLayer


class SIFTFlowSegDataLayer(DataLayer):
    """Feeds what fcnproto.datasets' reader of this name reads."""
