"""Lists the packages of the wheel, which pyproject.toml can't; all else stands there."""

from setuptools import find_packages, setup

library = find_packages(include=["tf_simclrv2", "tf_simclrv2.*"])
export = [f"tf_simclrv2.{name}" for name in find_packages(include=["export", "export.*"])]
setup(packages=[*library, *export, "tf_simclrv2.recipes"])
