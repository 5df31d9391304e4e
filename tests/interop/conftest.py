"""Networks that were converted, for several tests."""

import pytest

from tests.interop.writers import tiny, write_tf1


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Converted tiny networks: ``whole``, ``headless`` and ``large``, SimCLRv1's size of kernel."""
    from tf_simclrv2.programs.main import main

    root = tmp_path_factory.mktemp("converted")
    large = {
        name: value * 16.8 if name.endswith("kernel") else value
        for name, value in tiny("tf1").items()
    }
    paths = {}
    for name, values in (
        ("whole", tiny("tf1")),
        ("headless", tiny("tf1", "none")),
        ("large", large),
    ):
        theirs, paths[name] = write_tf1(str(root / f"{name}.ckpt"), values), str(root / name)
        arguments = ["convert", f"--google_checkpoint={theirs}", f"--model_dir={paths[name]}"]
        assert main([*arguments, "--image_size=8"]) == 0
    return paths
