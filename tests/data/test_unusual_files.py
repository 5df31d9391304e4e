"""A file has the same pixels in training, in evaluation and in an export."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from export.signatures import decode_batch
from tests.data.samples import KINDS, encoded, oriented, values_of
from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.batches import Views, batches, evaluation_batches
from tf_simclrv2.data.decoding import PLAIN, Decoder
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Stream
from tf_simclrv2.data.views import crop_views, evaluation_view, random_window
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import logs

PHOTOGRAPH = Image.fromarray(load_sample_image("flower.jpg")).resize((91, 67))
AS_THEY_ARE = AugmentationConfig(
    color_jitter_strength=0.0, use_blur=False, use_flip=False, use_crop=False
)
SEEDS = tf.constant([[3, 7], [3, 8], [4, 7]], tf.int64)


def _files():
    """Contents by name, in the order of their names; whether exports take them."""
    files = {}
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        for orientation in range(1, 9):
            content = oriented(kind, orientation, image=PHOTOGRAPH)
            files[f"{suffix}{orientation}.{suffix}"] = content, suffix in ("jpg", "png")
    files["deep.png"] = encoded(Image.fromarray(values_of(12)[0]), "PNG"), True
    for name, suffix in (("PNG alpha", "png"), ("BMP palette", "bmp"), ("BMP run lengths", "bmp")):
        sample = KINDS[name]
        files[f"{name.replace(' ', '_')}.{suffix}"] = sample.content, sample.in_exports
    return dict(sorted(files.items()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for name, (content, _) in _files().items():
        (path / name).write_bytes(content)
    return path


def _open(folder, **settings):
    data = DataConfig(dataset="folder", data_dir=str(folder), image_size=40, **settings)
    return open_source(data), data


@pytest.mark.slow
def test_training_evaluation_and_exports_see_the_same(folder, capfd):
    files = _files()
    source, data = _open(folder, eval_batch_size=len(files))
    with logs.shown():
        assert source.num_examples("train") == len(files)
    assert "(.bmp, .tif, .webp) are decoded by Pillow" in capfd.readouterr().err
    pixels = [decode(tf.constant(content)) for content, _ in files.values()]
    expected = np.stack([evaluation_view(image, 40) for image in pixels])

    evaluated = next(iter(evaluation_batches(source, data, "train")))
    np.testing.assert_array_equal(evaluated["image"], expected)

    served, valid = decode_batch(tf.constant([content for content, _ in files.values()]), 40)
    in_exports = np.array([each for _, each in files.values()])
    np.testing.assert_array_equal(valid, in_exports)
    np.testing.assert_array_equal(served, expected * in_exports[:, None, None, None])

    trained = batches(Stream(source, "train", 0, data=data), Views.one(40, AS_THEY_ARE), len(files))
    whole = [np.clip(tf.image.resize(image, [40, 40], "bicubic"), 0, 255) + 0.5 for image in pixels]
    seen = {image.tobytes() for image in next(iter(trained))["image"].numpy()}
    assert seen == {image.astype(np.uint8).tobytes() for image in whole}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_crops_are_windows_of_the_upright_image(orientation):
    """Of a JPEG only the window is decoded, which lies elsewhere in the file."""
    content = tf.constant(oriented("JPEG", orientation, image=PHOTOGRAPH))
    image = decode(content)
    assert tuple(image.shape[:2]) == ((67, 91) if orientation < 5 else (91, 67))
    views = crop_views(content, 64, SEEDS, AugmentationConfig())
    for view, seed in zip(views, SEEDS):
        (top, left, _), (height, width, _) = random_window(tf.shape(image), seed)
        window = tf.cast(image[top : top + height, left : left + width], tf.float32)
        expected = np.clip(tf.image.resize(window, [64, 64], "bicubic"), 0, 255)
        difference = np.abs(view.numpy() - expected)
        # The border of a part may differ a little.
        assert difference.max() <= 5 and difference.mean() < 0.3


def test_a_folder_of_ordinary_files_is_decoded_by_tensorflow_alone(tmp_path):
    encoded_photograph = encoded(PHOTOGRAPH, "JPEG")
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(encoded_photograph)
    (tmp_path / "3.png").write_bytes(encoded(PHOTOGRAPH, "PNG"))
    assert _open(tmp_path)[0].decoder("train") == PLAIN
    (tmp_path / "4.png").write_bytes(KINDS["PNG alpha"].content)
    assert _open(tmp_path)[0].decoder("train") == Decoder(on_host=False)
    (tmp_path / "5.tif").write_bytes(KINDS["TIFF"].content)
    source, data = _open(tmp_path)
    assert source.decoder("train") == Decoder(on_host=True)
    of_both = [
        crop_views(tf.constant(encoded_photograph), 64, SEEDS, AugmentationConfig(), decoder)
        for decoder in (PLAIN, source.decoder("train"))
    ]
    np.testing.assert_array_equal(*of_both)
    assert Stream(source, "train", 0, data=data).decoder == Decoder()
    assert open_source(DataConfig()).decoder("train") == PLAIN
