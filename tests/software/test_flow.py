"""Least buffers behind forks: the rules of flow.py as a graph of what must happen before what."""

import graphlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    Folding,
    NetworkParameters,
    PadParameters,
    Window,
)

PLAIN = Folding(lanes=2, scan=2, fire_lanes=2)
SAMPLES = 2
HEIGHT, WIDTH = 4, 5


def waits(layer, slot):
    """Whether a pixel is taken only together with the output pixel that it goes into."""
    return slot > 0 or isinstance(layer, AddParameters)


def conv(size=(HEIGHT, WIDTH), kernel=3, stride=1, pad=None, *, skip=False, channels=2):
    pad = kernel // 2 if pad is None else pad
    window = Window(*size, kernel, kernel, stride, stride, pad, pad)
    return ConvParameters(
        channels, 2, window, 4, 4, 8, 24, skip_bits=4 if skip else 0, folding=PLAIN
    )


def add(pixels):
    return AddParameters(pixels, 2, 4, 4, 8, 24, 4, folding=PLAIN)


def network(*layers_and_sources):
    """Layers with what feeds each, and a readout behind them."""
    layers, sources = zip(*layers_and_sources, strict=True)
    pixels = layers[-1].port_out.pixels
    readout = DenseParameters(2 * pixels, 2, 4, 0, 8, 24, folding=PLAIN, pixels=pixels)
    return NetworkParameters((*layers, readout), (*sources, (len(layers) - 1,)))


def stands_still(parameters, depths):
    """Whether something must happen before itself, at one transfer a pixel.

    out: a pixel has gone to all consumers. offer: it can be offered. push: it is in the edge.
    pop: the layer has it. An edge without depth is a wire.
    """
    layers, sources = parameters.layers, parameters.sources
    edges = [(k, slot) for k, feeds in enumerate(sources) for slot in range(len(feeds))]
    consumers = {s: [e for e in edges if sources[e[0]][e[1]] == s] for s in range(-1, len(layers))}

    def needs(k, n):
        size = layers[k].port_out.pixels
        return n // size * layers[k].ports_in[0].pixels + layers[k].needs(n % size)

    def promise(edge, j):
        """Pixels before the first that looks at input j must have left, that is all."""
        n = 0
        while needs(edge[0], n) <= j:
            n += 1
        return [("out", edge[0], n - 1)] if n else []

    def at(edge, j):
        return ("push", edge, j) if depths.get(edge) else ("offer", sources[edge[0]][edge[1]], j)

    def room(edge, j):
        depth = depths.get(edge, 0)
        if depth:
            return [("pop", edge, j - depth)] if j >= depth else []
        return [("pop", edge, j)] if waits(layers[edge[0]], edge[1]) else promise(edge, j)

    def before(kind, where, j):
        if kind == "out":
            parts = [("push", e, j) for e in consumers[where]]
            return parts or [("offer", where, j)]
        if kind == "offer":
            parts = [("out", where, j - 1)] if j else []
            for slot in range(len(sources[where]) if where >= 0 else 0):
                edge, most = (where, slot), needs(where, j)
                if waits(layers[where], slot):
                    parts.append(at(edge, j))
                elif most:
                    parts.append(("pop", edge, most - 1))
            return parts
        k, slot = where
        if kind == "push":
            return [("offer", sources[k][slot], j), *room(where, j)]
        if waits(layers[k], slot):
            after = [need for e in consumers[k] for need in room(e, j)]
            return [at(where, j), ("offer", k, j), *after]
        return [("push", where, j), *promise(where, j)]

    # a set of nodes to visit, not recursion: thousands deep, and a raised recursion limit outlives
    # its test (in the same process, json's own recursion then ran off the stack)
    last = len(layers) - 1
    todo = [("out", last, n) for n in range(SAMPLES)]
    graph = {}
    while todo:
        node = todo.pop()
        if node not in graph:
            graph[node] = before(*node)
            todo += graph[node]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return True
    return False


SHAPES = {
    "skip around two": network((conv(), (-1,)), (conv(), (0,)), (conv(skip=True), (1, 0))),
    "skip around one": network((conv(), (-1,)), (conv(skip=True), (0, 0))),
    "of the input": network((conv(), (-1,)), (conv(skip=True), (0, -1))),
    "smaller, with a projection": network(
        (conv(), (-1,)),
        (conv(kernel=1, stride=2), (0,)),
        (conv(stride=2), (0,)),
        (conv((2, 3), skip=True), (2, 1)),
    ),
    "a rest that no window looks at": network(
        (conv(kernel=1, stride=3), (-1,)), (conv(stride=3), (-1,)), (add(4), (1, 0))
    ),
    "an addition of what forks": network(
        (conv(), (-1,)), (conv(), (0,)), (add(HEIGHT * WIDTH), (0, 1))
    ),
    "nested": network(
        (conv(), (-1,)),
        (conv(), (0,)),
        (conv(), (1,)),
        (conv(skip=True), (2, 1)),
        (conv(skip=True), (3, 0)),
    ),
    "a join inside the branch that waits": network(
        (conv(), (-1,)),
        (conv(), (0,)),
        (add(HEIGHT * WIDTH), (0, 1)),
        (conv(kernel=5), (0,)),
        (conv(), (3,)),
        (add(HEIGHT * WIDTH), (4, 2)),
    ),
    "a join that waits itself": network(
        (conv(), (-1,)),
        (conv(), (0,)),
        (add(HEIGHT * WIDTH), (0, 1)),
        (conv(kernel=5), (-1,)),
        (conv(), (3,)),
        (conv(), (4,)),
        (add(HEIGHT * WIDTH), (2, 5)),
    ),
    "three consumers": network(
        (conv(), (-1,)), (conv(skip=True), (0, 0)), (conv(skip=True), (1, 0))
    ),
    "a frame": network(
        (PadParameters(HEIGHT, WIDTH, 1, 1, 1, 1, 2, 4, folding=PLAIN), (-1,)),
        (conv((HEIGHT + 2, WIDTH + 2), pad=0), (0,)),
        (conv(skip=True), (1, -1)),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_least_depths(name):
    """What is computed suffices, and one transfer less of any buffer does not."""
    parameters = SHAPES[name]
    depths = {(b.layer, b.slot): b.depth for b in parameters.buffers}
    assert depths
    assert not stands_still(parameters, depths)
    for edge, depth in depths.items():
        assert stands_still(parameters, {**depths, edge: depth - 1}), edge


def test_depths_by_hand():
    (buffer,) = SHAPES["skip around two"].buffers
    # pixel (0, 0) looks up to (1, 1) of the convolution before, that up to (2, 2): 2 rows and 3,
    # of which the fork hands over the last by itself
    assert (buffer.layer, buffer.slot, buffer.source) == (2, 1, 0)
    assert buffer.depth == 2 * WIDTH + 3 - 1
    chain = network((conv(), (-1,)), (conv(), (0,)))
    assert chain.buffers == ()


def test_a_pixel_of_several_transfers_counts_them_all():
    wide = Folding(lanes=2, scan=2, fire_lanes=1)
    first = ConvParameters(2, 2, Window(4, 5, 3, 3, 1, 1, 1, 1), 4, 4, 8, 24, folding=wide)
    second = ConvParameters(
        2, 2, Window(4, 5, 3, 3, 1, 1, 1, 1), 4, 4, 8, 24, skip_bits=4, folding=wide
    )
    (buffer,) = network((first, (-1,)), (second, (0, 0))).buffers
    assert buffer.depth == 2 * (WIDTH + 2) - 1


@st.composite
def graphs(draw):
    """Convolutions, additions and fire-like layers of one size, wired at random."""
    layers = [(conv(), (-1,))]
    for k in range(1, draw(st.integers(2, 5))):
        source, other = draw(st.integers(-1, k - 1)), draw(st.integers(-1, k - 1))
        kind = draw(st.sampled_from(["conv", "skip", "add", "point"]))
        if kind == "add":
            layers.append((add(HEIGHT * WIDTH), (source, other)))
        elif kind == "skip":
            layers.append((conv(kernel=draw(st.sampled_from([1, 3])), skip=True), (source, other)))
        else:
            layers.append((conv(kernel=1 if kind == "point" else 3), (source,)))
    used = {s for _, feeds in layers for s in feeds}
    idle = [k for k in range(len(layers) - 1) if k not in used]
    for k in idle:  # everything is used: what is idle is added to what comes last
        layers.append((add(HEIGHT * WIDTH), (len(layers) - 1, k)))
    return network(*layers)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(graphs())
def test_random_graphs_never_stand_still(parameters):
    depths = {(b.layer, b.slot): b.depth for b in parameters.buffers}
    assert not stands_still(parameters, depths)
