"""Warps: what SciPy's affine transform makes of the same matrix, and how they are distributed."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_image

from tests.data.views.helpers import DRAWS, assert_uniform, some_draws
from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views import (
    SMALLEST_PARTLY_DECODED,
    crop_views,
    draw,
    random_window,
    warp_of,
    warp_views,
)
from tf_simclrv2.keras2 import tf

SEEDS = tf.constant([[3, 7], [3, 8], [4, 7], [9, 1]], tf.int64)
WHOLE = AugmentationConfig(
    use_crop=False,
    rotation_max_degrees=180,
    scale_min=0.7,
    scale_max=2,
    shear_max=0.5,
    translate_max=0.5,
)
CROPPED = dataclasses.replace(WHOLE, use_crop=True)
MODES = {"edge": "nearest", "constant": "grid-constant", "reflect": "reflect"}
# Draws by which nothing moves, where the smallest scale is the inverse of the largest.
STILL = tf.fill([len(SEEDS), 22], 0.5)


def _photograph(height, width):
    return load_sample_image("china.jpg")[40 : 40 + height, 100 : 100 + width]


def _draws(seed=2):
    return draw(tf.constant([1, seed], tf.int64), len(SEEDS))[1]


def _window(image, seed, config):
    """Middle and size of a view's window, (right, down)."""
    if not config.use_crop:
        size = np.array(image.shape[1::-1], float)
        return size / 2, size
    begin, size = random_window(
        tf.constant(image.shape), seed, config.crop_area_min, config.crop_aspect_max
    )
    begin, size = (part.numpy()[1::-1].astype(float) for part in (begin, size))
    return begin + size / 2, size


def _map_of(image, index, draws, size, config):
    """The matrix and offset, (right, down), from middles of a view's pixels to an image's."""
    angle, scale, shear, shift = (part[index].numpy() for part in warp_of(draws, config))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle, window = _window(image, SEEDS[index], config)
    # As one reads it: shift the view, scale it, spread it over the window, slant and turn it.
    steps = turn @ [[1, shear], [0, 1]] @ np.diag(window / scale) / size
    return steps, middle - steps @ (size * shift) - steps @ np.full(2, (size - 1) / 2) - 0.5


def _by_scipy(image, steps, offset, size, fill_mode):
    """The image under a map from a view, float [size, size, 3]."""
    channels = [
        ndimage.affine_transform(
            channel.astype(float), steps[::-1, ::-1], offset[::-1], (size, size), order=1,
            mode=MODES[fill_mode],
        )
        for channel in np.moveaxis(image, -1, 0)
    ]  # fmt: skip
    return np.stack(channels, axis=-1)


class TestOneResampling:
    @pytest.mark.parametrize("fill_mode", MODES)
    @pytest.mark.parametrize("base", [WHOLE, CROPPED], ids=["whole", "cropped"])
    @pytest.mark.parametrize("shape", [(30, 41), (60, 44)])
    def test_it_is_the_affine_transform_of_scipy(self, shape, base, fill_mode):
        image, config = _photograph(*shape), dataclasses.replace(base, fill_mode=fill_mode)
        compared = 0
        for seed in range(3):
            draws = _draws(seed)
            views = warp_views(tf.constant(image), 64, SEEDS, draws, config)
            for index, view in enumerate(views.numpy()):
                steps, offset = _map_of(image, index, draws, 64, config)
                if np.linalg.norm(steps, axis=1).max() < 2:
                    expected = _by_scipy(image, steps, offset, 64, fill_mode)
                    assert np.abs(view - expected).max() < 0.5 + 0.1
                    compared += 1
        assert compared >= 8

    def test_large_steps_average_blocks_first(self):
        """Over which single pixels would be skipped: of a fine chequer nothing is left but grey."""
        chequer = np.indices((120, 120)).sum(0) % 2 * np.full((3, 1, 1), 255)
        image = np.moveaxis(chequer, 0, -1).astype(np.uint8)
        config = AugmentationConfig(use_crop=False, rotation_max_degrees=180)
        draws = _draws()
        views = warp_views(tf.constant(image), 30, SEEDS, draws, config).numpy()
        assert np.abs(views.astype(float) - 127.5).max() <= 1
        photograph = _photograph(120, 120)
        views = warp_views(tf.constant(photograph), 30, SEEDS, draws, config).numpy()
        blocks = photograph.reshape(30, 4, 30, 4, 3).mean((1, 3))
        for index, view in enumerate(views):
            steps, offset = _map_of(blocks, index, draws, 30, config)
            # Outside of the image blocks count from another corner.
            inside = np.hypot(*(np.indices((30, 30)) - 14.5)) < 12
            expected = _by_scipy(blocks, steps, offset, 30, "edge")
            assert np.abs(view - expected)[inside].mean() < 4
            assert np.abs(view - expected)[inside].max() < 40

    @pytest.mark.parametrize("shape", [(36, 36), (72, 36)])
    def test_a_warp_that_moves_nothing_gives_the_image(self, shape):
        image = _photograph(*shape)
        config = dataclasses.replace(WHOLE, scale_min=0.5, scale_max=2)
        views = warp_views(tf.constant(image), 36, SEEDS, STILL, config)
        expected = image.reshape(36, shape[0] // 36, 36, 3).astype(float).mean(1)
        for view in views.numpy():
            assert np.abs(view - expected).max() <= 0.5

    def test_a_warp_that_moves_nothing_shows_the_window_of_the_crop(self):
        image = tf.constant(_photograph(100, 140))
        config = dataclasses.replace(CROPPED, scale_min=0.5, scale_max=2)
        views = warp_views(image, 96, SEEDS, STILL, config)
        crops = crop_views(image, 96, SEEDS, config)
        # Bilinear and bicubic interpolation differ.
        difference = np.abs(views.numpy().astype(float) - crops.numpy())
        assert difference.mean() < 4 < 20 < np.abs(np.diff(views, axis=0).astype(float)).mean()

    @pytest.mark.parametrize("size", [24, SMALLEST_PARTLY_DECODED])
    @pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 3)])
    @pytest.mark.parametrize("fill_mode", MODES)
    def test_files_give_the_views_of_their_pixels(self, kind, tolerance, size, fill_mode):
        """Of a large JPEG only a part is decoded, so that its border may differ a little."""
        file = io.BytesIO()
        Image.fromarray(_photograph(150, 190)).save(file, kind)
        content, config = tf.constant(file.getvalue()), dataclasses.replace(
            CROPPED, fill_mode=fill_mode, crop_area_min=0.2
        )  # fmt: skip
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
        for index in range(4):
            # One by one, or together they may need the whole image.
            only = SEEDS[index : index + 1], _draws()[index : index + 1]
            views = warp_views(content, size, *only, config)
            difference = np.abs(
                views.numpy().astype(float) - warp_views(image, size, *only, config)
            )
            assert difference.max() <= 8 * tolerance
            assert difference.mean() <= 0.1 * tolerance

    def test_a_view_is_a_function_of_its_own_draws(self):
        image, draws = tf.constant(_photograph(50, 60)), _draws()
        together = warp_views(image, 32, SEEDS, draws, CROPPED)
        tf.random.set_seed(77)
        alone = warp_views(image, 32, SEEDS[2:3], draws[2:3], CROPPED)
        np.testing.assert_array_equal(together[2], alone[0])
        assert len({view.numpy().tobytes() for view in together}) == len(SEEDS)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 400)])
    @pytest.mark.parametrize("fill_mode", MODES)
    def test_images_of_any_shape_have_views(self, shape, fill_mode):
        """Pixels are all alike, so that nothing but the constant can be mixed in."""
        image = tf.fill([*shape, 3], tf.constant(200, tf.uint8))
        config = dataclasses.replace(
            CROPPED, scale_min=0.1, scale_max=10, shear_max=1, fill_mode=fill_mode
        )
        views = warp_views(image, 16, SEEDS, _draws(), config).numpy()
        assert views.max() <= 200
        assert fill_mode == "constant" or views.min() == 200


class TestDirections:
    """What a view shows moves as the flags say, not the other way round."""

    def _dot(self, right, down, **settings):
        """Where a dot of the image is seen, (right, down) from the middle, by the largest draws."""
        image = np.zeros((65, 65, 3), np.uint8)
        image[32 + down - 1 : 32 + down + 2, 32 + right - 1 : 32 + right + 2] = 255
        config = AugmentationConfig(use_crop=False, **settings)
        largest = tf.fill([1, 22], 1.0)
        view = warp_views(tf.constant(image), 65, SEEDS[:1], largest, config)[0, ..., 0].numpy()
        seen = np.array(ndimage.center_of_mass(view.astype(float)))[::-1] - 32
        return pytest.approx(seen, abs=0.1)

    def test_shifts_go_to_the_right_and_down(self):
        assert self._dot(0, 0, translate_max=0.2) == (13, 13)

    def test_scales_above_one_enlarge(self):
        assert self._dot(10, -5, scale_max=2.0) == (20, -10)

    def test_turns_are_by_the_angle(self):
        right, down = 12, -5
        turned = (right + 1j * down) * np.exp(-1j * np.pi / 6)
        assert self._dot(right, down, rotation_max_degrees=30.0) == (turned.real, turned.imag)

    def test_slants_move_rows_by_their_distance_from_the_middle(self):
        assert self._dot(10, 8, shear_max=0.5) == (10 - 0.5 * 8, 8)


class TestDistribution:
    def test_warps_are_uniform_between_their_bounds(self):
        config = AugmentationConfig(
            rotation_max_degrees=30, scale_min=0.5, scale_max=3, shear_max=0.3, translate_max=0.2
        )
        warp = warp_of(some_draws(), config)
        angle, scale, shear, shift = (part.numpy() for part in warp)
        assert_uniform(angle, -np.pi / 6, np.pi / 6)
        assert_uniform(np.log(scale), np.log(0.5), np.log(3))
        assert_uniform(shear, -0.3, 0.3)
        assert shift.shape == (DRAWS, 2)
        for along in shift.T:
            assert_uniform(along, -0.2, 0.2)
        everything = np.stack([angle, scale, shear, *shift.T])
        assert np.abs(np.corrcoef(everything) - np.eye(5)).max() < 5 / np.sqrt(DRAWS)

    def test_by_default_nothing_moves(self):
        config = AugmentationConfig()
        assert not config.warps
        angle, scale, shear, shift = warp_of(some_draws(), config)
        for part, still in ((angle, 0), (scale, 1), (shear, 0), (shift, 0)):
            assert (part.numpy() == still).all()

    @pytest.mark.parametrize(
        "settings",
        [
            {"rotation_max_degrees": 1.0}, {"scale_min": 0.9}, {"scale_max": 1.1},
            {"shear_max": 0.1}, {"translate_max": 0.1},
        ],
        ids=lambda settings: next(iter(settings)),
    )  # fmt: skip
    def test_each_bound_alone_turns_warps_on(self, settings):
        assert AugmentationConfig(**settings).warps
