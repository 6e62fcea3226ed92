"""What the report of a general conversion says of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, fx

from spikeloom.conversion.general.report import GeneralEdge

__all__ = ["edge_of", "relative_error"]

_NONE = np.zeros(0)


def relative_error(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Root mean square difference of batches (spiking, original), relative to the original's."""
    norm = sum(float(r.double().square().sum()) for _, r in pairs)
    off = sum(float((x.double() - r.double()).square().sum()) for x, r in pairs)
    return (off / norm) ** 0.5 if norm else 0.0


def edge_of(node: fx.Node, pairs: Sequence[tuple[Any, Any]], below_zero: str) -> GeneralEdge | None:
    """Edge of a node, None where its values are another edge's, or no tensor.

    pairs: what it gives in spikes and in the original, by batches. below_zero: kind of the words
    of values that may be negative.
    """
    rule, words = node.meta["rule"], node.meta["words"]
    hidden = node.meta.get("firing") is None and any(
        user.meta["rule"].kind == "spikes" for user in node.users
    )
    value = pairs[0][0]
    if rule.kind in ("size", "constant") or hidden or not isinstance(value, Tensor):
        return None
    firing, floating = node.meta.get("firing"), value.is_floating_point()
    label = rule.label
    if firing is not None:
        label = node.all_input_nodes[0].meta["rule"].label
        form = "input words" if firing.is_input else "words"
        form = f"{below_zero} words" if firing.signed else form
    elif words is not None:
        form = "wide words" if rule.kind == "wide" else "words"
        form = "signed words" if words.signed and form == "words" else form
    elif rule.kind in ("weighted", "sum", "affine"):
        form = "potentials"
    else:
        form = "float" if floating else "indices"
    rate = 0.0
    if firing is not None:
        rate = float(np.mean([float((x != 0).float().mean()) for x, _ in pairs]))
    return GeneralEdge(
        name=node.meta["path"],
        form=form,
        bits=words.bits if words is not None else 0,
        operation=label,
        granularity=node.meta.get("granularity", "") if firing is not None else "",
        thresholds=node.meta["thresholds"] if firing is not None else _NONE,
        error=relative_error(pairs) if floating else 0.0,
        rate=rate,
        enters_weights=any(u.meta["rule"].kind == "weighted" for u in node.users),
        rule=node.meta.get("threshold_rule", "") if firing is not None else "",
    )
