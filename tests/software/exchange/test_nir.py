"""NIR: our graphs come back with the same bits, and mean something without our metadata."""

import nir
import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.exchange import from_nir, load_nir, save_nir, to_nir
from spikeloom.models import BasicBlock
from torch import nn


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 5))


def residual() -> nn.Module:
    """Both kinds of skips, a depthwise and a rectangular kernel, both places of an average."""
    return nn.Sequential(
        nn.Conv2d(3, 4, (3, 1), padding=(1, 0)),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.ReLU(),
        BasicBlock(4, 4),
        BasicBlock(4, 6, stride=2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class Parallel(nn.Module):
    """A sum of two activated streams: of images, and of rows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.c, self.d, self.out = nn.Linear(64, 6), nn.Linear(64, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(torch.relu(self.a(x)) + torch.relu(self.b(x))).flatten(1)
        return self.out(torch.relu(torch.relu(self.c(x)) + torch.relu(self.d(x))))


MODELS = {"mlp": mlp, "residual": residual, "parallel": Parallel}


def twin(name: str, steps: int = 3):
    """A spiking twin, and the images that it was calibrated on."""
    torch.manual_seed(7)
    model = MODELS[name]().eval()
    images = torch.randint(0, 256, (40, 3, 4, 4), dtype=torch.uint8)
    return sl.convert(model, images, steps=steps), images, model


@pytest.mark.parametrize("name", MODELS)
def test_a_spiking_twin_comes_back_with_the_same_bits(name, tmp_path):
    snn, images, _ = twin(name)
    save_nir(snn, tmp_path / "x.nir")
    for back in (from_nir(to_nir(snn)), load_nir(tmp_path / "x.nir")):
        assert torch.equal(back(images), snn(images))
        assert str(back.report()) == str(snn.report())
        # what lowering needs came along too
        ours, theirs = sl.lower(snn, weight_bits=4), sl.lower(back, weight_bits=4)
        assert np.array_equal(ours.run(images.numpy()), theirs.run(images.numpy()))


@pytest.mark.parametrize("name", MODELS)
def test_an_integer_network_comes_back_as_the_same_file(name, tmp_path):
    snn, _, _ = twin(name)
    net = sl.lower(snn)
    net.metadata["note"] = "kept"
    save_nir(net, tmp_path / "x.nir")
    net.save(tmp_path / "a.spikeloom")
    load_nir(tmp_path / "x.nir").save(tmp_path / "b.spikeloom")
    assert (tmp_path / "a.spikeloom").read_bytes() == (tmp_path / "b.spikeloom").read_bytes()


def test_a_network_in_float64_stays_one():
    snn = twin("mlp")[0].double()
    assert from_nir(to_nir(snn)).layers[0].linear.weight.dtype == torch.float64


def test_weights_and_biases_are_in_the_nodes_bit_for_bit():
    snn, _, _ = twin("mlp")
    graph = to_nir(snn)
    for layer, name in zip(snn.spiking_layers, ("1", "3"), strict=True):
        node = graph.nodes[name]
        assert isinstance(node, nir.Affine)
        assert np.array_equal(node.weight, layer.linear.weight.detach().numpy())
        assert np.array_equal(node.bias, layer.linear.bias.detach().numpy())


def test_reset_and_comparison_are_stated_and_kept():
    """1.5 thresholds reset to 0.5 and 2.0 to exactly 2 spikes: subtraction, and >= not >."""
    snn, _, _ = twin("mlp", steps=2)
    coding = to_nir(snn).nodes["1.fire"].metadata["spikeloom"]
    assert (coding["reset"], coding["comparison"]) == ("subtract", ">=")
    assert (coding["steps"], coding["tau"], coding["rounding"]) == (2, 2.0, 1)
    neuron = from_nir(to_nir(snn)).layers[0].neuron
    v = torch.tensor([[0.5, 1.5, 2.5, 1.49]]).T * neuron.threshold
    assert neuron.pack(v)[:, 0].tolist() == [1, 2, 3, 1]


def simulate(graph, image: np.ndarray, steps: int, strict: bool) -> np.ndarray:
    """A plain rate-coded NIR simulator: constant current, reset by subtraction, mean output."""
    order, states = ["input", "1.flatten", "1", "1.fire", "1.words", "3", "output"], 0.0
    assert set(order) == set(graph.nodes)
    fire, total = graph.nodes["1.fire"], 0.0
    for _ in range(steps):
        current = graph.nodes["1"].weight @ image.ravel() + graph.nodes["1"].bias
        states = states + fire.r * current
        spikes = states > fire.v_threshold if strict else states >= fire.v_threshold
        states = states - spikes * fire.v_threshold
        total = total + graph.nodes["3"].weight @ (spikes * graph.nodes["1.words"].scale)
        total = total + graph.nodes["3"].bias
    return total / steps


@pytest.mark.parametrize("strict", [True, False])
def test_the_nodes_alone_are_the_rate_coded_network(strict):
    snn, images, _ = twin("mlp", steps=6)
    graph = to_nir(snn)
    for image in images[:5]:
        ours = snn(image[None])[0].detach().numpy()
        theirs = simulate(graph, image.double().numpy() / 255, 4000, strict)
        assert np.abs(ours - theirs).max() < 0.02 * np.abs(ours).max()


def test_without_metadata_our_graph_reads_as_the_ann():
    _, images, model = twin("residual", steps=8)
    snn = sl.convert(model, images, steps=8, bias_correction=False)
    back = from_nir(to_nir(snn), exact=False)
    x = images.float() / 255
    error = (back(x) - model(x)).norm() / model(x).norm()
    assert error < 0.02
    again = sl.convert(back, images, steps=8)
    assert (again(images) - model(x)).norm() / model(x).norm() < 0.05


@pytest.mark.parametrize(
    ("node", "field", "message"),
    [
        ("1.fire", "v_threshold", "'1.fire': its v_threshold does not belong to its metadata"),
        ("1.words", "scale", "'1.words': its scale does not belong"),
    ],
)
def test_a_changed_graph_is_not_read_as_ours(node, field, message):
    snn, images, _ = twin("mlp")
    graph = to_nir(snn)
    setattr(graph.nodes[node], field, 2 * getattr(graph.nodes[node], field))
    with pytest.raises(InputError, match=message):
        from_nir(graph)
    assert from_nir(graph, exact=False)(images.float() / 255).shape == (40, 5)


def test_changed_weights_are_read_and_changed_edges_refused():
    snn, images, _ = twin("mlp")
    graph = to_nir(snn)
    graph.nodes["3"].bias = graph.nodes["3"].bias + np.float32(1)
    moved = from_nir(graph)(images) - snn(images)
    assert torch.allclose(moved, torch.ones_like(moved), atol=1e-5)
    graph.edges.append(("1.fire", "1.fire"))
    with pytest.raises(InputError, match="the edge from '1.fire' to '1.fire' was added"):
        from_nir(graph)


def test_damaged_metadata_are_one_line():
    snn, _, _ = twin("mlp")
    graph = to_nir(snn)
    graph.metadata["spikeloom"] = graph.metadata["spikeloom"][:-9]
    with pytest.raises(InputError, match="metadata do not belong to its nodes"):
        from_nir(graph)
    graph.metadata["spikeloom"] = '{"version": 99}'
    with pytest.raises(InputError, match="are version 99, this Spikeloom reads 1"):
        from_nir(graph)


def test_what_nir_has_no_node_for_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model.append(nn.Linear(4, 2))
    images = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8)
    snn = sl.convert(model.eval(), images)
    for network in (snn, sl.lower(snn)):
        with pytest.raises(UnsupportedModelError, match=r"no node for '2' \(max pooling") as error:
            to_nir(network)
        assert "\n" not in str(error.value)
    with pytest.raises(UnsupportedModelError, match="call spikeloom.convert"):
        to_nir(model)  # type: ignore[arg-type]


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_nir(tmp_path / "absent.nir")
    (tmp_path / "junk.nir").write_bytes(b"junk")
    with pytest.raises(InputError, match="is no NIR file, or a damaged one") as error:
        load_nir(tmp_path / "junk.nir")
    assert "\n" not in str(error.value)
    snn, _, _ = twin("mlp")
    with pytest.raises(InputError, match="its folder does not exist"):
        save_nir(snn, tmp_path / "no" / "x.nir")
    one = np.ones(3)
    graph = nir.NIRGraph.from_list(nir.Linear(np.ones((3, 3))), nir.IF(r=one, v_threshold=one))
    with pytest.raises(InputError, match="was not written by spikeloom"):
        from_nir(graph, exact=True)


def test_a_missing_package_is_one_line(monkeypatch):
    snn, _, _ = twin("mlp")
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(sl.SpikeloomError, match=r"needs the package nir: pip install 'spikeloom"):
        to_nir(snn)
