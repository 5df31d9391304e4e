"""``events/``: TensorBoard's files: what they hold, and steps taken out that are made again."""

import glob
import os
from typing import List, Tuple

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.files import TEMPORARY, sync


def drop_events_after(folder: str, step: int) -> None:
    """Drops what was logged after a step, so that no curve has a step twice.

    Args:
      folder: the directory of event files, to which nothing is writing; it need not exist.
      step: the last step that stays; at 0 nothing stays, since the run begins anew.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*")):
        if path.endswith(TEMPORARY):
            os.remove(path)
            continue
        records, whole = _records(path)
        events = [tf.compat.v1.Event.FromString(record) for record in records]
        kept = [
            record
            for record, event in zip(records, events)
            if not event.HasField("summary") or 0 <= event.step <= step != 0
        ]
        if whole and len(kept) == len(records):
            continue
        temporary = f"{path}{TEMPORARY}"
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in kept:
                writer.write(record)
        sync(temporary)
        os.replace(temporary, path)


def logged_images(folder: str, name: str) -> List[bytes]:
    """The images that were logged under a name first, as PNG files.

    Args:
      folder: the directory of event files; it need not exist.
      name: how the tag, or its last part, begins.
    """
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*"))):
        if path.endswith(TEMPORARY):
            continue
        for record in _records(path)[0]:
            for value in tf.compat.v1.Event.FromString(record).summary.value:
                is_image = value.metadata.plugin_data.plugin_name == "images"
                if is_image and value.tag.rpartition("/")[2].startswith(name):
                    # Width and height come first.
                    return list(value.tensor.string_val[2:])
    return []


def _records(path: str) -> Tuple[List[bytes], bool]:
    """The records of a file up to where it is torn, and whether it is whole."""
    records = []
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            records.append(record)
    except tf.errors.DataLossError:
        return records, False
    return records, True
