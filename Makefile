# make test, make quick, make demo, make lint, make docs, make bench: each makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# What is installed beside the package. With another Qt: make quick WITH=classify,test,dev QT="napari[pyside6]"
WITH ?= all,test,dev,docs
QT ?=
# More for pip, as --pre, or --constraint FILE.
PIP_ARGS ?=
# Qt offers its own plug-ins for input methods and themes of the desktop; tests want none of them.
DISPLAYED := tools/with-display.sh

.PHONY: test quick coverage data-test demo lint docs docs-serve bench wheel wheel-alone sdist minimum clean
.DELETE_ON_ERROR:

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c "import ensurepip, venv" || { echo "Python lacks venv. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable ".[$(WITH)]" $(QT)
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

# Which lines of Python no test reaches; Numba's kernels are left out.
coverage: $(VENV)/installed $(VENV)/reference
	tools/system-libraries.sh xvfb qt
	$(DISPLAYED) --virtual $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

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
	$(BIN)/deptry src
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[a-b]*.yml .github/ISSUE_TEMPLATE/[i-q]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --quiet .github

# The site, in site/; a warning is an error.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(VENV)/installed
	$(BIN)/mkdocs serve

bench: $(VENV)/installed $(VENV)/reference
	$(BIN)/python benchmarks/speed.py --figure docs/images/benchmarks.png

wheel: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist .

wheel-alone: wheel
	tools/wheel-alone.sh $(PYTHON)

sdist: $(VENV)/installed
	$(BIN)/python -m build --sdist --outdir dist .

# The oldest versions that pyproject.toml allows.
minimum: $(VENV)-minimum/installed
	tools/system-libraries.sh xvfb qt
	$(DISPLAYED) --virtual $(VENV)-minimum/bin/python -m pytest -m "not slow and (smoke or not window)" -n 2 --dist worksteal $(PYTEST_ARGS)

$(VENV)-minimum/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/python -m pip install --quiet uv
	$(VENV)-minimum/bin/uv pip install --quiet --python $(VENV)-minimum/bin/python --resolution lowest-direct --editable ".[all,test]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-minimum dist demo site
