"""``--mixed_precision=auto``: whether this machine computes faster in bfloat16."""

import re

from tf_simclrv2.keras2 import tf

# With AVX512_BF16 or AMX a CPU multiplies in bfloat16; others emulate it, which is slower.
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
# Compute capability of Ampere, the first NVIDIA GPUs with bfloat16.
_LEAST_GPU = (8, 0)
_CPU_INFO = "/proc/cpuinfo"


def fastest_format(uses_tpu: bool = False) -> str:
    """Returns ``mixed_bfloat16`` if what computes has bfloat16, else ``float32``.

    Args:
      uses_tpu: whether a TPU computes, all of which have it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        has_it = all(each.get("compute_capability", (0, 0)) >= _LEAST_GPU for each in details)
    else:
        has_it = uses_tpu or _cpu_has_it()
    return "mixed_bfloat16" if has_it else "float32"


def _cpu_has_it() -> bool:
    try:
        with open(_CPU_INFO, encoding="ascii", errors="replace") as file:
            flags = re.search(r"^flags\s*:(.*)$", file.read(), re.MULTILINE)
    except OSError:  # Another system than Linux.
        return False
    return flags is not None and not _CPU_FLAGS.isdisjoint(flags[1].split())
