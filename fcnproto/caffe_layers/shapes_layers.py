"""Shapes, which are drawn, for real Caffe."""

from fcnproto.caffe_layers.data_layer import DataLayer


class ShapesSegDataLayer(DataLayer):
    """Feeds what fcnproto.datasets' reader of this name reads."""
