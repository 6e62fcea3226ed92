"""Tables of a comparison: what the spikes are worth, and what they cost in gates."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spikeloom.errors import InputError
from spikeloom.study.compare import Comparison, Entry
from spikeloom.study.encoder_area import AreaTable, EncoderArea

__all__ = ["cost_table", "fidelity_table", "to_json", "work_table"]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _si(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def _table(title: str, caption: str, left: int, *names: str) -> Table:
    """Narrow enough for 80 columns; the first ``left`` columns hold text."""
    table = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    for k, name in enumerate(names):
        table.add_column(name, justify="left" if k < left else "right", no_wrap=k == 0)
    return table


def _best_first(comparison: Comparison) -> list[Entry]:
    return sorted(comparison.entries, key=lambda e: -e.snr)


def fidelity_table(comparison: Comparison) -> Table:
    """What each encoder makes of the signal, the best reconstruction first."""
    recording = comparison.recording
    channels, time = recording.values.shape
    raw = _si(16 * recording.rate * channels)
    table = _table(
        f"{channels} channel{'s' * (channels > 1)} of {time} samples at {recording.rate:g} Hz; as"
        f" 16-bit samples {raw}bit/s",
        "SNR: variance over mean square error. delay: of the reconstruction, in samples;"
        "\nheld back: by the encoder. Last two: all at the same SNR or density; -: cannot",
        1,
        "encoder", "SNR dB", "spikes/ sample", "bit/s", "delay", "held back",
        f"spikes at {comparison.target_snr:g} dB",
        f"dB at {comparison.target_density:g} spikes",
    )  # fmt: skip
    for entry in _best_first(comparison):
        table.add_row(
            entry.name,
            f"{entry.snr:.1f}",
            f"{entry.density:.3f}",
            _si(entry.bits_per_second),
            _number(entry.delay, ".1f"),
            str(entry.latency),
            _number(entry.density_at_snr, ".3f"),
            _number(entry.snr_at_density, ".1f"),
        )
    return table


def work_table(comparison: Comparison) -> Table:
    """What was fitted, and what a sample then costs."""
    table = _table(
        "fitted, and the work of one sample",
        "error: mean square over variance; corr.: correlation. Counted from the rule:"
        "\nadditions and comparisons, multiplications, words of memory read or written",
        2,
        "encoder", "settings", "error", "corr.", "adds", "mult.", "accesses",
    )  # fmt: skip
    for entry in _best_first(comparison):
        work = entry.work
        table.add_row(
            entry.name,
            ", ".join(f"{name} {value:.4g}" for name, value in entry.settings.items()),
            f"{entry.error:.3g}",
            f"{entry.correlation:.3f}",
            *(f"{value:.3g}" for value in (work.adds, work.multiplies, work.accesses)),
        )
    return table


def _area(areas: AreaTable, entry: Entry) -> EncoderArea | None:
    """Row of an encoder's core; of those with several forms, the one of a sample a cycle."""
    for variant in ("", "interleaved"):
        try:
            return areas.row(entry.name, variant)
        except InputError:
            continue
    return None


def cost_table(comparison: Comparison, areas: AreaTable) -> Table:
    """What the core of each encoder takes on two FPGAs."""
    on = ("LUT", "FF", "RAM", "DSP", "MHz")
    table = _table(
        "in gates: 8 channels of 16-bit samples (values: 8 bits, 8 steps)",
        "cyc.: cycles a sample. Left LFE5U-25F-6 (ECP5), right iCE40 UP5K; routed."
        "\nRAM: block RAMs. BSA, Hough: interleaved, 16 channels. From make bench",
        1,
        "encoder", "cyc.", *on, *on,
    )  # fmt: skip
    for entry in _best_first(comparison):
        area = _area(areas, entry)
        cells = ["-" if area is None else str(area.interval)]
        for target in ("ecp5", "up5k"):
            found = None if area is None else area.on.get(target)
            if found is None:
                cells += ["-"] * len(on)
                continue
            cells += [str(n) for n in (found.lut4, found.flip_flops, found.block_ram, found.dsp)]
            cells.append(f"{found.fmax_mhz:.0f}")
        table.add_row(entry.name, *cells)
    return table


def to_json(comparison: Comparison, areas: AreaTable) -> str:
    """Everything but the waveforms, for a script."""

    def plain(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else value

    rows: list[dict[str, Any]] = []
    for entry in comparison.entries:
        area = _area(areas, entry)
        rows.append(
            {
                "encoder": entry.name,
                "settings": entry.settings,
                "error": plain(entry.error),
                "snr_db": plain(entry.snr),
                "correlation": plain(entry.correlation),
                "spikes_per_sample": entry.density,
                "bits_per_second": entry.bits_per_second,
                "group_delay_samples": plain(entry.delay),
                "latency_samples": entry.latency,
                "adds_per_sample": entry.work.adds,
                "multiplies_per_sample": entry.work.multiplies,
                "memory_accesses_per_sample": entry.work.accesses,
                "spikes_per_sample_at_target_snr": plain(entry.density_at_snr),
                "snr_db_at_target_density": plain(entry.snr_at_density),
                "curve": [[p.density, plain(p.snr)] for p in entry.curve],
                "core": None
                if area is None
                else {
                    "cycles_per_sample": area.interval,
                    **{
                        target: {
                            "lut4": on.lut4,
                            "flip_flops": on.flip_flops,
                            "block_ram": on.block_ram,
                            "dsp": on.dsp,
                            "fmax_mhz": on.fmax_mhz,
                        }
                        for target, on in area.on.items()
                    },
                },
            }
        )
    recording = comparison.recording
    whole = {
        "channels": list(recording.names),
        "samples": recording.values.shape[1],
        "rate_hz": recording.rate,
        "target_snr_db": comparison.target_snr,
        "target_spikes_per_sample": comparison.target_density,
        "encoders": rows,
    }
    return json.dumps(whole, indent=1) + "\n"
