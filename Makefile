# make benchmark   set up .venv, attack the quick models, print the tables
# make test        set up .venv, run the tests
# make site        render the boards as pages: leaderboards/site/index.html
# make libraries   add ART and adv-lib, whose attacks can then be compared with those here
# make peers       time the attacks against the libraries and against their own limits
# Set ROBUSTBOARD_DATA=FOLDER for MNIST and CIFAR-10; without it they are downloaded, or their rows say why not.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := leaderboards/runs
# The network whose robust accuracy is known exactly, at an ε small enough for the solver.
EXACT := --protocol standard --eps 0.1 --out leaderboards/exact
# The same attacks of several implementations, at the libraries' own defaults, on the four networks of digits. foolbox' C&W is left
# out: it took eleven minutes a network.
SEVERAL := fgsm,torchattacks:fgsm,foolbox:fgsm,bim,torchattacks:bim,foolbox:bim,cw,torchattacks:cw,spsa,torchattacks:spsa,jsma,torchattacks:jsma,max_confidence,torchattacks:max_confidence
# Whom the README shows; the whole registry stands in leaderboards/.
SHOWN := relu,relog,relog-maxout_4,relog-m*-sigmoid_out,*_at,relu-trades

# A file that is new or gone changes the list, and with it the name of the mark: the links into .venv are then made anew.
LAYOUT := $(shell find src attacks models benchmark \( -name '*.py' -o -name '*.toml' -o -name '*.safetensors' -o -path '*/site/templates/*' -o -path '*/site/assets/*' \) | sort | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(LAYOUT)

.PHONY: benchmark test libraries canaries peers setup smoke lint train leaderboards versions site screenshots clean

benchmark: $(READY)
	$(BIN)/robustboard run --protocol quick

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

smoke: $(READY)
	rm -rf $(RUN)/smoke
	$(BIN)/robustboard run --protocol smoke --models relu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# make train MODEL=mnist/relog
train: $(READY)
	$(BIN)/robustboard train $(MODEL)

# The committed boards: runs what is missing of the protocols, then renders leaderboards/*.md and the README's tables.
leaderboards: $(READY)
	$(BIN)/robustboard run --protocol distances --quiet --out leaderboards
	$(BIN)/robustboard run --protocol standard --quiet
	$(BIN)/robustboard certify '*' --method interval --quiet
	$(BIN)/robustboard run $(EXACT) --dataset mnist --models relu-mlp_32-fast_at \
		--attacks fgsm,bim,spsa,max_confidence,pgd,worst_case --quiet
	$(BIN)/robustboard certify mnist/relu-mlp_32-fast_at --method exact $(EXACT) --quiet
	$(BIN)/robustboard run --protocol standard --dataset digits --attacks $(SEVERAL) --no-diagnose --quiet --out leaderboards/implementations
	$(BIN)/robustboard ranks leaderboards/results --write leaderboards/ranks.md
	$(BIN)/robustboard ranks leaderboards/implementations --known leaderboards/results --write leaderboards/implementations.md
	$(BIN)/robustboard report leaderboards/exact --into leaderboards/exact.md
	$(BIN)/robustboard report leaderboards/distances --known leaderboards/results --into leaderboards/distances.md
	$(BIN)/robustboard report leaderboards/results --known leaderboards/distances --into leaderboards/README.md
	$(BIN)/robustboard report leaderboards/results --known leaderboards/distances --models '$(SHOWN)' --into README.md
	$(BIN)/robustboard ablation --write leaderboards/ablation.md
	$(BIN)/robustboard claims --write leaderboards/claims.md

# How the order of the models changed with the version of standard; the older one's results are in the history.
V7 := e6a5b79
versions: $(READY)
	rm -rf $(RUN)/v7 && mkdir -p $(RUN)/v7
	git archive $(V7) leaderboards/results/standard | tar -x -C $(RUN)/v7 --strip-components 3
	$(BIN)/robustboard ranks $(RUN)/v7 leaderboards/results/standard --changes --write leaderboards/versions.md

# The pages of the committed boards; pictures that need MNIST or CIFAR-10 are drawn where these are.
site: $(READY)
	$(BIN)/robustboard site leaderboards/results --known leaderboards/distances --known leaderboards/exact --out leaderboards/site

# The pictures of the pages in leaderboards/site-screenshots, taken by Chromium.
screenshots: $(READY)
	$(BIN)/python tests/screenshots.py leaderboards/site leaderboards/site-screenshots

# Ours and each library's attacks in turn: wants an idle machine.
peers: $(READY)
	$(BIN)/robustboard peers --write leaderboards/peers.md

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version); name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--config-settings editable_mode=strict --editable '.[dev]'
	rm -f $(VENV)/.ready-*
	touch $@

# ART and adv-lib, whose attacks then stand beside those here, and what brings models from elsewhere: RobustBench, the Hugging Face Hub.
libraries: $(VENV)/.libraries

$(VENV)/.libraries: $(READY)
	PIP_CONSTRAINT=$(CURDIR)/build-constraints.txt $(BIN)/python -m pip install --quiet --no-deps visdom==0.2.4
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--config-settings editable_mode=strict --editable '.[dev,libraries,hub,robustbench]'
	touch $@

# The committed grades of every implementation on the models with known answers.
canaries: $(READY) libraries
	$(BIN)/robustboard canaries --write

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
