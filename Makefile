# make run: everything set up, then the page on http://127.0.0.1:7860 (GRADIO_SERVER_NAME, GRADIO_SERVER_PORT change it)
# make space: whether a Hugging Face Space can be built from what is committed (downloads some GB the first time)
# make test: everything set up, then ruff, mypy and the whole test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run space test clean

run: $(VENV)/.run
	$(BIN)/python app.py

space: $(VENV)/.run
	$(BIN)/python scripts/check_space.py

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

# A stamp a set of packages, so that set-up is done once and again when the list changes.
$(VENV)/.run: requirements.txt packages.txt scripts/install_system_packages.sh
	PYTHON=$(PYTHON) sh scripts/install_system_packages.sh run
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the Python packages (about 2 GB, a minute or more; only the first time)"
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/.test: $(VENV)/.run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	PYTHON=$(PYTHON) sh scripts/install_system_packages.sh test
	touch $@
