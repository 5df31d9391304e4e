"""Runs TensorFlow's saved_model_cli on each signature of an export.

  python command_line.py EXPORT IMAGES IMAGE_BYTES

IMAGES and IMAGE_BYTES are .npy files. Each signature's outputs are .npy files in a directory of its
name, in the working directory.
"""

import sys

from tensorflow.python.tools import saved_model_cli

export, images, image_bytes = sys.argv[1:]
inputs = {
    "serving_default": f"images={images}",
    "serving_bytes": f"image_bytes={image_bytes}",
    "embed": f"images={images}",
}
for signature, given in inputs.items():
    sys.argv = [
        "saved_model_cli", "run", "--dir", f"{export}/1", "--tag_set", "serve",
        "--signature_def", signature, "--inputs", given, "--outdir", signature,
    ]  # fmt: skip
    try:
        saved_model_cli.main()
    except SystemExit as end:
        assert not end.code
assert not any(name.split(".")[0] in ("tf_simclrv2", "export") for name in sys.modules)
