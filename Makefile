# Each target is one plain command after the set-up; README.md lists them for machines without make.
PYTHON ?= python3
PORT ?= 8000
BOOK_PYTHON = .venv/bin/python
# A shell's settings of Python are not the book's: another search path, warnings as errors, assertions left out.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONINSPECT PYTHONPLATLIBDIR

.PHONY: help setup setup-tests book instructor notebooks live serve check test test-fast train retrain clean

help:        ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup:       ## make .venv and install what the book needs
	@$(PYTHON) tools/setup_environment.py

setup-tests:
	@$(PYTHON) tools/setup_environment.py --tests

book: setup  ## build the book: _book/index.html
	$(BOOK_PYTHON) -m tools.build

instructor: setup  ## build the edition with solutions: _book-instructor/index.html
	$(BOOK_PYTHON) -m tools.build --edition instructor

notebooks: setup  ## write notebooks/*.ipynb and notebooks/solutions/*.ipynb
	$(BOOK_PYTHON) -m tools.notebooks

live: notebooks  ## open JupyterLab on the notebooks
	$(BOOK_PYTHON) -m jupyterlab --notebook-dir=notebooks

serve: book  ## serve the built book at http://127.0.0.1:8000 (another port: make serve PORT=8080)
	$(BOOK_PYTHON) -m tools.serve $(PORT)

test: setup-tests  ## run all tests, two at a time
	$(BOOK_PYTHON) -m pytest -n 2 --dist loadgroup

test-fast: setup-tests  ## run the tests that need neither the built book, nor notebooks, nor a browser
	$(BOOK_PYTHON) -m pytest -n 2 --dist loadgroup -m "not slow and not browser"

check: setup  ## say whether this machine is ready, and what to do where it is not
	$(BOOK_PYTHON) -m tools.check

train: setup  ## train what is missing from data/ (nothing, in a complete checkout)
	$(BOOK_PYTHON) -m tools.train

retrain: setup  ## train all of the book's runs once more, into retrained/ (a day)
	$(BOOK_PYTHON) -m tools.train --folder retrained

clean:       ## remove what builds made; keeps .venv, stored runs and your own runs
	$(PYTHON) tools/clean.py
