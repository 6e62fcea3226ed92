"""A spiking twin's state_dict: the same logits, and never another network's."""

import pytest
import spikeloom as sl
import torch
from safetensors.torch import load_file, save_file
from spikeloom.errors import InputError
from spikeloom.models import BasicBlock
from torch import nn

SHAPE = (3, 6, 6)


def model(seed: int = 0, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    parts = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), BasicBlock(width, 6)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8, generator=generator)


def twin(seed: int = 0, **how) -> nn.Module:
    return sl.convert(model(seed), images(seed), **how)


@pytest.mark.parametrize("form", ["memory", "safetensors", "torch"])
def test_the_same_logits_and_report(form, tmp_path):
    source, target, x = twin(0), twin(1), images(2)
    assert not torch.equal(source(x), target(x))
    state = source.state_dict()
    if form == "safetensors":
        save_file(state, tmp_path / "s.safetensors")
        state = load_file(tmp_path / "s.safetensors")
    elif form == "torch":
        torch.save(state, tmp_path / "s.pt")
        state = torch.load(tmp_path / "s.pt", weights_only=True)
    target.load_state_dict(state)
    assert torch.equal(source(x), target(x))
    assert str(source.report()) == str(target.report())
    lowered = [sl.lower(network).run(x.numpy()) for network in (source, target)]
    assert (lowered[0] == lowered[1]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: twin(steps=3), "layer '0': neuron.steps is 4, not 3"),
        (lambda: twin(input_bits=4), "input_bits is 8, not 4"),
        (lambda: twin(average="steps"), "threshold is"),
        (lambda: twin().double(), r"is torch.float32 \(4,\), not torch.float64 \(4,\)"),
        (lambda: sl.convert(model(width=5), images(0)), r"layer '0': shape is \[4, 6, 6\], not"),
        (
            lambda: sl.convert(nn.Sequential(nn.Flatten(), nn.Linear(108, 5)), images(0)),
            "it has 7 layers, not 1",
        ),
    ],
)
def test_another_networks_is_refused(other, message):
    target = other()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(InputError, match=message) as error:
        target.load_state_dict(twin().state_dict())
    assert "\n" not in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_damaged_states_are_one_line():
    target = twin()
    whole = target.state_dict()
    first = "layers.0.conv.weight"
    for state, message in (
        ({k: v for k, v in whole.items() if k != first}, f"{first} is missing"),
        (whole | {"more": torch.ones(1)}, "more is one too many"),
        ({k: v for k, v in whole.items() if k != "_extra_state"}, "is of no spiking network"),
        (whole | {"_extra_state": whole["_extra_state"][:-5]}, "is of no spiking network"),
        (model().state_dict(), "is of no spiking network"),
    ):
        with pytest.raises(InputError, match=message):
            target.load_state_dict(state)


def test_it_is_checked_inside_of_another_module_too():
    whole = nn.Sequential(twin())
    whole.load_state_dict(nn.Sequential(twin(1)).state_dict())
    assert torch.equal(whole(images(2)), twin(1)(images(2)))
    with pytest.raises(InputError, match="of another spiking network"):
        whole.load_state_dict(nn.Sequential(twin(1, steps=2)).state_dict())
