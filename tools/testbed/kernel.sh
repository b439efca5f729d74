# SPDX-License-Identifier: GPL-2.0
# Where the sources, builds and kernels of the chosen version lie.
# Source lib.sh first. KERNEL= and KERNEL_SRC= choose the base.

kernel_wanted=${KERNEL:-7.3}

# Sets the paths of the chosen version; again after fetch, which may have had to
# take another one.
kernel_paths()
{
	# a tree of the user's own gets a folder of its own, named after its path
	if [ -n "$kernel_src" ]; then
		kernel_name=src-$(basename "$kernel_src")-$(cksum <<<"$kernel_src" | cut -d' ' -f1)
	elif [ -s "$build/linux/.instead-of-$kernel_wanted" ]; then
		kernel_name=$(cat "$build/linux/.instead-of-$kernel_wanted")
	else
		kernel_name=$kernel_wanted
	fi
	linux=$build/linux/$kernel_name
	base=$linux/base
	ours=$linux/ours
	kernels=$build/kernels/$kernel_name
	headers=$build/headers/$kernel_name
}

kernel_src=
if [ -n "${KERNEL_SRC:-}" ]; then
	[ -f "$KERNEL_SRC/Makefile" ] && [ -d "$KERNEL_SRC/drivers/iommu/iommufd" ] ||
		die "KERNEL_SRC=$KERNEL_SRC is not a kernel source tree with iommufd"
	kernel_src=$(cd "$KERNEL_SRC" && pwd)
fi
kernel_paths

# variant KERNEL MACHINE CHECKS: the name of one build, as in "ours-qemu-debug".
# CHECKS is empty, "debug" or "kcsan"; or "up", which checks nothing and knows one CPU.
variant()
{
	printf '%s-%s%s' "$1" "$2" "${3:+-$3}"
}

# The out folder is an immediate child of the source folder: kbuild then uses
# relative paths only, and ccache finds for base what ours compiled.
out_dir()
{
	printf '%s/%s/out-%s%s' "$linux" "$1" "$2" "${3:+-$3}"
}

# Nothing of place, time or person in what is compiled: ccache then finds for
# one tree what the other compiled.
export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=testbed KBUILD_BUILD_HOST=testbed
export CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=time_macros CCACHE_COMPRESS=1
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}

# fragments KERNEL MACHINE CHECKS: the parts of configs/ that apply, in order.
# common-7.2 is for what only that version calls so.
fragments()
{
	local f version
	version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$base/Makefile" | paste -sd.)
	for f in common "common-$version" "$2" ${3:+"$3" "$2-$3"} \
		 $([ "$1" = base ] || echo "ours ours-$2"); do
		[ ! -f "$bed/configs/$f.config" ] || echo "$bed/configs/$f.config"
	done
}

# compile_selftests KERNEL [PROGRAM...]: ours, against that kernel's headers, to
# $selftests_out; all of them, or some. Sources and harness are those of our tree: the base
# has none.
compile_selftests()
{
	local kernel=$1
	shift
	selftests_out=$build/selftests/$kernel_name-$kernel
	mkdir -p "$selftests_out"
	# one at a time: what another make has written half would count as made
	(
		lock "selftests-$kernel_name-$kernel"
		step "compiling ${*:-the selftests} for $kernel" 1200 "$logs/$kernel_name-$kernel-${1:-selftests}.log" \
			make -C "$ours/tools/testing/selftests/iommu/dirty" OUTPUT="$selftests_out" \
			KHDR_INCLUDES="-isystem $headers/$kernel/include" USERCFLAGS=-Werror "${@/#/$selftests_out/}"
	)
}

# parse_variant OPTION...: the options that build and run share; sets parsed to
# the number of words it took
want_kernel=ours
want_machine=qemu
want_checks=
parse_variant()
{
	case $1 in
	--kernel)
		case ${2:-} in
		ours|base) want_kernel=$2 ;;
		*) die "--kernel is 'ours' or 'base', not '${2:-}'" ;;
		esac
		parsed=2 ;;
	--machine)
		case ${2:-} in
		qemu|uml) want_machine=$2 ;;
		*) die "--machine is 'qemu' or 'uml', not '${2:-}'" ;;
		esac
		parsed=2 ;;
	--debug|--kcsan|--up)
		want_checks=${1#--}
		parsed=1 ;;
	*)
		parsed=0 ;;
	esac
}
