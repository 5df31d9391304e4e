"""What a network is, inferred from the names and shapes of its variables."""

import types

import pytest

from tests.reference import figures
from tf_simclrv2.config import ConfigError, NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.interop.architecture import infer_architecture
from tf_simclrv2.interop.google import FLAVORS, google_names
from tf_simclrv2.networks.network import Network


def _infer(shapes, flavor):
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    return infer_architecture(types.SimpleNamespace(path="p", flavor=flavor, shapes=shapes))


@pytest.mark.parametrize(
    "case",
    [
        "tf1_resnet18_cifar_stem",
        "tf2_resnet18_cifar_stem",
        "tf1_resnet50_sk",
        "tf2_resnet50_sk",
        "tf2_resnet50",
    ],
)
def test_the_authors_variables_tell_their_network(case):
    config = figures(case)["config"]
    inferred = _infer(figures(case)["variables"], case.partition("_")[0])
    assert inferred.network == NetworkConfig(
        resnet_depth=config["resnet_depth"],
        width_multiplier=config["width_multiplier"],
        sk_ratio=config["sk_ratio"],
        se_ratio=config.get("se_ratio", 0.0),
        stem=config["stem"],
    )
    assert inferred.projection_head == ProjectionHeadConfig("nonlinear", 3, 128)
    assert inferred.num_classes == 10
    assert not inferred.head_is_cut


@pytest.fixture(
    scope="module",
    params=[
        (NetworkConfig(18, 0.125, stem="imagenet"), ProjectionHeadConfig("linear"), None),
        (NetworkConfig(34, 0.0625, se_ratio=0.25, stem="imagenet"), ProjectionHeadConfig(), 4),
        (
            NetworkConfig(50, 0.125, sk_ratio=1.0, se_ratio=0.1, stem="cifar"),
            ProjectionHeadConfig(num_proj_layers=2, proj_out_dim=7),
            4,
        ),
        (
            NetworkConfig(152, 0.0625, sk_ratio=0.0625, stem="imagenet"),
            ProjectionHeadConfig("none"),
            None,
        ),
    ],
    ids=lambda param: f"{param[0].resnet_depth}_{param[0].stem}",
)
def built(request):
    """A network and its description."""
    network, head, num_classes = request.param
    return Network(network, head, num_classes, probe=True).build_for(32), request.param


def _shapes(network, flavor):
    return {name: tuple(variable.shape) for name, variable in google_names(network, flavor).items()}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_names_and_shapes_tell_depth_width_stem_ratios_and_heads(built, flavor):
    network, (network_config, head, num_classes) = built
    shapes = _shapes(network, flavor)
    inferred = _infer(shapes, flavor)
    # Other ratios may stand for the same network, so networks are compared, not ratios.
    if (inferred.network, inferred.projection_head) != (network_config, head):
        again = Network(
            inferred.network, inferred.projection_head, inferred.num_classes, probe=True
        ).build_for(32)
        assert _shapes(again, flavor) == shapes
    assert inferred.network.stem == built[1][0].stem
    assert inferred.num_classes == num_classes
    assert inferred.projection_head.num_layers == head.num_layers


def test_a_faulty_variable_does_not_mislead(built):
    flavor = "tf1" if built[1][0].resnet_depth in (18, 50) else "tf2"
    shapes = _shapes(built[0], flavor)
    first_kernel = next(iter(shapes))
    inferred = _infer(shapes, flavor)
    # A prime number of variables, so that every kind of variable has its turn.
    for name in sorted(shapes)[:: max(1, len(shapes) // 23)]:
        if name == first_kernel:
            continue  # Without selective kernels nothing else tells the stem.
        missing = {n: shape for n, shape in shapes.items() if n != name}
        assert _infer(missing, flavor) == inferred, name
        if not name.endswith(("se_reduce/kernel", "conv2d_0/kernel")):
            misshapen = {**shapes, name: tuple(size + 1 for size in shapes[name])}
            got, expected = _infer(misshapen, flavor), inferred
            assert got.network.resnet_depth == expected.network.resnet_depth, name
            assert got.network.width_multiplier == expected.network.width_multiplier, name
            assert got.projection_head == expected.projection_head, name


def test_a_head_that_ends_at_the_classifier_is_recognised():
    network = Network(
        NetworkConfig(18, 0.0625, stem="cifar"), ProjectionHeadConfig(), 4, ft_proj_selector=2
    ).build_for(8)
    inferred = _infer(_shapes(network, "tf2"), "tf2")
    assert inferred.head_is_cut
    assert inferred.ft_proj_selector == 2


def test_a_classifier_that_only_fits_the_last_layer_reads_it():
    network = Network(
        NetworkConfig(18, 0.0625, stem="cifar"), ProjectionHeadConfig(), 4, -1, probe=True
    ).build_for(8)
    inferred = _infer(_shapes(network, "tf1"), "tf1")
    assert inferred.ft_proj_selector == 3


def test_variables_of_no_network_are_refused():
    with pytest.raises(ConfigError, match="of no network"):
        _infer({"base_model/conv2d/kernel": (3, 3, 3, 7)}, "tf1")
