"""templating.py: what is wrong in a template is said with its file and line."""

import pytest

from fcnproto.errors import ZooError
from fcnproto.zoo.templates import TEMPLATES, from_template


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")


def test_a_template_is_filled(tmp_path):
    write(tmp_path, "a.j2", "{% for x in xs %}\n  {{ x | quoted }}\n{% endfor %}\nend\n")
    assert from_template("a.j2", folder=tmp_path, xs=["b", 'c"\\']) == '  "b"\n  "c\\"\\\\"\nend\n'


def test_an_undefined_variable_is_named_with_its_place(tmp_path):
    write(tmp_path, "b.j2", "one\n{% include 'c.j2' %}\n")
    write(tmp_path, "c.j2", "two\n{{ nothing }}\n")
    with pytest.raises(ZooError) as caught:
        from_template("b.j2", folder=tmp_path)
    assert str(caught.value) == f"{tmp_path / 'c.j2'}:2: error: 'nothing' is undefined"


def test_an_undefined_variable_in_a_filter_is_no_traceback(tmp_path):
    write(tmp_path, "d.j2", "{{ nothing | quoted }}\n")
    with pytest.raises(ZooError, match=r"d\.j2:1: error: 'nothing' is undefined"):
        from_template("d.j2", folder=tmp_path)


def test_a_mistake_of_syntax_is_named_with_its_place(tmp_path):
    write(tmp_path, "e.j2", "\n\n{% if %}\n")
    with pytest.raises(ZooError, match=r"e\.j2:3: error: "):
        from_template("e.j2", folder=tmp_path)


def test_a_template_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ZooError, match=r"there is no template 'f\.j2'"):
        from_template("f.j2", folder=tmp_path)


def test_an_included_template_that_is_not_there_is_named(tmp_path):
    write(tmp_path, "g.j2", "{% include 'backbones/h.j2' %}")
    with pytest.raises(ZooError, match=r"there is no template 'backbones/h\.j2'"):
        from_template("g.j2", folder=tmp_path)


def test_the_templates_are_shipped():
    assert (TEMPLATES / "layers.j2").is_file()
