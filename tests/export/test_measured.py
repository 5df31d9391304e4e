"""What a model card says of accuracy."""

from export import measured
from tests.reporting import files
from tf_simclrv2.runtime.run_directory import RunDirectory


def test_a_result_of_an_earlier_version_has_an_interval(tmp_path):
    run = files.pretraining(tmp_path / "run", files.CLASSES)
    result = {"top_1_accuracy": 0.7, "num_examples": 100, "step": 3, "dataset": "digits",
              "split": "test", "data_dir": "/x"}  # fmt: skip
    files.write(run / "result.json", result)
    directory = RunDirectory(str(run), writable=False)
    assert measured.accuracy(directory, 3, use_ema_weights=False) == (
        "top-1 70.0% (95% interval 60.4% to 78.1%) on 100 images of digits test, at step 3"
    )
    files.write(run / "result.json", {**result, "top_5_accuracy": 0.9})
    told = measured.accuracy(directory, 3, use_ema_weights=False)
    assert "to 78.1%), top-5 90.0% on 100 images" in told
