# SPDX-License-Identifier: GPL-2.0
# The front door. KERNEL=7.2, KERNEL_SRC=dir and BUILD_DIR=dir apply to all:
# make hands them on in the environment.

testbed := tools/testbed

.PHONY: help demo test bench check parity mutate torture fuzz kcsan clean

help:
	@echo 'make demo    from a bare machine to a live migration under DMA, proven page by page'
	@echo 'make test    all tests, on both machines and both kernels'
	@echo 'make bench   what reading dirty pages costs, by every provider, the base kernel beside ours'
	@echo 'make check   style and static checks of our files'
	@echo "make parity  the base's own selftests, on the base kernel and on ours"
	@echo 'make mutate  break the code in many ways, one at a time, and see that the tests notice (about an hour)'
	@echo 'make torture  random operations until something is lost; MINUTES=10 SEED=, FAIL=1 with every failure in every ioctl'
	@echo 'make fuzz    every ioctl with all that could be wrong, by many threads; MINUTES=10 CALLS= SEED='
	@echo 'make kcsan    data races and lock order on x86-64, while all runs at once; MINUTES=5 of random operations'
	@echo 'make clean   remove the build folder'
	@echo 'make help    this list'
	@echo
	@echo 'KERNEL=7.2 takes another base version, KERNEL_SRC=dir a tree of your own,'
	@echo 'BUILD_DIR=dir another place for everything that is built (default: build).'

demo:
	@$(testbed)/demo/demo

test:
	@$(testbed)/test

bench:
	@bench/run
	@bench/logs

check:
	@$(testbed)/check

parity:
	@$(testbed)/parity

mutate:
	@$(testbed)/mutate

torture:
	@$(testbed)/torture

fuzz:
	@$(testbed)/fuzz-ioctl

kcsan:
	@$(testbed)/kcsan

clean:
	rm -rf -- "$${BUILD_DIR:-build}"
