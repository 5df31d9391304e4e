"""``serving_bytes`` answers the files that it can decode, and marks the others."""

import numpy as np
import pytest

from tests.data.samples import KINDS, oriented
from tests.export.conftest import run_consumer
from tf_simclrv2.data.images import decode
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.served import load_served

GOOD = {name: KINDS[name].content for name in ("JPEG", "PNG alpha", "BMP palette", "GIF")}
BAD = {
    "empty": b"",
    "text": b"no image",
    "a JPEG that is cut": GOOD["JPEG"][:500],
    "a PNG that is cut": GOOD["PNG alpha"][:60],
    "a BMP that is cut": GOOD["BMP palette"][:200],
    "TIFF": KINDS["TIFF"].content,
    "WebP": KINDS["WebP"].content,
    "a PNG of too many pixels": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02"
    + bytes(99),
}


@pytest.fixture(scope="module")
def served(exported):
    model = tf.saved_model.load(f"{exported.path}/1")

    def serve(contents):
        outputs = model.signatures["serving_bytes"](image_bytes=tf.constant(contents, tf.string))
        return {name: value.numpy() for name, value in outputs.items()}

    return serve


def test_bad_files_are_marked_and_the_others_answered(served):
    alone = served(list(GOOD.values()))
    assert alone["valid"].all() and len(alone) == 5
    mixed = [content for pair in zip(GOOD.values(), list(BAD.values())) for content in pair]
    outputs = served([*mixed, *list(BAD.values())[len(GOOD) :]])
    assert outputs["valid"].tolist() == [True, False] * 4 + [False] * 4
    for name, values in outputs.items():
        assert np.isfinite(values).all()
        if name != "valid":
            np.testing.assert_allclose(values[:8:2], alone[name], rtol=1e-5, atol=1e-5)
    bad = {name: values[~outputs["valid"]] for name, values in outputs.items()}
    assert (bad["classes"] == -1).all() and not bad["representation"].any()
    assert not bad["logits"].any()
    np.testing.assert_allclose(bad["probabilities"], 0.1)
    only_bad = served(list(BAD.values()))
    assert not only_bad["valid"].any()


def test_an_empty_batch_gives_empty_answers(served, exported):
    outputs = served([])
    assert outputs["logits"].shape == outputs["probabilities"].shape == (0, 10)
    assert outputs["classes"].shape == outputs["valid"].shape == (0,)
    assert outputs["representation"].shape[0] == 0
    model = tf.saved_model.load(f"{exported.path}/1")
    outputs = model.signatures["serving_default"](images=tf.zeros([0, 8, 8, 3]))
    assert outputs["logits"].shape == (0, 10)


def test_unusual_files_are_answered_as_their_pixels_are(served):
    contents = [oriented("JPEG", 6), oriented("PNG", 3), GOOD["PNG alpha"], GOOD["BMP palette"]]
    pixels = [tf.io.encode_png(decode(tf.constant(content))).numpy() for content in contents]
    seen, expected = served(contents), served(pixels)
    np.testing.assert_allclose(seen["logits"], expected["logits"], rtol=1e-5, atol=1e-5)


def test_saved_model_cli_marks_them_too(exported, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros([1, 8, 8, 3], np.float32))
    np.save(tmp_path / "bytes.npy", np.array([GOOD["JPEG"], b"no image"]))
    run_consumer(
        "command_line", tmp_path, exported.path, tmp_path / "images.npy", tmp_path / "bytes.npy"
    )
    assert np.load(tmp_path / "serving_bytes" / "valid.npy").tolist() == [True, False]


def test_files_are_not_put_into_words(exported, monkeypatch):
    # TensorFlow shows all of its inputs if a signature is called without their names, which took as
    # long as decoding them.
    serve = load_served(f"{exported.path}/1").serve
    contents = tf.constant(list(GOOD.values()))
    tensor = next(each for each in type(contents).__mro__ if "__repr__" in vars(each))
    monkeypatch.setattr(tensor, "__repr__", lambda self: pytest.fail("shows its contents"))
    assert serve(contents)["valid"].numpy().all()
