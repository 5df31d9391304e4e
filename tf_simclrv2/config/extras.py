"""Packages that the library can do without, each in an extra of the package's metadata."""

import importlib.util
from typing import Dict, NamedTuple

from tf_simclrv2.config.settings import refuse


class Extra(NamedTuple):
    """How an optional package is installed.

    Attributes:
      name: the extra, as in ``pip install 'tf-simclrv2[NAME]'``.
      where: the Pythons that have the package, if not all.
      module: what the package is imported as, if that is not its name.
    """

    name: str
    where: str = ""
    module: str = ""


EXTRAS: Dict[str, Extra] = {
    "pyarrow": Extra("parquet"),
    "scikit-image": Extra("tiles", module="skimage"),
    "tensorflow-addons": Extra("addons", where="on Python 3.9 to 3.11, "),
}


def check_installed(package: str, flag: str, value: object) -> None:
    """Refuses a flag's value that needs a package which is not installed.

    Args:
      package: a name in ``EXTRAS``.
      flag: the flag's name, without dashes.
      value: what was received.

    Raises:
      ConfigError: the package is not installed; the message names the extra.
    """
    extra = EXTRAS[package]
    if importlib.util.find_spec(extra.module or package.replace("-", "_")) is None:
        raise refuse(
            flag,
            value,
            f"needs {package}, which is not installed; {extra.where}pip install "
            f"'tf-simclrv2[{extra.name}]' installs it",
        )
