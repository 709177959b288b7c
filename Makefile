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

# A build that fills ccache takes half as long again as one without it. So ccache is for
# those who build often, with CCACHE=y, and for mutants, which go back and forth.
ifndef CCACHE
export CCACHE_DISABLE = 1
endif

# The same source and configuration give the same bytes, wherever they are built.
KMAKE = $(MAKE) -j$(JOBS) $(KARGS) KBUILD_BUILD_TIMESTAMP=1970-01-01 \
	KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=build KBUILD_BUILD_VERSION=1 \
	LOCALVERSION=-$@ O=$(CURDIR)/build/$@

# Kernel to its source tree and fragments.
SERIES = patched stats debug kcsan rt tables bpf trace arm64 arm64-64k
STOCK = stock trace-stock
$(STOCK): TREE = build/base
$(SERIES): TREE = build/linux
$(SERIES) $(STOCK): FRAGMENTS = configs/guest.config $(wildcard configs/$(@:-stock=).config)
$(SERIES) $(STOCK): KARGS = CC="ccache gcc"
$(SERIES) $(STOCK): IMAGE = bzImage
arm64-64k: FRAGMENTS = configs/guest.config configs/arm64.config configs/$@.config
arm64 arm64-64k: KARGS = ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC="ccache aarch64-linux-gnu-gcc"
arm64 arm64-64k: IMAGE = Image

define HELP
make packages  install the Debian packages that are missing; make demo and make check do
               that too, every other target only names what is missing
make tree      build/linux: linux-source-6.12 as tag base, the series on top (2 min);
               the newest version, or BASE=VERSION, which any target takes
make refresh   update patches/ and our files from the commits in build/linux; DROP=1 allows
               it to remove a patch whose diff is gone, and to overwrite what has changed in
               patches/ since make tree or refresh
make mbox      print the whole series as mails for git am
make mails     build/mails: the same as six series, each with a cover letter and Cc, for
               git send-email (2 min)
make quilt     build/quilt/patches: the same as a series for quilt
make compat    apply the series to each linux-source-6.12 that apt offers, and compile the
               files that it touches (10 min each); BASE=VERSION: only to that
make stock     build/stock: the kernel without the series (6 min on 2 cores)
make patched   build/patched: the kernel with the series (6 min)
make stats     build/stats: the same with counters of VMA locks (6 min)
make debug     build/debug: the same with lockdep, KASAN and more (7 min)
make kcsan     build/kcsan: the same with KCSAN, which detects data races (8 min)
make rt        build/rt: the same with PREEMPT_RT and lockdep (8 min)
make tables    build/tables: the same with PREEMPT_NONE, KASAN, and page tables that are
               checked and freed by RCU (8 min)
make bpf       build/bpf: the same with BTF, for BPF programs that call the kernel (9 min)
make trace     build/trace: the same with BTF and tracepoints, for bpftrace and
               tools/mm/mmap_lock_wait.bt (9 min)
make trace-stock  build/trace-stock: without the series, for bpftrace (9 min)
make arm64     build/arm64: the same for arm64, with lockdep (8 min)
make arm64-64k build/arm64-64k: the same with pages of 64 KiB (8 min)
make shell     a prompt in the patched kernel, or KERNEL=stock, on this machine's own files;
               writes are lost
make run CMD='COMMAND...'  run a shell command there
make selftests  selftests/proc on KERNEL=stats
make test T=proc-maps-race ARGS='-r change.shift.one_read'  one program of them, or one
               test in it; ARGS=-l lists the tests
make demo      measure stock against patched, readers of maps only, draw the plot (3 min,
               and the two kernels) in build/results, or with KEEP=1 in bench/results
make bench     measure all but --lookup and --forks (25 min, and three kernels), say which
               criteria are met; ARGS="..." are bench/run's options, ARGS=--help lists them
make check     every test (an hour); KERNELS="stock kcsan": only
               selftests/proc, on these; stats,preempt=none: with kernel arguments;
               KEEP=1 saves the totals in vm/results/kernels
make soak      HOURS=1 of everything at once on the debug kernel; KEEP=1 saves the
               summary as vm/results/soak
make mutants   break the kernel on purpose and see each break caught (two hours);
               SHARD=1/2: the first half of them; KEEP=1 saves in vm/results/mutants
make explore   run the walk and its writers in all orders with up to BOUND=2 preemptions
               (hours; make check runs some of them)
make clean     remove what the targets above built, except build/linux, build/results and
               what make tree moved aside

With CCACHE=y kernels are built with ccache, for those who build the same often.

vm/run --help explains how to run a command in a kernel.
endef
export HELP

ifneq ($(words $(subst :, ,x$(CURDIR)x)),1)
$(error The kernel cannot be built in $(CURDIR): no spaces or colons in the path)
endif

help:
	@echo "$$HELP"

packages:
	vm/packages

tree:
	vm/packages --missing
	vm/tree

refresh:
	patches/queue refresh $(if $(DROP),--drop) build/linux

mbox:
	@patches/queue mbox

mails: build/linux
	patches/queue series build/linux build/mails

quilt:
	patches/queue quilt build/quilt/patches
	@echo "In a kernel tree: QUILT_PATCHES=$(CURDIR)/build/quilt/patches quilt push -a"

compat:
	vm/packages --missing
	vm/compat

build/base build/linux:
	$(MAKE) tree

$(STOCK): build/base
$(SERIES): build/linux
$(SERIES) $(STOCK):
	@rm -f build/$@/tree
	vm/config $(TREE) build/$@ $(FRAGMENTS) -- $(KARGS)
	+$(KMAKE) -C $(TREE) $(IMAGE)
	@test -n "$$(git -C $(TREE) status --porcelain)" || \
		git -C $(TREE) rev-parse 'HEAD^{tree}' > build/$@/tree	# for bench/run

shell run: KERNEL ?= patched
selftests test: KERNEL ?= stats
BZIMAGE = build/$(KERNEL)/arch/x86/boot/bzImage

shell:
	$(MAKE) $(KERNEL)
	vm/run --shell $(BZIMAGE)

# As it was written: dollars are the shell's.
run: export GUEST_COMMAND := $(value CMD)
run:
	@test -n "$$GUEST_COMMAND" || { echo "run what? make run CMD='uname -a'" >&2; exit 1; }
	$(MAKE) $(KERNEL)
	vm/run $(BZIMAGE) -- sh -c "$$GUEST_COMMAND"

selftests: build/linux
	vm/check $(KERNEL)

test: build/linux
	$(MAKE) $(KERNEL)
	vm/test $(KERNEL) $(T) $(ARGS)

check: packages tree
	vm/check $(if $(KEEP),--keep) $(KERNELS)

demo: packages tree
	$(MAKE) stock patched
	bench/demo $(if $(KEEP),--keep)

bench: build/base build/linux
	patches/queue same build/linux
	$(MAKE) stock patched stats
	bench/run $(ARGS)

mutants: tree
	env -u CCACHE_DISABLE vm/mutants $(if $(KEEP),--keep) $(if $(SHARD),--shard $(SHARD))

soak:
	vm/packages --missing stress-ng trinity
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

.PHONY: help packages tree refresh mbox mails quilt compat $(STOCK) $(SERIES) shell run \
	selftests test check demo bench mutants soak explore clean
.NOTPARALLEL:
