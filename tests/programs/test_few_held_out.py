"""``evaluate`` with knn and ridge, where few images are held out."""

import numpy as np
import pytest
from PIL import Image

from tests.interop.writers import converted_run
from tf_simclrv2.runtime.run_directory import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return converted_run(str(tmp_path_factory.mktemp("few")))


def _images(root, of_class):
    """Two classes of noise, darker and lighter."""
    random = np.random.RandomState(0)
    for name, light in (("dark", 0), ("light", 60)):
        (root / name).mkdir(parents=True)
        for number in range(of_class):
            pixels = random.randint(0, 190, [8, 8, 3]) + light
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return str(root)


def test_evaluators_of_features_go_to_all_labels(command, run, tmp_path):
    images = ["--dataset=folder", f"--data_dir={_images(tmp_path / 'images', of_class=12)}"]
    arguments = ["evaluate", f"--model_dir={run}", *images, "--evaluators=knn,ridge"]
    outcome = command(*arguments)
    assert outcome.code == 0, outcome.err
    words = f"{run}: 2 images of validation with a label are few, so knn and ridge answer the 22 of"
    assert words in outcome.out and "--eval_split=validation is for those few" in outcome.out
    (found,) = RunDirectory(run).other_results()
    assert (found["split"], found["num_examples"], found["knn"]["images"]) == ("train", 22, 22)
    # As if one had asked for it; and who asks for the few gets them.
    for split, count in (("train", 22), ("validation", 2)):
        outcome = command(*arguments, f"--eval_split={split}")
        assert outcome.code == 0 and "are few" not in outcome.out
        others = {each["split"]: each for each in RunDirectory(run).other_results()}
        assert others[split]["ridge"]["images"] == count
        assert others["train"] == found


def test_enough_images_that_are_held_out_are_kept_to(command, run, tmp_path, monkeypatch):
    monkeypatch.setattr("tf_simclrv2.programs.evaluate.FEWEST_HELD_OUT", 4)
    images = ["--dataset=folder", f"--data_dir={_images(tmp_path / 'images', of_class=20)}"]
    outcome = command("evaluate", f"--model_dir={run}", *images, "--evaluators=ridge")
    assert outcome.code == 0 and "are few" not in outcome.out
    assert RunDirectory(run).other_results()[-1]["num_examples"] == 4
