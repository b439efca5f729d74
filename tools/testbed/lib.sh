# SPDX-License-Identifier: GPL-2.0
# Helpers that every testbed command shares. Source it, do not run it.
#
# Everything the testbed writes lies under $build, but for installed packages
# and ccache's own folder, so that removing one folder undoes a build.

set -eEu -o pipefail
# no failure without a word
trap 'echo "testbed: ${BASH_SOURCE[0]##*/} line $LINENO failed: $BASH_COMMAND" >&2' ERR

bed=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$bed/../.." && pwd)
build=${BUILD_DIR:-$top/build}
mkdir -p "$build" 2>/dev/null ||
	{ echo "testbed: cannot create $build: set BUILD_DIR to a writable folder" >&2; exit 1; }
build=$(cd "$build" && pwd)
[ -w "$build" ] ||
	{ echo "testbed: cannot write to $build: run as its owner, or set BUILD_DIR to a writable folder" >&2; exit 1; }
logs=$build/logs
mkdir -p "$logs"

export LC_ALL=C
# a kernel build is a make of its own, not part of the one that started us
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

say()
{
	printf 'testbed: %s\n' "$*" >&2
}

die()
{
	say "$*"
	exit 1
}

# need_space DIR GB WHAT: stop before a disk fills up half way through
need_space()
{
	local free
	free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$free" -ge "$2" ] ||
		die "$3 needs $2 GB in $1, $free GB are free: make room, or set BUILD_DIR to another disk"
}

# lock NAME: one at a time; the lock goes with the process
lock()
{
	local fd
	exec {fd}>"$build/.lock-$1"
	flock -n "$fd" && return
	say "another $1 is running here, waiting for it (up to 30 minutes)"
	flock -w 1800 "$fd" || die "the other $1 did not finish: see $logs"
}

# first_errors LOG: what a person wants to see of a failed step
first_errors()
{
	local found
	found=$(grep -nE -m 8 '(^|[^a-z_])(error|Error|ERROR|E:|fatal|undefined reference|\*\*\*|No space left)' "$1" || true)
	if [ -n "$found" ]; then
		printf '%s\n' "$found" >&2
	else
		tail -n 5 "$1" >&2
	fi
}

# step WHAT SECONDS LOG COMMAND...: run COMMAND with a time limit and its output
# in LOG. Shows that it lives: one moving line on a terminal, a line every 30 s
# elsewhere. $progress, if set, is a command that prints a few words; $advice is
# what to do when it fails.
# The command gets its own process group, so that nothing of it stays behind.
step()
{
	local what=$1 limit=$2 step_log=$3 rc=0 t0=$SECONDS next=30 t=0 note=
	shift 3
	mkdir -p "$(dirname "$step_log")"

	set -m
	"$@" >"$step_log" 2>&1 </dev/null &
	step_pid=$!
	set +m
	trap 'kill -TERM -- -$step_pid 2>/dev/null; say "interrupted: '"$what"'"; exit 130' INT TERM HUP

	while kill -0 "$step_pid" 2>/dev/null; do
		t=$((SECONDS - t0))
		if [ "$t" -ge "$limit" ]; then
			kill -TERM -- "-$step_pid" 2>/dev/null || true
			sleep 1
			kill -KILL -- "-$step_pid" 2>/dev/null || true
			wait "$step_pid" 2>/dev/null || true
			die "$what: not done after $limit s, stopped${advice:+: $advice}; log: $step_log"
		fi
		if [ -t 2 ]; then
			note=$(${progress:-true} || true)
			printf '\r\033[Ktestbed: %s %d s %s' "$what" "$t" "$note" >&2
		elif [ "$t" -ge "$next" ]; then
			next=$((next + 30))
			note=$(${progress:-true} || true)
			say "$what: $t s $note"
		fi
		sleep 0.3
	done
	wait "$step_pid" || rc=$?
	trap - INT TERM HUP
	[ ! -t 2 ] || printf '\r\033[K' >&2

	if [ "$rc" -ne 0 ]; then
		say "$what failed (status $rc):"
		first_errors "$step_log"
		die "$what failed${advice:+: $advice}; log: $step_log"
	fi
	t=$((SECONDS - t0))
	[ "$t" -lt 2 ] || say "$what: done in $t s"
}
