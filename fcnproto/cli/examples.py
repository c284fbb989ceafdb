"""Two examples for the help of each verb, which the tests run as they stand."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "list": (
        "fcnproto list",
        "fcnproto list --json",
    ),
    "render": (
        "fcnproto render fcn16s > net.prototxt",
        "fcnproto render fcn8s --dataset folder --data-dir data --phase train",
    ),
    "check": (
        "fcnproto check net.prototxt",
        "fcnproto check solver.prototxt --lenient",
    ),
    "diff": (
        "fcnproto diff old.prototxt new.prototxt",
        "fcnproto diff net.prototxt voc-fcn32s",
    ),
    "upgrade": (
        "fcnproto upgrade old.prototxt > new.prototxt",
        "fcnproto upgrade old.caffemodel -o new.caffemodel",
    ),
    "convert-weights": (
        "fcnproto convert-weights vgg16.npz",
        "fcnproto convert-weights voc-fcn32s.npz --net voc-fcn16s -o fcn16s.npz",
    ),
    "convolutionize": (
        "fcnproto convolutionize vgg16 vgg16.npz -o vgg16-conv",
        "fcnproto convolutionize bvlc_alexnet bvlc_alexnet.caffemodel -o alexnet-conv",
    ),
    "fetch": (
        "fcnproto fetch voc-fcn8s",
        "fcnproto fetch shapes-fcn8s",
    ),
    "train": (
        "fcnproto train data -o run --minutes 10",
        "fcnproto train solver.prototxt --weights net.npz",
    ),
    "export-onnx": (
        "fcnproto export-onnx",
        "fcnproto export-onnx net.prototxt --image-input -o image.onnx",
    ),
    "verify": (
        "fcnproto verify net.onnx --net net.prototxt",
        "fcnproto verify a.onnx b.onnx",
    ),
    "segment": (
        "fcnproto segment photo.jpg --model net.onnx",
        "fcnproto segment photos --model net.onnx -o results --tile 512 --json",
    ),
    "heatmap": (
        "fcnproto heatmap photo.jpg --net vgg16 --weights vgg16.npz --size 384x384",
        "fcnproto heatmap photos --net vgg16 --weights vgg16.npz --size 256x256 -o maps",
    ),
    "compare": (
        "fcnproto compare shapes-fcn32s shapes-fcn16s shapes-fcn8s photo.jpg",
        "fcnproto compare a.onnx b.onnx photos --truth labels -o both.png",
    ),
    "triton": (
        "fcnproto triton net.onnx -o models",
        "fcnproto triton run/model.onnx -o models --name own --max-batch 16",
    ),
    "score": (
        "fcnproto score --model run/model.onnx --data data",
        "fcnproto score --pred results --truth labels --classes data/classes.txt",
    ),
    "dataset": (
        "fcnproto dataset check data",
        "fcnproto dataset split data -o lists",
    ),
    "dataset check": (
        "fcnproto dataset check data",
        "fcnproto dataset check data --classes 3",
    ),
    "dataset convert": (
        "fcnproto dataset convert data -o new",
        "fcnproto dataset convert data -o new --nearest --resize",
    ),
    "dataset split": (
        "fcnproto dataset split data -o lists",
        "fcnproto dataset split data -o data --val 0.25 --seed 7",
    ),
    "dataset weights": (
        "fcnproto dataset weights data",
        "fcnproto dataset weights data --split train -o infogain.binaryproto",
    ),
    "dataset hha": (
        "fcnproto dataset hha depth -o hha",
        "fcnproto dataset hha depth -o hha --camera 525,525,319.5,239.5 --unit m",
    ),
    "summary": (
        "fcnproto summary voc-fcn8s --size 500x500",
        "fcnproto summary net.prototxt --markdown",
    ),
    "draw": (
        "fcnproto draw voc-fcn8s -o net.html",
        "fcnproto draw net.prototxt -o net.dot",
    ),
    "explain": (
        "fcnproto explain crop voc-fcn8s",
        "fcnproto explain pad voc-fcn8s",
    ),
    "explain crop": (
        "fcnproto explain crop voc-fcn8s",
        "fcnproto explain crop voc-fcn8s score",
    ),
    "explain pad": (
        "fcnproto explain pad voc-fcn32s",
        "fcnproto explain pad net.prototxt --json",
    ),
    "explain field": (
        "fcnproto explain field voc-fcn32s fc7 --pixel 2,12",
        "fcnproto explain field net.prototxt score_fr --image photo.jpg -o field.png",
    ),
    "explain maps": (
        "fcnproto explain maps shapes-fcn8s --weights shapes-fcn8s --image photo.jpg",
        "fcnproto explain maps shapes-fcn8s --weights shapes-fcn8s --image photo.jpg -o maps.html",
    ),
    "doctor": (
        "fcnproto doctor shapes-fcn8s shapes-fcn8s",
        "fcnproto doctor net.prototxt net.npz photo.jpg",
    ),
    "serve": (
        "fcnproto serve --model net.onnx",
        "fcnproto serve --model net.onnx --host 0.0.0.0 --port 8080",
    ),
    "demo": (
        "fcnproto demo",
        "fcnproto demo -o there --json",
    ),
}
"""By the words that name a verb. They speak of files that anyone might have: net.prototxt, data."""
