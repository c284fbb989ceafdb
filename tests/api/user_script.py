"""What a user might write: every name of the front door, with the types that it has."""

from pathlib import Path

import numpy as np
from PIL import Image

import fcnproto as fp


def all_of_it(photos: list[Path], image: Image.Image) -> float:
    zoo: fp_zoo = dict(fp.nets().nets)
    text: fp.Prototxt = fp.render("fcn16s", classes=3, dataset="folder")
    net: fp.Net = fp.load_net(text)
    weights: fp.Weights = fp.load_weights("shapes-fcn8s")
    fitted: fp.Fitted = fp.convert(weights, "shapes-fcn8s")
    fp.fetch("shapes-fcn8s")
    made = fp.convolutionize("vgg16", weights)
    made.net.save("net.prototxt")
    model: fp.Model = fp.export(net, fitted.weights, optimize="exact")
    print(fp.triton(model, "repository", max_batch=4).config)
    segment = fp.Segmenter(model, device="cpu", refine="crf")
    refining = fp.DenseCRF([fp.Gaussian(sxy=3, compat=3), fp.Bilateral(sxy=80, srgb=13, compat=10)])
    one: fp.Segmentation = segment(image)
    one = segment(np.zeros((4, 4, 3), np.uint8))
    one = segment({"color": "photo.jpg", "hha": image})
    for each in segment(photos):
        each.save("out")
    for each in segment(iter([image])):
        each.overlay().save("overlay.png")
    problems: tuple[fp.Problem, ...] = (*fp.check(net), *net.problems, *one.notes)
    lines = [*fp.diff(net, text), fp.upgrade(text), *zoo, str(refining), *map(str, problems)]
    print(fp.doctor(net, weights, image), fp.verify(model, net, weights).agrees, lines)
    print(fp.explain_crop(net), fp.explain_pad(net), fp.explain_field(net, "score", (1, 2)))
    compared = fp.compare(["a.onnx", model], photos, truth="labels")
    compared.picture().save("compared.png")
    found = fp.heatmap(image, "caffenet", "caffenet", size=(384, 384))
    found.picture(["cat", 3]).save("heatmap.png")
    print(fp.heatmap_windows(image, "caffenet", weights).agrees)
    fp.explain_maps(net, weights, image, ["score"]).save("maps.html")
    try:
        fp.Solver.from_file("solver.prototxt").solve()
        print(fp.train("data", output="run", minutes=1.0).best)
    except fp.FcnprotoError as error:
        print(error.problems)
    score: fp.Score = fp.score(model, dataset="shapes")
    return score.mean_iu + sum(each.mean_iu for each in fp.scores(model, "data").values())


fp_zoo = dict[str, str]
