"""The dataset readers as Python layers of real Caffe, under the names of the published nets.

`module: "fcnproto.caffe_layers.voc_layers"` in a prototxt finds them wherever fcnproto is
installed. Published prototxts say `module: "voc_layers"`: those find them where this folder is on
PYTHONPATH, and `python -m fcnproto.caffe_layers` prints it:

    PYTHONPATH=$(python -m fcnproto.caffe_layers) caffe train -solver solver.prototxt
"""
