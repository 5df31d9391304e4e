"""``audit``: labels that look wrong, near-duplicates and leaks, and images unlike all others."""

import logging
from typing import List, Mapping

from tf_simclrv2.config import AuditConfig, LabelsConfig, refuse
from tf_simclrv2.config.labelling import AuditSection, Limit
from tf_simclrv2.programs import audit_report, command_line
from tf_simclrv2.training.auditing import Audit, Auditor, audited_splits, unjudged_because
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.learnt import of_features

logger = logging.getLogger(__name__)

# The exit code if more was found than --fail_on allows.
FOUND = 3


def run(values: Mapping[str, object]) -> int:
    """Writes tables and contact sheets of what is found, and logs it.

    Args:
      values: the flags that were given.

    Returns:
      ``FOUND`` if more was found than ``--fail_on`` allows, else 0.

    Raises:
      ConfigError: a setting can't be used.
    """
    section = command_line.build(AuditConfig, values).audit
    frozen = Frozen.open(section)
    directory = audit_report.check_place_of(section, frozen)
    splits = audited_splits(frozen, section.eval_split)
    _check_limits(section, frozen, splits)
    _warn_of_learnt_labels(frozen)
    audit = Auditor(frozen, splits).audit()
    audit_report.write(directory, frozen, audit)
    exceeded = _exceeded(section.limits, audit)
    for sentence in exceeded:
        logger.error("--fail_on=%s: %s", section.fail_on, sentence)
    return FOUND if exceeded else 0


def _warn_of_learnt_labels(frozen: Frozen) -> None:
    """Says that a network may have learnt the wrong labels, too."""
    if frozen.source.num_classes is None:
        return
    labelled = frozen.labelled(LabelsConfig())
    learnt = len(of_features(frozen, labelled))
    if learnt:
        logger.warning(
            f"{frozen.path} was trained on {learnt:,} of the {len(labelled):,} labels, so wrong "
            "ones may look right; audit them by the pretraining run"
        )


def _check_limits(section: AuditSection, frozen: Frozen, splits: List[str]) -> None:
    """Refuses limits for what can't be found, which would be kept whatever is wrong."""
    for limit in section.limits:
        because = None
        if limit.finding == "leaks" and len(splits) < 2:
            because = (
                f"leaks can't be found, as there is no split to evaluate on besides {splits[0]}; "
                "name it with --eval_split"
            )
        elif limit.finding == "conflicts" and not any(map(frozen.has_labels, splits)):
            because = f"conflicts can't be found, as no image of {', '.join(splits)} has a label"
        elif limit.finding == "labels":
            reason = unjudged_because(frozen)
            because = None if reason is None else f"labels can't be judged: {reason}"
        if because is not None:
            raise refuse("fail_on", section.fail_on, because)


def _exceeded(limits: List[Limit], audit: Audit) -> List[str]:
    """What was found beyond the limits, a sentence each."""
    sentences = []
    for limit in limits:
        found = audit_report.counted(audit)[limit.finding]
        # Divided, since 0.29 times 100 is less than 29.
        number = found.number / max(found.among, 1) if limit.is_share else found.number
        if number > limit.most:
            allowed = f"{limit.most:.9g} of them" if limit.is_share else f"{limit.most:.0f}"
            sentences.append(f"{found.words}, more than {allowed}")
    return sentences
