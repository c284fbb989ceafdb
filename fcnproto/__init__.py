"""Every Fully Convolutional Network of Long, Shelhamer and Darrell, without Caffe."""

__version__ = "0.1.0"
