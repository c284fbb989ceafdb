"""What setup.cfg installs: every package and every file that the code reads."""

from configparser import ConfigParser
from fnmatch import fnmatch

from paths import ROOT

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
FOLDERS = {"fcnproto.templates": "templates", "fcnproto.models": "models"}


def package_of(folder):
    """The package that a folder of the repository is installed as."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "fcnproto" else ("fcnproto", *parts))


def test_every_package_is_installed():
    listed = set(SETUP["options"]["packages"].split())
    code = {package_of(file.parent) for file in ROOT.glob("fcnproto/**/__init__.py")}
    data = {
        package_of(file.parent)
        for folder in FOLDERS.values()
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
    }
    assert listed == code | data


def test_every_data_file_is_installed():
    patterns = {
        package: [pattern.strip() for pattern in globs.split(",")]
        for package, globs in SETUP["options.package_data"].items()
    }
    missing = [
        str(file.relative_to(ROOT))
        for folder in FOLDERS.values()
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
        and not any(fnmatch(file.name, glob) for glob in patterns[package_of(file.parent)])
    ]
    assert not missing
    assert {"py.typed"} <= set(patterns["fcnproto"])
    assert {"*.proto", "*.pyi"} <= set(patterns["fcnproto.proto"])
