# SPDX-License-Identifier: GPL-2.0
#
# The harness of this repository; "make" alone prints what it can do. The kernel
# has its own Makefile, in build/linux.

JOBS ?= $(shell nproc)
ARGS ?=
KERNELS ?=
HOURS ?= 1
# The version of linux-source-6.12: for vm/packages and vm/tree.
export BASE ?=

# To fill ccache takes half as long again as to compile without it, so only who
# builds often has it, with CCACHE=y, and mutants, which go back and forth.
ifndef CCACHE
export CCACHE_DISABLE = 1
endif

# The same source and configuration give the same bytes, wherever they are built.
KMAKE = $(MAKE) -j$(JOBS) $(KARGS) KBUILD_BUILD_TIMESTAMP=1970-01-01 \
	KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=build KBUILD_BUILD_VERSION=1 \
	LOCALVERSION=-$@ O=$(CURDIR)/build/$@

# Kernel to its source tree and fragments.
SERIES = patched stats debug kcsan rt tables bpf arm64 arm64-64k
stock: TREE = build/base
$(SERIES): TREE = build/linux
$(SERIES) stock: FRAGMENTS = configs/guest.config $(wildcard configs/$@.config)
$(SERIES) stock: KARGS = CC="ccache gcc"
$(SERIES) stock: IMAGE = bzImage
arm64-64k: FRAGMENTS = configs/guest.config configs/arm64.config configs/$@.config
arm64 arm64-64k: KARGS = ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC="ccache aarch64-linux-gnu-gcc"
arm64 arm64-64k: IMAGE = Image

define HELP
make packages  install the Debian packages that are missing
make tree      build/linux: linux-source-6.12 as tag base, the series on top (2 min);
               the newest, or with BASE=VERSION that, here and for what needs the tree
make refresh   make patches/ and our files those of the commits in build/linux; a patch
               whose diff is gone is removed, and what has changed in patches/ since
               make tree or refresh overwritten, only with DROP=1
make mbox      print the whole series as mails for git am
make stock     build/stock: the kernel without the series (6 min on 2 cores)
make patched   build/patched: the kernel with the series (6 min)
make stats     build/stats: the same with counters of VMA locks (6 min)
make debug     build/debug: the same with lockdep, KASAN and more (7 min)
make kcsan     build/kcsan: the same with the detector of data races (8 min)
make rt        build/rt: the same with PREEMPT_RT and lockdep (8 min)
make tables    build/tables: the same with PREEMPT_NONE, KASAN, and page tables that are
               checked and freed by RCU (8 min)
make bpf       build/bpf: the same with BTF, for BPF programs that call the kernel (9 min)
make arm64     build/arm64: the same for arm64, with lockdep (8 min)
make arm64-64k build/arm64-64k: the same with pages of 64 KiB (8 min)
make demo      measure stock against patched, draw the plot (3 min, and the two kernels)
               in build/results, or with KEEP=1 in bench/results
make bench     measure more; ARGS="..." are bench/run's options, ARGS=--help lists them
make check     every test (an hour); KERNELS="stock kcsan": only
               selftests/proc, on these; stats,preempt=none: with kernel arguments;
               KEEP=1 saves the totals in vm/results/kernels
make soak      HOURS=1 of everything at once on the debug kernel; KEEP=1 saves the
               summary as vm/results/soak
make mutants   break the kernel on purpose and see each break caught (two hours);
               SHARD=1/2: the first half of them; KEEP=1 saves in vm/results/mutants
make explore   run the walk and its writers in all orders with up to BOUND=2 preemptions
               (hours; make check runs a part of them)
make clean     remove what the targets above built, except build/linux, build/results and
               what make tree moved aside

With CCACHE=y kernels are built with ccache, for who builds the same often.

In a kernel from here: vm/run build/patched/arch/x86/boot/bzImage COMMAND
endef
export HELP

ifneq ($(words $(subst :, ,x$(CURDIR)x)),1)
$(error The kernel cannot be built in $(CURDIR): no spaces or colons in the path)
endif

help:
	@echo "$$HELP"

packages:
	vm/packages

tree: packages
	vm/tree

refresh:
	patches/queue refresh $(if $(DROP),--drop) build/linux

mbox:
	@patches/queue mbox

build/base build/linux:
	$(MAKE) tree

stock: build/base
$(SERIES): build/linux
$(SERIES) stock:
	@rm -f build/$@/tree
	vm/config $(TREE) build/$@ $(FRAGMENTS) -- $(KARGS)
	+$(KMAKE) -C $(TREE) $(IMAGE)
	@test -n "$$(git -C $(TREE) status --porcelain)" || \
		git -C $(TREE) rev-parse 'HEAD^{tree}' > build/$@/tree	# for bench/run

check: tree
	vm/check $(if $(KEEP),--keep) $(KERNELS)

demo: tree
	$(MAKE) stock patched
	bench/demo $(if $(KEEP),--keep)

bench: build/base build/linux
	patches/queue same build/linux
	$(MAKE) stock patched
	bench/run $(ARGS)

mutants: tree
	env -u CCACHE_DISABLE vm/mutants $(if $(KEEP),--keep) $(if $(SHARD),--shard $(SHARD))

soak:
	vm/packages stress-ng trinity
	$(MAKE) debug
	vm/soak $(if $(KEEP),--keep) $(HOURS)

explore: build/linux
	$(MAKE) -C build/linux/tools/testing/vma_walk O=$(CURDIR)/build/explore explore

# A directory base* that is left belongs to a tree that is gone, and may have edits.
clean:
	test ! -d build/linux || test ! -d build/base || { patches/queue plain build/base && \
		git -C build/linux worktree remove $(CURDIR)/build/base; }
	test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name linux ! -name results \
		! -name 'base*' -exec rm -rf {} +

.PHONY: help packages tree refresh mbox stock $(SERIES) check demo bench mutants soak explore clean
.NOTPARALLEL:
