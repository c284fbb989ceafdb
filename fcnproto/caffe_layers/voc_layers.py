"""PASCAL VOC and SBD, for real Caffe."""

from fcnproto.caffe_layers.data_layer import DataLayer


class VOCSegDataLayer(DataLayer):
    """Feeds what fcnproto.datasets' reader of this name reads."""


class SBDDSegDataLayer(DataLayer):
    """Feeds what fcnproto.datasets' reader of this name reads."""
