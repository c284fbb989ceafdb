"""The command line: parse, call, print; no logic."""

from __future__ import annotations

from importlib import import_module

import click

from fcnproto import __version__
from fcnproto.cli.common import Verbs

_VERBS = {
    "list": (
        "nets.list_names",
        "The nets, datasets and backbones that can be named.",
    ),
    "render": (
        "nets.render",
        "Print a net of the papers as Caffe prototxt.",
    ),
    "check": (
        "nets.check",
        "Print every problem of a net or solver at once, with file and line.",
    ),
    "diff": (
        "nets.diff",
        "Print what differs in meaning between two nets or solvers, not in spelling.",
    ),
    "upgrade": (
        "nets.upgrade",
        "Bring an old prototxt, solver or caffemodel (V0, V1, old fields) to the current form.",
    ),
    "convert-weights": (
        "weights.convert_weights",
        "Fit a classifier's or an older stage's weights to NET, and report what became of each.",
    ),
    "convolutionize": (
        "weights.convolutionize",
        "Make a classifier fully convolutional: prototxt and weights.",
    ),
    "fetch": (
        "weights.fetch",
        "Fetch a net's published weights into the cache, and print where they lie.",
    ),
    "train": (
        "train.train",
        "Train a net on a folder of images and label maps, or as a Caffe solver says.",
    ),
    "export-onnx": (
        "run.export_onnx",
        "Write NET with its weights as an ONNX model that holds for every N, H and W.",
    ),
    "verify": (
        "run.verify",
        "Compare MODEL blob by blob with arrays, with a net, or with the model OTHER.",
    ),
    "segment": (
        "run.segment",
        "Write a label map and an overlay for each IMAGE, and print the share of each class.",
    ),
    "score": (
        "score.score",
        "Print pixel accuracy, mean accuracy, mean IU and frequency weighted IU, and each class's.",
    ),
    "dataset": (
        "dataset.dataset",
        "Check, mend, split and weigh a folder of images and label maps.",
    ),
    "summary": (
        "insight.summary",
        "Print each layer's shape, parameters, multiply-adds, memory and receptive field.",
    ),
    "draw": (
        "insight.draw",
        "Draw a net.",
    ),
    "explain": (
        "insight.explain",
        "Say why an offset is what it is, what a pad is for, what a pixel sees, what blobs hold.",
    ),
    "doctor": (
        "insight.doctor",
        "Look for what is wrong with WEIGHTS in NET and, with IMAGE, with what they make of it.",
    ),
    "heatmap": (
        "seen.heatmap",
        "Draw what a classifier, made convolutional, makes of every place of each IMAGE.",
    ),
    "compare": (
        "seen.compare",
        "Draw the label maps of several models side by side, and print the score of each.",
    ),
    "serve": (
        "serve.serve",
        "Serve a page on which to drop an image, and an HTTP interface, until Ctrl-C.",
    ),
    "triton": (
        "serve.triton",
        "Put MODEL into a repository of Triton Inference Server, as its next version.",
    ),
    "demo": (
        "demo.demo",
        "Do everything once, on images that are drawn and with weights that come with fcnproto.",
    ),
}
"""Where each verb is, and the first sentence of its help, so that `--help` imports none."""


class _Verbs(Verbs):
    """The verbs, each imported only when it is asked for, so that every one starts fast."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module, _, function = _VERBS[name][0].partition(".")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), function)
        return command

    def sentences(self, _ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, sentence) for name, (_, sentence) in _VERBS.items()]


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fcnproto")
def main() -> None:
    """Fully Convolutional Networks of Long, Shelhamer and Darrell, without Caffe."""
