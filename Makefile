# make test, make quick, make demo, make lint, make bench: each makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Qt offers its own plug-ins for input methods and themes of the desktop; tests want none of them.
DISPLAYED := tools/with-display.sh

.PHONY: test quick data-test demo lint bench wheel clean
.DELETE_ON_ERROR:

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c "import ensurepip, venv" || { echo "Python lacks venv. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[all,test,dev]"
	@touch $@

# The reference implementation compiles when it is installed; tests that compare with it skip where it cannot be.
$(VENV)/reference: $(VENV)/installed
	tools/system-libraries.sh g++
	$(BIN)/python -m pip install --quiet matplotlib
	$(BIN)/python -m pip install --quiet pydensecrf2 || echo "pydensecrf2 could not be built: comparisons with it are skipped"
	@touch $@

test: $(VENV)/installed $(VENV)/reference
	tools/system-libraries.sh xvfb qt
	$(DISPLAYED) --virtual $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# What a change wants to know at once: two processes, and none of what is slow.
quick: $(VENV)/installed
	tools/system-libraries.sh xvfb qt
	$(DISPLAYED) --virtual $(BIN)/python -m pytest -m "not slow and (smoke or not window)" -n 2 --dist worksteal $(PYTEST_ARGS)

# Tests on real images that are not in the repository: make data-test DATA=FOLDER
data-test: $(VENV)/installed
	@test -d "$(DATA)" || { echo "make data-test DATA=FOLDER: there is no folder '$(DATA)'"; exit 1; }
	tools/system-libraries.sh xvfb qt
	NAPARI_DENSECRF_DATA="$(abspath $(DATA))" $(DISPLAYED) --virtual $(BIN)/python -m pytest tests/on_data $(PYTEST_ARGS)

demo: $(VENV)/installed
	tools/system-libraries.sh xvfb qt
	tools/demo.sh $(BIN)/napari-densecrf

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed $(VENV)/reference
	$(BIN)/python benchmarks/speed.py --figure docs/images/benchmarks.png

wheel: $(VENV)/installed
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) dist demo
