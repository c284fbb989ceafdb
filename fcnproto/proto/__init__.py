"""Caffe's files as messages: the schema, the text format, old vintages, and reading whole files."""
