import pytest

from fcnproto.crf.dense_crf import Bilateral, DenseCRF, Gaussian
from fcnproto.crf.kernels import Normalization
from fcnproto.crf.presets import names, preset
from fcnproto.errors import FcnprotoError


def test_the_published_values():
    after, symmetric = Normalization.AFTER, Normalization.SYMMETRIC
    assert names() == ("pydensecrf", "deeplab", "deconvnet")
    assert (
        preset("pydensecrf")
        == preset()
        == DenseCRF([Gaussian(3, 3, symmetric), Bilateral(80, 13, 10, symmetric)], 10)
    )
    assert preset("deeplab") == DenseCRF([Gaussian(1, 3, after), Bilateral(67, 3, 4, after)], 10, 0)
    assert preset("deconvnet").terms == (Gaussian(3, 3), Bilateral(20, 3, 5))


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        '[one]\niterations = 3\nnormalization = "none"\n'
        "bilateral = { sxy = [4, 5], srgb = [1, 2, 3], compat = 2 }\n"
    )
    wanted = DenseCRF([Bilateral((4, 5), (1, 2, 3), 2, Normalization.NONE)], 3)
    assert preset(str(path)) == preset(f"{path}:one") == wanted


def test_compatibilities_of_each_form(tmp_path):
    path = tmp_path / "own.toml"
    for text, wanted in (
        ("4", 4.0),
        ("[-1, -2.5]", (-1.0, -2.5)),
        ("[[-1, 0.5], [0, -2]]", ((-1.0, 0.5), (0.0, -2.0))),
    ):
        path.write_text(f"[one]\ngaussian = {{ sxy = 3, compat = {text} }}\n")
        assert preset(str(path)).terms == (Gaussian(3, wanted),)


def test_a_file_that_is_not_there_is_said_in_words(tmp_path):
    with pytest.raises(FcnprotoError, match=r"none\.toml: error: cannot be read: No such file"):
        preset(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\niterations = 3", "neither 'gaussian' nor 'bilateral'"),
        ("[a]\ngaussian = { sxy = 3 }", "gaussian: 'compat' is missing"),
        ("[a]\ngaussian = { sxy = 3, compat = 3, srgb = 1 }", "unknown key 'srgb'"),
        ("[a]\ngaussian = { sxy = 0, compat = 3 }", "a: sxy of a Gaussian term .* found 0"),
        (
            "[a]\ngaussian = { sxy = nan, compat = 3 }",
            "a: gaussian: 'sxy' must be a number, found nan",
        ),
        ("[a]\ngaussian = { sxy = [1, 2, 3], compat = 3 }", "one standard deviation or 2, found 3"),
        ('[a]\nnormalization = "mean"\ngaussian = { sxy = 1, compat = 3 }', "must be one of none"),
        ("[a]\n[b]", "several CRFs: name one, as .*own.toml:a, of a, b"),
        ("", "there is no CRF in it"),
        (
            "[a]\ngaussian = { sxy = 3, compat = [[1, 2], [3]] }",
            "a: .* found rows unlike",
        ),
        ("[a]\ngaussian = { sxy = 3, compat = [[1, 2, 3]] }", "a: a compatibility .* found 1×3"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_file_that_makes_no_field(tmp_path, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(FcnprotoError, match=message) as raised:
        preset(str(path))
    assert str(path) in str(raised.value)


def test_a_name_that_is_not_there():
    with pytest.raises(FcnprotoError, match=r"no CRF 'deeplap', only .* did you mean 'deeplab'"):
        preset("deeplap")
