"""Data of one's own, for real Caffe."""

from fcnproto.caffe_layers.data_layer import DataLayer


class FolderSegDataLayer(DataLayer):
    """Feeds what fcnproto.datasets' reader of this name reads."""
