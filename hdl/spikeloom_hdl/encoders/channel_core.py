"""The shell of the cores that take a sample a cycle: streams, settings, state and pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import CoreParameters

from spikeloom_hdl.encoders.channel_table import ChannelSettings, ChannelState, ChannelWords
from spikeloom_hdl.encoders.ports import settings_layout

__all__ = ["MARKS", "ChannelCore", "Stage", "Values"]

#: Fields that every payload has.
MARKS = ("channel", "first", "last")

#: Signals of one sample, by name.
Values = Mapping[str, Any]

#: Combinational logic between two registers: everything that comes in, to everything that goes on.
Stage = Callable[[Module, Values], Values]


class ChannelCore(wiring.Component):
    """A loop around the state of a channel, and pipeline stages before and after it.

    A subclass gives pieces of combinational logic, each a function of the module to add
    statements to. Values are dictionaries, from a name to a signal of the sample:

    * ``before``: stages that need no state. The first gets the fields of the payload in and the
      settings of the channel; what a stage returns goes to the next, finally to ``enter``.
    * ``enter(m, values, begins)``: little logic behind the last of them, or behind a RAM, for what
      depends on whether a frame begins.
    * ``step(m, values, state, marks)``: the loop, one cycle. ``state`` is what the last sample of
      the channel returned, zeros at the beginning of a frame; ``marks`` has ``first`` (1 at the
      beginning of a frame, marked or not) and ``last``. Returns the next state and values. A next
      state named ``changes`` is not one: a sample with 0 there leaves the state as it is, unless
      it is the first of a frame.
    * ``after``: stages that begin with these values, and end with the fields of the payload out. A
      value named ``keep`` is not one: a sample with 0 there leaves nothing.

    zeros: whether ``enter`` needs ``begins``, and ``step`` the zeros. Without, few channels take
    fewer gates: ``begins`` is None, and the state at the beginning of a frame is anything.
    latency: cycles from the transfer in to the transfer out. interval: cycles a sample.
    """

    interval = 1

    def __init__(
        self,
        parameters: CoreParameters,
        *,
        sample: data.StructLayout,
        result: data.StructLayout,
        state: Mapping[str, Any],
        before: Sequence[Stage] = (),
        after: Sequence[Stage] = (),
        zeros: bool = True,
    ):
        self.parameters = parameters
        self._state, self._before, self._after = dict(state), tuple(before), tuple(after)
        self._zeros = zeros
        self.latency = 1 + ChannelState.depth + len(self._before) + len(self._after)
        ports = {"i": In(stream.Signature(sample)), "o": Out(stream.Signature(result))}
        if parameters.fields:
            ports["p"] = In(stream.Signature(settings_layout(parameters)))
        super().__init__(ports)

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        """Return what ``step`` gets; ``begins`` is 1 for the first sample of a frame."""
        return values

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        """Return the state after a sample, and values of the sample."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.build(m, self.o)
        return m

    def build(self, m: Module, o: Any) -> None:
        """Add the core to a module; ``o`` is the stream of its results."""
        p = self.parameters
        #: Registers move: for stages with memories of their own.
        self.advance = advance = Signal()
        accept = Signal()
        few = not self._zeros and 1 < p.channels <= ChannelWords.most
        state = (ChannelWords if few else ChannelState)(channels=p.channels, state=self._state)
        m.submodules.state = state
        m.d.comb += [
            advance.eq(~o.valid | o.ready),
            accept.eq(self.i.valid & self.i.ready),
            state.advance.eq(advance),
        ]
        busy = state.busy
        settings = {}
        if p.fields:
            m.submodules.settings = table = ChannelSettings(p)
            wiring.connect(m, wiring.flipped(self.p), table.p)
            m.d.comb += [table.channel.eq(self.i.p.channel), table.read.eq(accept)]
            settings = {f.name: table.settings[f.name] for f in p.fields}
            busy = busy | table.busy
        m.d.comb += self.i.ready.eq(advance & ~busy)

        def register(values: Values, stage: int) -> dict[str, Any]:
            registers = {}
            for name, value in values.items():
                shape = Shape.cast(value.shape())
                registers[name] = Signal(shape, name=f"{name}_{stage}", reset_less=True)
            with m.If(advance):
                m.d.sync += [registers[name].eq(value) for name, value in values.items()]
            return registers

        # the settings are read in the first stage
        marks = {name: self.i.p[name] for name in MARKS}
        valid = accept
        values = {
            **register({n: self.i.p[n] for n, _ in self.i.p.shape() if n not in MARKS}, 1),
            **settings,
        }
        for k, stage in enumerate(self._before):
            # a bare register after the RAM first; the state is read so much later
            after = Signal(name=f"valid_{k + 1}")
            with m.If(advance):
                m.d.sync += after.eq(valid)
            valid, marks = after, register(marks, k + 1)
            values = stage(m, register(values, 2 + k))
        begins = state.begins if self._zeros else None
        values = register(self.enter(m, values, begins), 2 + len(self._before))
        m.d.comb += [state.i_valid.eq(valid), *(state.i[n].eq(v) for n, v in marks.items())]

        following, values = self.step(m, values, state.state, state.o)
        following = {**following}
        if few:
            m.d.comb += state.changes.eq(following.pop("changes", 1))
        elif "changes" in following:
            changes = following.pop("changes") | state.o.first
            following = {n: Mux(changes, v, state.state[n]) for n, v in following.items()}
        m.d.comb += [state.next[name].eq(value) for name, value in following.items()]
        valid = state.o_valid
        marks = {name: state.o[name] for name in MARKS}
        for k in range(len(self._after) + 1):
            stage = 3 + len(self._before) + k
            if k > 0:
                values = self._after[k - 1](m, values)
            values = {**values}
            kept = valid & values.pop("keep", 1)
            valid = Signal(name=f"valid_{stage}")
            with m.If(advance):
                m.d.sync += valid.eq(kept)
            registers = register({**values, **marks}, stage)
            values = {name: registers[name] for name in values}
            marks = {name: registers[name] for name in MARKS}
        m.d.comb += [
            o.valid.eq(valid),
            *(o.p[name].eq(value) for name, value in {**values, **marks}.items()),
        ]
