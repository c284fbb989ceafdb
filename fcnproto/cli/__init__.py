"""The command line: parse, call, print; no logic."""

from __future__ import annotations

from importlib import import_module

import click

from fcnproto.version import __version__

_VERBS = {
    "list": "nets.list_names",
    "render": "nets.render",
    "check": "nets.check",
    "diff": "nets.diff",
    "upgrade": "nets.upgrade",
    "convert-weights": "weights.convert_weights",
    "convolutionize": "weights.convolutionize",
    "fetch": "weights.fetch",
    "train": "train.train",
    "export-onnx": "run.export_onnx",
    "verify": "run.verify",
    "segment": "run.segment",
    "score": "score.score",
    "dataset": "dataset.dataset",
    "summary": "insight.summary",
    "draw": "insight.draw",
    "explain": "insight.explain",
    "doctor": "insight.doctor",
    "demo": "demo.demo",
}


class _Verbs(click.Group):
    """The verbs, each imported only when it is asked for, so that every one starts fast."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module, _, function = _VERBS[name].partition(".")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), function)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fcnproto")
def main() -> None:
    """Fully Convolutional Networks of Long, Shelhamer and Darrell, without Caffe."""
