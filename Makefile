# SPDX-License-Identifier: MIT
# Entry points: `make lab run` runs the whole lab, `make test` all checks of the lab itself.
#
#   ONLY=x86_64-umcg-v0.5   targets, by name or pattern, comma separated
#   JOBS=8                  cores to use (default: all)
#   LAB=other.yaml          another description of the lab

umcglab := .venv/bin/umcglab
# Two ABIs may have files of one name: each is checked with what all share, as it runs.
guest_py := guest-tests/py guest-tests/shared/py
options := $(if $(LAB),--lab $(LAB)) $(if $(ONLY),--only '$(ONLY)') $(if $(JOBS),--jobs $(JOBS))

.PHONY: help setup lab run test check report list shell clean
.PHONY: nightly nightly-run nightly-mutants nightly-generated nightly-tests

help:
	@echo 'make lab            build what lab.yaml names: kernels, images, guest suites'
	@echo 'make run            boot, test, measure, and write results/latest/report.html'
	@echo 'make lab run        both; add ONLY=x86_64-umcg-v0.5 for one target'
	@echo 'make test           every check of this project, on real kernels too'
	@echo 'make check          only the quick ones, which need no kernel: after each edit'
	@echo 'make nightly        what is too long for make test'
	@echo 'make report         render results/latest again'
	@echo 'make list           the targets and what is built of them'
	@echo 'make shell ONLY=... a root shell in a booted target'
	@echo 'make clean          empty the cache'

setup:
	@umcglab/setup/setup.sh

# With `run` to follow, the builds are left to it: it tests each target as soon as that is
# built, and reports what could not be built beside the results of what could.
lab: setup
	@$(if $(filter run,$(MAKECMDGOALS)),:,$(umcglab) build $(options))

run: setup $(filter lab,$(MAKECMDGOALS))
	@$(umcglab) run $(options)

report list shell clean: setup
	@$(umcglab) $@ $(if $(filter shell list,$@),$(options)) $(if $(filter report,$@),results/latest)

# What the unit tests compile is served by ccache, in the cache of the lab. Each of their
# processes would compile its Python anew where the caller wants no bytecode to be written.
check_env = PYTHONDONTWRITEBYTECODE= PATH="/usr/lib/ccache:$$PATH" \
	CCACHE_DIR="$${UMCGLAB_CACHE:-$$HOME/.cache/umcglab}/ccache"

# Unit tests share nothing, and half the time they wait: two for each core, which take over
# what is left to others in the end. The lab tests of one file share what they built and ran:
# three files at once, since most guests have one CPU and wait as well.
check: setup
	.venv/bin/ruff check umcglab guest-tests
	.venv/bin/ruff format --check umcglab guest-tests
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	for abi in $(wildcard guest-tests/abi/*); do .venv/bin/mypy $(guest_py) \
		$$(ls -d $$abi/py 2>/dev/null) || exit 1; done
	shellcheck umcglab/setup/setup.sh umcglab/kernel/bin/umcglab-cc .ci/run
	$(check_env) .venv/bin/pytest -n $$((2 * $$(nproc))) --dist worksteal \
		-m 'not lab and not slow'

test: check
	$(check_env) .venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder \
		-m '(lab or slow) and not nightly'

# The parts of a night can be had one by one, on several machines: hours each.
night = $$(date -u +%Y%m%d)
fuzz = --fuzz-ops 5000000 --fuzz-share --fuzz-seed $(night)
parts := nightly-run nightly-mutants nightly-generated nightly-tests

nightly: setup
	@$(MAKE) --no-print-directory --jobs=1 --keep-going $(parts)

# A new seed each night; the episodes that failed are in results/fuzz-seeds.txt.
nightly-run: setup
	@$(umcglab) run --nightly $(options) $(fuzz)

nightly-mutants: setup
	@$(umcglab) mutants $(options)

nightly-generated: setup
	@$(umcglab) mutants --generate --sample 30 --seed $(night) $(options)

nightly-tests: setup
	.venv/bin/pytest -m nightly
