"""An optimizer is a row and a file."""

import pathlib
import subprocess
import sys

import pytest

from tests.optimization.test_optimizers import ROLES, _config
from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras
from tf_simclrv2.optimization.optimizers import build_optimizer, regularized
from tf_simclrv2.optimizer_rows import ADDONS_OPTIMIZERS, OPTIMIZERS, OptimizerRow

ROOT = pathlib.Path(__file__).parents[2]


def test_the_flag_offers_the_rows_without_loading_tensorflow():
    code = (
        "import sys; from tf_simclrv2.config import OptimizationConfig as config\n"
        "print(config.__dataclass_fields__['optimizer'].metadata['choices'])\n"
        "assert not any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == repr(tuple(OPTIMIZERS))


def test_a_row_cannot_be_made_without_saying_what_the_loss_decays():
    with pytest.raises(TypeError, match="decayed_in_loss"):
        OptimizerRow(build="module:function")


@pytest.mark.parametrize(
    ("optimizer", "roles"),
    [
        ("lars", ["supervised"]),
        ("momentum", ["kernels", "supervised", "biases"]),
        ("adam", ["kernels", "supervised", "biases"]),
        ("lamb", []),
        ("sgdw", []),
    ],
)
def test_the_loss_decays_what_the_optimizer_leaves(optimizer, roles):
    expected = [v for role in roles for v in getattr(ROLES, role)]
    assert [v.ref() for v in regularized(optimizer, ROLES)] == [v.ref() for v in expected]


def test_a_new_row_is_all_that_a_new_optimizer_needs(monkeypatch):
    def build(config, schedule, roles):
        return keras.optimizers.Adagrad(schedule)

    module = type(sys)("new_optimizer")
    module.build = build
    monkeypatch.setitem(sys.modules, "new_optimizer", module)
    row = OptimizerRow(build="new_optimizer:build", decayed_in_loss=("kernels",))
    monkeypatch.setitem(OPTIMIZERS, "new", row)
    config = OptimizationConfig()
    object.__setattr__(config, "optimizer", "new")
    assert isinstance(build_optimizer(config, 0.1, ROLES), keras.optimizers.Adagrad)
    assert len(regularized("new", ROLES)) == len(ROLES.kernels)


def test_those_of_addons_are_marked():
    assert ADDONS_OPTIMIZERS == ("lamb", "sgdw")
    assert (
        "lamb and sgdw need tensorflow-addons"
        in (OptimizationConfig.__dataclass_fields__["optimizer"].metadata["help"])
    )
    assert _config("lamb").optimizer == "lamb"
