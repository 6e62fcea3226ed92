"""The planner: which folding each layer gets, so that they keep pace with each other on a board."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from spikeloom.errors import BuildError
from spikeloom.hardware.parameters import (
    DenseParameters,
    Folding,
    NetworkParameters,
)

from spikeloom_boards.activity import Activity, assumed, full
from spikeloom_boards.choices import Option
from spikeloom_boards.cost import Cost, layer_cost, link_cost
from spikeloom_boards.cycle_model import layer_cycles
from spikeloom_boards.dataflow import layer_interval, simulate
from spikeloom_boards.refusal import refusal, too_slow
from spikeloom_boards.search import Search

if TYPE_CHECKING:
    from spikeloom.network import Network

    from spikeloom_boards.board import Board

__all__ = ["Goal", "LayerPlan", "Plan", "Target", "describe", "foldings", "plan", "unfolded"]

#: samples that a plan's interval and latency are the mean of, and with which choices are tried
MEASURED, TRIED = 16, 4

Target = Literal["balanced", "throughput", "latency", "area"]


@dataclass(frozen=True)
class Goal:
    """What a plan is for.

    target: ``throughput``, the shortest interval between images that fits; ``latency``, the
    shortest time of one image; ``area``, the fewest LUTs; ``balanced``, the least product of LUTs
    and interval.
    images_per_second: reach this with the fewest LUTs, whatever the target; 0 without.
    Raises ValueError for another target, or a rate below 0.
    """

    target: Target = "balanced"
    images_per_second: float = 0.0

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise ValueError(f"target must be one of {get_args(Target)}, not {self.target!r}")
        if not (math.isfinite(self.images_per_second) and self.images_per_second >= 0):
            raise ValueError(f"images_per_second must be >= 0, not {self.images_per_second!r}")


@dataclass(frozen=True)
class LayerPlan:
    """One layer of a plan.

    cycles: mean between two images if nothing else held the layer up. worst: the same if every
    spike came. density: share of non-zero words that enter, -1 where time does not depend on it.
    """

    name: str
    kind: str
    cycles: float
    worst: float
    density: float
    folding: Folding
    cost: Cost


@dataclass(frozen=True)
class Plan:
    """How a network is laid onto a board, and what to expect of it.

    board: its name. clock_hz: of the core. goal: what it was made for. activity: which data the
    cycles are for. interval: mean cycles between results when images wait. latency: mean cycles of
    one image alone, first word in to last logit out. worst_interval, worst_latency: bounds for any
    data.
    link: what everything takes that is no layer. build_id: of the structure, as the board says it.
    """

    board: str
    clock_hz: float
    build_id: str
    activity: str
    interval: float
    latency: float
    worst_interval: float
    worst_latency: float
    goal: Goal
    link: Cost
    layers: tuple[LayerPlan, ...] = field(repr=False)

    @property
    def foldings(self) -> tuple[Folding, ...]:
        """Folding of every layer."""
        return tuple(layer.folding for layer in self.layers)

    @property
    def total(self) -> Cost:
        """What the whole design takes."""
        total = self.link
        for layer in self.layers:
            total = total + layer.cost
        return total

    @property
    def bottleneck(self) -> LayerPlan:
        """The layer that all others wait for."""
        return max(self.layers, key=lambda layer: layer.cycles)

    @property
    def waits(self) -> bool:
        """Whether it is not one layer that holds the network up, but buffers between layers."""
        return self.interval > 1.2 * self.bottleneck.cycles

    @property
    def images_per_second(self) -> float:
        """Images a second of the core, host link aside."""
        return self.clock_hz / self.interval

    def parameters(self, network: Network) -> NetworkParameters:
        """Return a network's structure with these foldings; BuildError if it is another network."""
        names = [op.name for op in network.layers]
        ours = [layer.name for layer in self.layers]
        if names != ours:
            raise BuildError(
                f"the plan is for layers {', '.join(ours)}, the network has {', '.join(names)}:"
                " plan it again"
            )
        try:
            parameters = network.parameters(self.foldings)
        except ValueError as error:
            raise BuildError(f"the plan does not fit the network: {error}") from error
        if (found := f"{parameters.build_id:016x}") != self.build_id:
            raise BuildError(
                "the plan is for a network of another structure, or for other gateware:"
                f" plan it again (after a change of foldings by hand, set build_id to {found})"
            )
        return parameters


def unfolded(network: Network) -> NetworkParameters:
    """Return a network's parameters with a neutral folding, as a start for the search.

    Raises BuildError for a network that no folding can bring into the gateware.
    """
    reason = ""
    for slices in (1, 2, 4, 8):  # few rows a memory: the load bus addresses 2^ROW_BITS
        foldings = []
        for op in network.layers:
            outputs = getattr(op, "outputs", 0) if op.kind in ("dense", "readout", "conv2d") else 0
            parts = slices if outputs and getattr(op, "inputs", 1) >= slices else 1
            if getattr(op, "depthwise", False):
                parts = 1
            foldings.append(Folding(lanes=outputs or 1, slices=parts, scan=parts))
        try:
            return network.parameters(foldings)
        except ValueError as error:
            reason = str(error)
    raise BuildError(f"the gateware cannot run this network: {reason}")


def plan(
    network: Network | NetworkParameters,
    board: Board,
    *,
    goal: Goal | None = None,
    activity: Activity | None = None,
) -> Plan:
    """Plan a network for a board.

    activity: how many words are not zero; without, 25 % of the input and 50 % behind every layer.
    Raises BuildError, which names the layer, the resource, how much is missing and what would fit.
    """
    goal, start = goal or Goal(), _start(network)
    known = activity or assumed(start)
    names = () if isinstance(network, NetworkParameters) else [op.name for op in network.layers]
    search = Search(start, known, board)

    def folded(chosen: Sequence[Option]) -> NetworkParameters:
        return NetworkParameters(tuple(option.layer for option in chosen), start.sources)

    chosen = _choose(search, goal)
    if goal.images_per_second:
        # layers that wait for each other are a little slower than the slowest of them
        wanted = board.clock_hz / goal.images_per_second
        limit = wanted
        while (got := simulate(folded(chosen), known.first(TRIED)).interval) > wanted:
            limit *= min(0.99, wanted / got)
            faster = _slowest_within(search, limit)
            if faster is None:
                raise too_slow(search, goal.images_per_second, got)
            chosen = faster
    elif goal.target == "latency":
        chosen = min(
            _prompt(search),
            key=lambda trial: simulate(folded(trial), known.first(1)).latency,
        )
    return describe(folded(chosen), board, goal, known, names)


def foldings(network: Network | NetworkParameters, board: Board) -> tuple[Folding, ...]:
    """Choose balanced foldings without data; errors as for :func:`plan`."""
    start = _start(network)
    chosen = _choose(Search(start, assumed(start), board), Goal())
    return tuple(option.layer.folding for option in chosen)


def _start(network: Network | NetworkParameters) -> NetworkParameters:
    return network if isinstance(network, NetworkParameters) else unfolded(network)


def _choose(search: Search, goal: Goal) -> list[Option]:
    fastest = search.fastest()
    if fastest is None:
        raise refusal(search)
    intervals = [n for n in search.intervals() if n >= fastest]
    if goal.images_per_second:
        chosen = _slowest_within(search, search.board.clock_hz / goal.images_per_second)
        if chosen is None:
            raise too_slow(search, goal.images_per_second, fastest)
        return chosen
    if goal.target == "area":
        best = intervals[-1]
    elif goal.target == "balanced":
        best = min(intervals, key=lambda n: n * search.luts(search.within(n) or ()))
    else:
        best = fastest
    chosen = search.within(best)
    assert chosen is not None
    if goal.target == "balanced" and search.board.family == "ecp5":
        chosen = _widen_fire(search, chosen)
    return chosen


def _slowest_within(search: Search, interval: float) -> list[Option] | None:
    """The choice with the fewest LUTs among those that reach an interval; None if none does."""
    fits = [n for n in search.intervals() if n <= interval]
    return search.within(max(fits)) if fits else None


def _prompt(search: Search) -> list[list[Option]]:
    """Choices that spend the board on the latency of an image, for a few intervals."""
    fastest = search.fastest()
    assert fastest is not None
    intervals = [n for n in search.intervals() if n >= fastest]
    some = intervals[:: max(1, len(intervals) // TRIED)]
    trials = [search.within(n, hurry=hurry) for n in some for hurry in (1e6, 100.0, 1.0)]
    return [trial for trial in trials if trial is not None]


def _widen_fire(search: Search, chosen: list[Option]) -> list[Option]:
    """Spend some of what is left on latency: up to eight neurons that fire in one cycle."""
    for index, option in enumerate(chosen):
        layer = option.layer
        if not isinstance(layer, DenseParameters) or not layer.fires:
            continue
        for fire in (8, 4, 2):
            if layer.folding.lanes % fire:
                continue
            folding = dataclasses.replace(layer.folding, fire_lanes=fire)
            wider = dataclasses.replace(layer, folding=folding)
            cost = layer_cost(wider, search.board.family)
            trial = [*chosen[:index], Option(wider, option.cycles, cost), *chosen[index + 1 :]]
            if search.fits(trial):
                chosen = trial
                break
    return chosen


def describe(
    parameters: NetworkParameters,
    board: Board,
    goal: Goal,
    activity: Activity,
    names: Sequence[str] = (),
) -> Plan:
    """Predict what a network with given foldings takes, and how fast it is.

    Raises BuildError for a folding that the board's FPGA has no cells for.
    """
    board.check(parameters)
    layers = parameters.layers
    names = names or [f"layer {k}" for k in range(len(layers))]
    worst_data = full(parameters)
    few = activity.first(MEASURED)
    cycles = _by_layer(parameters, activity)
    worst = _by_layer(parameters, worst_data)
    alone = [simulate(parameters, few.sample(k)).latency for k in range(min(TRIED, few.samples))]
    flow, slow = simulate(parameters, few), simulate(parameters, worst_data.repeated(3))
    return Plan(
        board=board.name,
        clock_hz=board.clock_hz,
        build_id=f"{parameters.build_id:016x}",
        activity=activity.source,
        interval=flow.interval,
        latency=sum(alone) / len(alone),
        worst_interval=float(slow.ends[-1] - slow.ends[-2]),
        worst_latency=float(slow.ends[0] - slow.starts[0] + 1),
        goal=goal,
        link=link_cost(parameters, board),
        layers=tuple(
            LayerPlan(
                name,
                layer.kind,
                mean,
                bound,
                -1.0 if density is None else density,
                layer.folding,
                layer_cost(layer, board.family),
            )
            for name, layer, mean, bound, density in zip(
                names, layers, cycles, worst, activity.densities, strict=True
            )
        ),
    )


def _by_layer(parameters: NetworkParameters, activity: Activity) -> list[float]:
    """Cycles of every layer by itself: all samples by formula, a few run where there are windows.

    A formula does not see units that wait for each other, nor rows so short that a window waits for
    its last pixel.
    """
    cycles = layer_cycles(parameters.layers, activity.spikes)
    tried = activity.first(TRIED)
    if tried.samples < 2:
        tried = tried.repeated(2)
    for k, layer in enumerate(parameters.layers):
        if hasattr(layer, "window"):
            cycles[k] = layer_interval(layer, tried.spikes[k], tried.samples)
    return cycles
