# `make run` reviews a source tree, `make test` runs the whole suite; both set up a bare Debian first.
TREE ?= .

.PHONY: run test help
help:
	@echo "make run [TREE=path]   review a source tree (this one if none is named)"
	@echo "make test              the whole test suite, as CI runs it"

run:
	@ci/setup
	@cargo build --quiet --release -p synod-node
	@# 1 says that findings were reported, which is a review well done; anything else is a failure.
	@target/release/synod run review --path "$(TREE)" || [ $$? -eq 1 ]

test:
	@ci/setup
	@ci/test
