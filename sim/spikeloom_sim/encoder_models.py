"""What the golden models say a core must send: for each kind of core, all fields of its output."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.encoders import (
    BSAParameters,
    CoreParameters,
    LIFDecoderParameters,
    LIFParameters,
    ObservationParameters,
    PackerParameters,
    PoissonParameters,
    PopulationParameters,
    ValueParameters,
)

__all__ = ["Answer", "Block", "Settings", "answers", "outputs_of", "runs_on"]

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Settings:
    """Run-time parameters: by field (channels,); the taps of a filter, None for the default."""

    fields: dict[str, Integers]
    taps: Integers | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Frames of one length: fields of the input, all (frames, channels, time).

    first, last: marks as the core gets them. begins: where frames begin, marked or not. A code
    whose state crosses frames has one row, with frames one after another in it.
    """

    fields: dict[str, Integers]
    first: Flags
    last: Flags
    begins: Flags

    @property
    def index(self) -> Integers:
        """Number of each sample in its frame."""
        place = np.broadcast_to(np.arange(self.begins.shape[-1]), self.begins.shape)
        return place - np.maximum.accumulate(np.where(self.begins, place, 0), axis=-1)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a block becomes: at most K transfers a sample, (frames, channels, time, K) by field.

    keep: which of them there are.
    """

    fields: dict[str, Integers]
    keep: Flags


def outputs_of(parameters: CoreParameters) -> int:
    """Channels at the output for each at the input."""
    if isinstance(parameters, PopulationParameters):
        return parameters.neurons
    if isinstance(parameters, ObservationParameters | PackerParameters):
        return parameters.outputs
    return 1


def runs_on(parameters: CoreParameters) -> bool:
    """Whether state of a channel crosses frames."""
    return isinstance(parameters, PoissonParameters)


def _golden(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"spikeloom.encoders.golden.{module}"), name)


def _call(method: Callable[..., Any], parameters: CoreParameters, *arrays: Integers) -> Integers:
    """Call a golden model, which has no channel axis where there is one channel."""
    single = parameters.channels == 1
    result = np.asarray(method(*(a.squeeze(1) if single else a for a in arrays)))
    if single and result.ndim < arrays[0].ndim:
        result = np.expand_dims(result, 1)
    return result.astype(np.int64)


def answers(
    parameters: CoreParameters, changes: Sequence[Settings], blocks: Sequence[Sequence[Block]]
) -> list[list[Answer]]:
    """Return what the golden model makes of blocks of frames, for each change of parameters."""
    if isinstance(parameters, PoissonParameters):
        words = _poisson(parameters, changes, [one[0] for one in blocks])
        return [[_words(parameters, b[0], w)] for b, w in zip(blocks, words, strict=True)]
    return [
        [_answer(parameters, settings, block) for block in some]
        for settings, some in zip(changes, blocks, strict=True)
    ]


_SPIKES = {
    "step-forward": ("step_forward", "FixedStepForward"),
    "lif": ("lif", "FixedLIF"),
    "pwm": ("pwm", "FixedPWM"),
    "bsa": ("bsa", "FixedBSA"),
    "hough-spiker": ("hough_spiker", "FixedHoughSpiker"),
    "delta": ("delta", "FixedDelta"),
    "threshold-based": ("threshold_based", "FixedThresholdBased"),
    "moving-window": ("moving_window", "FixedMovingWindow"),
    "sigma-delta": ("sigma_delta", "FixedSigmaDelta"),
}
_WORDS = {
    "rate": ("rate", "FixedRate"),
    "latency": ("latency", "FixedLatency"),
    "phase": ("phase", "FixedPhase"),
    "burst": ("burst", "FixedBurst"),
}


def _answer(parameters: Any, settings: Settings, block: Block) -> Answer:
    name = parameters.NAME
    taps = {} if settings.taps is None else {"taps": settings.taps.tolist()}
    if name in _SPIKES:
        model = _golden(*_SPIKES[name])(parameters, settings.fields, **taps)
        return _signal(parameters, model, block)
    if name in _WORDS:
        model = _golden(*_WORDS[name])(parameters, settings.fields)
        return _words(parameters, block, _call(model.encode, parameters, block.fields["value"]))
    if isinstance(parameters, PopulationParameters):
        model = _golden("population", "FixedPopulation")(parameters)
        return _fan_out(parameters, block, _call(model.encode, parameters, block.fields["value"]))
    if isinstance(parameters, ObservationParameters):
        model = _golden("observation", "FixedObservation")(parameters, settings.fields)
        return _fan_out(parameters, block, _call(model.encode, parameters, block.fields["sample"]))
    if isinstance(parameters, PackerParameters):
        return _packed(parameters, block)
    return _decoded(parameters, settings, block, **taps)


def _marks(block: Block, *, begins: bool = True) -> dict[str, Integers]:
    first = block.begins if begins else block.first
    return {"first": first.astype(np.int64), "last": block.last.astype(np.int64)}


def _one_each(parameters: CoreParameters, fields: dict[str, Integers]) -> Answer:
    """One transfer for each sample."""
    shape = fields["first"].shape
    channel = np.broadcast_to(np.arange(shape[1])[None, :, None], shape)
    expanded = {name: value[..., None] for name, value in {**fields, "channel": channel}.items()}
    return Answer(expanded, np.ones((*shape, 1), dtype=bool))


def _signal(parameters: Any, model: Any, block: Block) -> Answer:
    x = block.fields["sample"]
    fields = {"spike": _call(model.encode, parameters, x), **_marks(block)}
    if parameters.side_band:
        start = _logarithm(x[..., 0]) if getattr(parameters, "log", False) else x[..., 0]
        fields["start"] = np.where(block.begins, start[..., None], 0)
    kept = np.ones(x.shape, dtype=bool)
    if isinstance(parameters, BSAParameters):
        # the last spikes of a frame need its end, which may be missing
        time = x.shape[-1]
        kept = block.last[..., -1:] | (np.arange(time) + parameters.taps <= time)
    if parameters.output == "events":
        fields["time"] = block.index % (1 << parameters.time_bits)
        kept = kept & ((fields["spike"] != 0) | block.begins | block.last)
    return replace(_one_each(parameters, fields), keep=kept[..., None])


def _logarithm(x: Integers) -> Integers:
    """Side-band of a delta code that works on logarithms."""
    import torch

    return _golden("delta", "integer_log2")(torch.from_numpy(x.copy())).numpy()


def _words(parameters: ValueParameters, block: Block, words: Integers) -> Answer:
    if parameters.output == "dense":
        # no state of a frame: the marks go along as they are
        return _one_each(parameters, {"word": words, **_marks(block, begins=False)})
    steps = parameters.steps
    bits = words[..., None] >> np.arange(steps - 1, -1, -1) & 1
    none = ~bits.any(-1)
    marks = block.begins | block.last
    keep = bits.astype(bool)
    keep[..., 0] |= none & marks
    place = np.cumsum(keep, axis=-1)
    first = keep & (place == 1) & block.begins[..., None]
    last = keep & (place == place[..., -1:]) & block.last[..., None]
    time = block.index[..., None] * steps + np.arange(steps)
    channel = np.broadcast_to(np.arange(words.shape[1])[None, :, None, None], keep.shape)
    fields = {
        "spike": bits,
        "time": time % (1 << parameters.time_bits),
        "channel": channel,
        "first": first.astype(np.int64),
        "last": last.astype(np.int64),
    }
    return Answer(fields, keep)


def _fan_out(parameters: Any, block: Block, values: Integers) -> Answer:
    """Several values for each: (frames, channels * outputs, time) to transfers in order."""
    frames, channels, time = block.first.shape
    count = outputs_of(parameters)
    value = values.reshape(frames, channels, count, time).swapaxes(2, 3)
    channel = np.arange(channels * count).reshape(channels, 1, count)
    fields = {"value": value, "channel": np.broadcast_to(channel, value.shape)}
    for name, mark in _marks(block, begins=False).items():
        fields[name] = np.broadcast_to(mark[..., None], value.shape)
    return Answer(fields, np.ones(value.shape, dtype=bool))


def _packed(parameters: PackerParameters, block: Block) -> Answer:
    """The words of a window come with its last sample, or with the last one of the frame."""
    frames, channels, time = block.first.shape
    count, window = parameters.outputs, parameters.window
    model = _golden("packer", "FixedPacker")(parameters)
    words = _call(model.encode, parameters, block.fields["spike"])
    windows = words.shape[-1]
    ends = np.minimum(np.arange(1, windows + 1) * window, time) - 1
    shape = (frames, channels, time, count)
    value = np.zeros(shape, dtype=np.int64)
    value[:, :, ends] = words.reshape(frames, channels, count, windows).swapaxes(2, 3)
    keep, first, last = (np.zeros(shape, dtype=bool) for _ in range(3))
    complete = np.minimum(np.arange(1, windows + 1) * window, time + 1) <= time
    marked = block.last[:, :, -1]
    keep[:, :, ends] = (complete[None, None, :] | marked[..., None])[..., None]
    first[:, :, ends[0]] = True
    last[:, :, ends[-1]] = marked[..., None]
    channel = np.arange(channels * count).reshape(channels, 1, count)
    fields = {
        "word": value,
        "channel": np.broadcast_to(channel, shape),
        "first": first.astype(np.int64),
        "last": last.astype(np.int64),
    }
    return Answer(fields, keep)


def _decoded(parameters: Any, settings: Settings, block: Block, **taps: Any) -> Answer:
    spikes = block.fields["spike"]
    if parameters.NAME == "step-forward-decoder":
        model = _golden("step_forward", "FixedStepForward")(parameters, settings.fields)
        starts = [block.fields["start"][..., 0]] if parameters.side_band else []
        return _samples(parameters, block, _call(model.decode, parameters, spikes, *starts))
    if isinstance(parameters, LIFDecoderParameters):
        encoder = LIFParameters(
            channels=parameters.channels,
            format=parameters.format,
            leak=parameters.leak,
            leak_bits=parameters.leak_bits,
        )
        model = _golden("lif", "FixedLIF")(encoder, decoder=settings.fields)
        return _samples(parameters, block, _call(model.decode, parameters, spikes))
    model = _golden("bsa", "FixedBSADecoder")(parameters, **taps)
    return _samples(parameters, block, _call(model.decode, parameters, spikes))


def _samples(parameters: Any, block: Block, samples: Integers) -> Answer:
    return _one_each(parameters, {"sample": samples, **_marks(block)})


def _poisson(
    parameters: PoissonParameters, changes: Sequence[Settings], blocks: Sequence[Block]
) -> list[Integers]:
    """All epochs at once, as channels of their own: the generator goes through them one by one."""
    seeds = np.concatenate([change.fields["seed"] for change in changes])
    values = np.concatenate([block.fields["value"] for block in blocks], axis=1)
    wide = replace(parameters, channels=len(seeds), output="dense")
    words = _call(_golden("poisson", "FixedPoisson")(wide, {"seed": seeds}).encode, wide, values)
    return np.split(words, len(changes), axis=1)
