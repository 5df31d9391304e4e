"""The labels of a table, over the images of another source."""

import hashlib
import logging
import os
from typing import Callable, Collection, Dict, List, Optional, Set

import numpy as np

from tf_simclrv2.config import ConfigError, DataConfig, refuse
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.by_index import Columns
from tf_simclrv2.data.decoding import Decoder
from tf_simclrv2.data.label_join import class_names, held_out, joined
from tf_simclrv2.data.label_table import FLAG, TRAIN, VALIDATION, read_labels
from tf_simclrv2.data.names import Names
from tf_simclrv2.data.sources.source import UNLABELLED, Source, digest
from tf_simclrv2.keras2 import tf

logger = logging.getLogger(__name__)

# The split of all labelled images, of a table that a run is evaluated on.
ALL = "all"
_NAMES_SHOWN = 5


class TableSource(Source):
    """Images of another source with the labels of a table, see :func:`read_labels`.

    The table is about one split of that source, its pool. Images that it gives no label take part
    in training without one. The column ``split`` says which images are to evaluate on. Without it
    a seeded part of each class's labelled images is held out as the split ``validation``, unless
    the other source has a split to evaluate on, with labels of the same classes.

    Args:
      base: whose images they are.
      data: names the table, and perhaps classes; says what is held out.
      pool: the split of ``base`` that the table is about.
      known: the classes of a run to evaluate, of which the labels may be only some.
      whole: makes a table without a column ``split`` one split, ``all``, of the labelled images.

    Attributes:
      base, pool: as given. The images of ``train``, ``validation`` and ``test`` are all of the
        pool, under the same ids, whatever the table says.
      rows: of the table, by the ids of their images.
      chosen_by: how images were chosen to be labelled, by id, as far as the table says it.

    Raises:
      ConfigError: the table or the classes can't be used.
    """

    evaluation_advice = (
        "give some labelled images the split validation or test in a column split, or hold out "
        "more with --holdout_fraction"
    )
    must_hold_out = False

    def __init__(
        self,
        base: Source,
        data: DataConfig,
        pool: str,
        known: Optional[List[str]] = None,
        whole: bool = False,
    ):
        assert data.labels, "there is no table"
        self.base, self.pool, self._path = base, pool, data.labels
        self.name, self.directory = base.name, base.directory
        self.file_format = base.file_format
        self.shuffle_buffer = base.shuffle_buffer
        table = read_labels(data.labels)
        self._listed = base.listed(pool)
        names = Names(list(self._listed), list(self._listed.values()), _roots(base, data))
        self.rows = rows = joined(
            table, names, base.called if base.splits == [pool] else f"{base.called} {pool}"
        )
        self._num_classes = len(table.classes)
        if known is not None and not table.classes:
            raise table.refuse("has no label to evaluate on")
        self.class_names = class_names(table, data.classes, base.class_names, known)
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        # In the order of the pool.
        self._label_of = {
            each: numbers[rows[each].label]
            for each in self._listed
            if each in rows and rows[each].label and numbers
        }
        self.chosen_by = {each: row.chosen_by for each, row in rows.items() if row.chosen_by}
        # Whether the other splits of the base can be evaluated on.
        self._has_others = self.class_names is not None and base.class_names == self.class_names
        self._split_of = {each: row.split for each, row in rows.items() if row.split != TRAIN}
        if pool in self._split_of.values():
            raise table.refuse(
                f"has images of {pool}, but --train_split={pool} trains on all of it"
            )
        if whole and not table.has_splits:
            self._split_of = dict.fromkeys(self._label_of, ALL)
        elif not table.has_splits and not self._evaluates_others:
            self._split_of = dict.fromkeys(self._held_out(data), VALIDATION)
        self._leave_out_unlabelled()
        if whole and not self._split_of:
            raise table.refuse("has no image with a label whose split is validation or test")
        if known is None:
            self._warn_of_empty_classes()
        self._corrupt_ids: Optional[Set[str]] = None
        self._ids_of: Dict[str, List[str]] = {}

    @property
    def _evaluates_others(self) -> bool:
        return self._has_others and self.base.usual_evaluation_split not in (None, self.pool)

    def _held_out(self, data: DataConfig) -> List[str]:
        return held_out(self._label_of, data.holdout_fraction, data.holdout_seed)

    def _leave_out_unlabelled(self) -> None:
        """Takes the images without a label from the splits to evaluate on, and says so."""
        unlabelled = [each for each in self._split_of if each not in self._label_of]
        self._left_out = set(unlabelled)
        for each in unlabelled:
            del self._split_of[each]
        if unlabelled and self.class_names is not None:
            logger.warning(
                "%s: images of validation and test without a label (%d, such as %s) were left out",
                self.called, len(unlabelled), printable(unlabelled[0]),
            )  # fmt: skip

    def _warn_of_empty_classes(self) -> None:
        names = self.class_names or []
        empty = [names[n] for n in sorted(set(range(len(names))) - {*self._trained().values()})]
        if empty:
            logger.warning(
                "%s: %d of the %d classes have no image to train on yet (%s%s), so the network "
                "can't learn them", self.called, len(empty), len(names),
                ", ".join(empty[:_NAMES_SHOWN]), ", ..." * (len(empty) > _NAMES_SHOWN),
            )  # fmt: skip

    def _trained(self) -> Dict[str, int]:
        return {each: n for each, n in self._label_of.items() if each not in self._split_of}

    @property
    def called(self) -> str:
        return f"--{FLAG}={self._path}"

    @property
    def splits(self) -> List[str]:
        others = self.base.splits if self._has_others else []
        own = dict.fromkeys([self.pool, *sorted(set(self._split_of.values()))])
        return [*own, *(split for split in others if split not in own)]

    @property
    def usual_evaluation_split(self) -> Optional[str]:
        usual = super().usual_evaluation_split
        if ALL in self._split_of.values():
            return ALL
        return None if usual == self.pool else usual

    def without_labels(self, what: str) -> ConfigError:
        count, among = self._num_classes, ""
        if count > 1:
            count, among = len({*self._trained().values()}), " among the images to train on"
        return refuse(
            FLAG,
            self._path,
            f"has labels of {count} class{'es' * (count != 1)}{among}, but {what} needs two or "
            "more; fill in its column label",
        )

    def check_split(self, split: str, flag: str) -> None:
        super().check_split(split, flag)
        if flag == "eval_split" and self._is_own(split) and not self._ids_with_label(split):
            raise refuse(flag, split, f"has no image with a label in {self.called}")

    def _is_own(self, split: str) -> bool:
        return split == self.pool or split in self._split_of.values()

    def _is_in(self, split: str) -> Callable[[str], bool]:
        """Tells whether an example of the pool belongs to a split."""
        if split == self.pool:
            return lambda each: each not in self._split_of and each not in self._left_out
        return lambda each: self._split_of.get(each) == split

    def _ids_with_label(self, split: str) -> List[str]:
        return list(filter(self._is_in(split), self._label_of))

    @property
    def _corrupt(self) -> Set[str]:
        """Examples that are listed but left out, as their files are corrupt."""
        if self._corrupt_ids is None:
            self._corrupt_ids = set()
            if self.base.num_examples(self.pool) < len(self._listed):
                ids = self.base.index(self.pool).map(lambda example: example["id"])
                whole = set(map(os.fsdecode, ids.as_numpy_iterator()))
                self._corrupt_ids = self._listed.keys() - whole
            held_out = [each for each in self._split_of if each not in self._corrupt_ids]
            if held_out and not self.base.is_checked(self.pool):
                self._corrupt_ids.update(self.base.damaged(self.pool, held_out))
        return self._corrupt_ids

    def _ids(self, split: str) -> List[str]:
        if split not in self._ids_of:
            is_in, corrupt = self._is_in(split), self._corrupt
            self._ids_of[split] = [i for i in self._listed if is_in(i) and i not in corrupt]
        return self._ids_of[split]

    def labelled(self, split: str) -> Optional[Dict[str, int]]:
        if not self._is_own(split) or self.class_names is None:
            return None
        return {
            each: self._label_of[each]
            for each in self._ids_with_label(split)
            if each not in self._corrupt
        }

    def num_examples(self, split: str) -> int:
        if self._is_own(split):
            return len(self._ids(split))
        if not self._has_others:
            raise KeyError(split)
        return self.base.num_examples(split)

    def usual_side(self, split: str) -> Optional[int]:
        return self.base.usual_side(self._in_base(split))

    def decoder(self, split: str) -> Decoder:
        return self.base.decoder(self._in_base(split))

    def is_checked(self, split: str) -> bool:
        # Those to evaluate on are, whatever the pool is.
        return split in self._split_of.values() or self.base.is_checked(self._in_base(split))

    def damaged(self, split: str, ids: Collection[str]) -> List[str]:
        return self.base.damaged(self._in_base(split), ids)

    def first_damaged(self, ids: Optional[Collection[str]] = None) -> Optional[str]:
        return self.base.first_damaged(ids)

    def columns(self, split: str) -> Optional[Columns]:
        columns = self.base.columns(self._in_base(split))
        if columns is None or not self._is_own(split):
            return columns
        own = columns.only([os.fsencode(each) for each in self._ids(split)])
        labels = [self._label_of.get(os.fsdecode(each), UNLABELLED) for each in own.ids]
        return own._replace(labels=np.array(labels, np.int64))

    def _in_base(self, split: str) -> str:
        return self.pool if self._is_own(split) else split

    def listed(self, split: str) -> Dict[str, str]:
        if not self._is_own(split):
            return self.base.listed(split)
        return {each: name for each, name in self._listed.items() if self._is_in(split)(each)}

    def fingerprint(self, split: str, ids: Optional[Collection[str]] = None) -> str:
        if not self._is_own(split):
            return self.base.fingerprint(split, ids)
        own = self._ids(split) if ids is None else ids
        return digest([self.base.fingerprint(self.pool, own), *self._labels_of(own)])

    def _labels_of(self, ids: Collection[str]) -> List[str]:
        names = self.class_names or []
        return [f"{each}\0{names[self._label_of[each]]}" for each in ids if each in self._label_of]

    def content_key(self, split: str) -> str:
        if not self._is_own(split):
            return self.base.content_key(split)
        hashed = hashlib.sha256(os.fsencode(f"{self.base.content_key(self.pool)} {split}"))
        ids = self._ids(split)
        for text in (*(self.class_names or ()), *ids, *self._labels_of(ids)):
            hashed.update(os.fsencode(f"{text}\0\0"))
        return hashed.hexdigest()

    def index(self, split: str) -> tf.data.Dataset:
        if not self._is_own(split):
            return self.base.index(split)
        examples = self.base.index(self.pool)
        if split == self.pool:
            apart = _lookup(dict.fromkeys([*self._split_of, *self._left_out], 1), 0)
            examples = examples.filter(lambda example: apart(example["id"]) == 0)
        else:
            own = _lookup(dict.fromkeys(self._ids(split), 1), 0)
            examples = examples.filter(lambda example: own(example["id"]) == 1)
        label_of = _lookup(self._label_of, UNLABELLED)
        return examples.map(lambda example: {**example, "label": label_of(example["id"])})


def _roots(base: Source, data: DataConfig) -> List[str]:
    """What paths of images may be relative to."""
    given = None if data.data_dir is None else os.path.abspath(os.path.expanduser(data.data_dir))
    return [root for root in (given, base.directory) if root is not None]


def _lookup(values: Dict[str, int], default: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """What finds the numbers of ids in a graph."""
    if not values:
        return lambda ids: tf.fill(tf.shape(ids), tf.constant(default, tf.int64))
    # Names as bytes, since they need not be UTF-8.
    keys = tf.constant([os.fsencode(each) for each in values])
    numbers = tf.constant(list(values.values()), tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, numbers), default)
    return table.lookup
