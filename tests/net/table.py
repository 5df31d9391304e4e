"""A row for a flag: with another value, what it is for changes as it should.

A row says which value to give, what to look at, and what is to be seen there without and with the
value. Rows of a group give all their values to one job, which saves building one for each.
"""

import functools
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from tests.net import pictures
from tests.net.held import Ran, job, new_path

# Without a group it is a command of its own.
ALONE = ""
_OPTIMIZATION = (
    "--train_batch_size=20 --train_epochs=4 --learning_rate=0.3 --warmup_epochs=1 "
    "--weight_decay=0.1"
)
PLAIN = "--use_flip=false --use_blur=false --color_jitter_strength=0 --use_crop=false"
_COMMON = (
    "--dataset=folder --data_dir={colours} --image_size=8 --resnet_depth=18 "
    f"--width_multiplier=0.0625 --seed=3 --mode=train --log_every_steps=1 {_OPTIMIZATION} {PLAIN} "
    "--augment_on=host --jit_compile=false --checkpoint_min_steps=1"
)
BASE = {
    "pretrain": _COMMON,
    "finetune": f"{_COMMON} --from_scratch",
    "distill": f"{_COMMON} --teacher={{fine_tuned}}",
}
# For rows that only look at images: a network of one block, and both of distillation's streams.
IMAGES = "--resnet_depth=101"
_IMAGES_OF = {"distill": "--teacher={small_teacher} --distillation_alpha=0.5"}


def same(seen: Any, expected: Any, rtol: float = 1e-3) -> bool:
    """Whether two of what rows look at are the same, numbers within rounding."""
    if isinstance(seen, (list, tuple)):
        return len(seen) == len(expected) and all(
            same(one, other, rtol) for one, other in zip(seen, expected)
        )
    if isinstance(seen, np.ndarray):
        return np.array_equal(seen, expected)
    if isinstance(seen, float) and expected is not None:
        return bool(np.isclose(seen, expected, rtol=rtol, atol=1e-6))
    return seen == expected


def becomes(before: Any, after: Any) -> Callable[[Any, Any], None]:
    """Expects exactly this without and with the value; a function says whether it will do."""

    def check(*seen):
        for what, each, expected in zip(("without", "with"), seen, (before, after)):
            if callable(expected):
                assert expected(each), f"{what} the value it is {each}"
            else:
                assert same(each, expected), f"{what} the value it is {each}, not {expected}"

    return check


def anything(_: Any) -> bool:
    """Expects nothing."""
    return True


def changes(before: Any, after: Any) -> None:
    """Expects any other thing with the value than without."""
    assert not same(before, after, rtol=1e-5), f"with the value it is still {after}"


def stays(before: Any, after: Any) -> None:
    """Expects the same with the value as without: the command has no use for the flag."""
    assert same(before, after), f"with the value it is {after}, not {before}"


class Row(NamedTuple):
    """What another value of a flag changes.

    Attributes:
      flag: its name.
      value: the other value; ``{name}`` in it stands for one of the places of :func:`filled`.
      look: at what, of the command that ran.
      expect: takes what is seen there without and with the value, and checks it.
      along: further flags that are given in both cases.
      besides: further flags that are only given with the value.
      group: rows of one group give their values together.
    """

    flag: str
    value: Any
    look: Callable[[Any], Any]
    expect: Callable[[Any, Any], None] = changes
    along: str = ""
    besides: str = ""
    group: str = ALONE

    @property
    def given(self) -> str:
        """The value on the command line."""
        return f"--{self.flag}={self.value} {self.besides}"


Rows = Dict[str, List[Row]]


def cases(rows: Rows) -> List[Tuple[str, Row]]:
    """Every row with its command, for ``parametrize``."""
    return [(command, row) for command, own in rows.items() for row in own]


def named(value: Any) -> str:
    """How a case is called in the tests' output."""
    if isinstance(value, str):
        return value
    look = getattr(value.look, "func", value.look)
    return f"{value.flag}-{look.__name__.strip('_')}"


def check(rows: Rows, command: str, row: Row, ran: Callable[..., Ran]) -> None:
    """Runs the command without and with a row's value, and checks what it expects.

    Args:
      rows: all rows of the command, for those of the same group.
      command: which command.
      row: the row to check.
      ran: runs a command with the flags that it is given.
    """
    group = [each for each in rows[command] if row.group and each.group == row.group] or [row]
    along = " ".join(dict.fromkeys(each.along for each in group))
    before = _seen(row, ran(command, filled(along, command)))
    given = " ".join(each.given for each in group)
    after = _seen(row, ran(command, filled(f"{along} {given}", command)))
    row.expect(before, after)


def _seen(row: Row, ran: Ran) -> Any:
    try:
        return row.look(ran)
    except (AttributeError, OSError, TypeError) as error:
        # Most rows look at what a command that was refused does not have.
        raise AssertionError(ran.message or error) from error


def training(command: str, *flags: str) -> Ran:
    """The job of a training command with the flags that all of these tests give."""
    base = [BASE[command]]
    if any(IMAGES in flag for flag in flags):
        base.append(_IMAGES_OF.get(command, ""))
    return job(command, filled(" ".join(base), command), *flags)


# Places: folders of images, and runs and exports of tiny networks, made when they are first named.

_ONE_STEP = "--train_steps=1"


def _run(command: str, *flags: str) -> str:
    held = training(command, _ONE_STEP, *flags)
    assert held.played.saved
    return held.path


def _classifier(*flags: str) -> str:
    held = training("finetune", _ONE_STEP, *flags)
    if "played" not in vars(held):
        # Predictions that are nearly the same for all images would hide what changes them.
        kernel = held.network.supervised_head.dense.kernel
        kernel.assign(100 * kernel)
    assert held.played.saved
    return held.path


def pretrained() -> str:
    """A pretraining run with random weights."""
    return _run("pretrain", "--seed=6")


def fine_tuned() -> str:
    """A supervised run with random weights."""
    return _classifier("--seed=6")


def other_teacher() -> str:
    """Another one, with other weights."""
    return _classifier("--seed=5")


def small_teacher() -> str:
    """One whose network has a single block."""
    return _classifier("--seed=6", IMAGES)


def other_small_teacher() -> str:
    """Another one, with other weights."""
    return _classifier("--seed=5", IMAGES)


@functools.lru_cache(None)
def with_memory() -> str:
    """A pretraining run whose memory network has other weights than the trained one."""
    held = training("pretrain", _ONE_STEP, "--use_memory --memory_size=80 --seed=8")
    for variable in held.average.trainable_variables:
        variable.assign_add(0.5 * np.ones(variable.shape))
    assert held.played.saved
    return held.path


def subset() -> str:
    """A file that lists two labelled examples of each class."""
    held = training("finetune", "--labels_per_class=2 --label_seed=9")
    return f"{held.path}/labelled_examples.txt"


PLACES: Dict[str, Callable[[], str]] = {
    **{
        place.__name__: place
        for place in (
            pictures.colours, pictures.others, pictures.letters,
            pictures.table, pictures.classes, pictures.more, pictures.three,
            pictures.damaged, pictures.same,
            pretrained, fine_tuned, other_teacher, small_teacher,
            other_small_teacher, with_memory, subset,
        )
    },
    "new": functools.lru_cache(None)(lambda: new_path("new")),
}  # fmt: skip


class _Filled(dict):
    def __missing__(self, name: str) -> str:
        return PLACES[name]()


def filled(flags: str, command: str) -> str:
    """Puts the places and the command's name for ``{their name}`` in flags."""
    return flags.format_map(_Filled(command=command))
