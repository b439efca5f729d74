#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The front of the tests with suites made up for it: what it says at the end and
# the status must not be better than the suites were. The same of .ci/run.
set -u
bed=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0 failed=0

mkdir -p "$work/tools" "$work/.ci"
cp -r "$bed" "$work/tools/testbed" 2>/dev/null
cp "$bed/../../.ci/run" "$work/.ci/run"
export BUILD_DIR=$work/build

# suites of our own in place of those that take an hour
sed -i '/^# ---- the front ----/i \
suites="\\\
good 20 passes\
skips 20 skips one\
bad 20 fails one\
crash 20 ends early\
silent 20 says nothing\
status 20 ends with a status that no test explains\
slow 2 takes too long"\
suite_good() { echo "TAP version 13"; echo "1..2"; echo "ok 1 a"; echo "ok 2 b"; echo "not ok 9 stderr" >\&2; }\
suite_skips() { echo "1..2"; echo "ok 1 a"; echo "ok 2 b # SKIP no"; }\
suite_bad() { echo "1..2"; echo "ok 1 a"; echo "not ok 2 broken thing"; exit 1; }\
suite_crash() { echo "1..3"; echo "ok 1 a"; }\
suite_silent() { true; }\
suite_status() { echo "1..1"; echo "ok 1 a"; echo "the kernel reported: a mess" >\&2; exit 120; }\
suite_slow() { echo "1..1"; echo "ok 1 a"; sleep 60; }\
' "$work/tools/testbed/test"

# front WANT STATUS WORDS SUITE...: the last line, the status, and what must be
# among the lines
front()
{
	local want=$1 status=$2 words=$3 got out
	shift 3
	out=$("$work/tools/testbed/test" "$@" 2>/dev/null)
	got=$?
	check "$*: $want" "$status" "$got" "$want" "$(tail -n 1 <<<"$out")" "$words" "$out"
}

check()
{
	n=$((n + 1))
	if [ "$2" = "$3" ] && [ "$4" = "$5" ] && grep -qF -- "$6" <<<"$7"; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "# status $3, last line '$5', looked for '$6' in:"
		sed 's/^/# /' <<<"$7"
		failed=1
	fi
}

echo "TAP version 13"
echo "1..13"
front "2 passed, 0 failed" 0 "=== good: passes" good
front "3 passed, 0 failed, 1 skipped" 0 "=== skips" good skips
front "3 passed, 1 failed" 1 "bad: broken thing (log: $BUILD_DIR/logs/test-bad.log)" good bad
front "1 passed, 1 failed" 1 "crash: ended after 1 of 3 tests" crash
front "0 passed, 1 failed" 1 "silent: no TAP at all" silent
front "1 passed, 1 failed" 1 "status: ended with status 120" status
front "1 passed, 1 failed" 1 "    the kernel reported: a mess" status
front "1 passed, 1 failed" 1 "slow: stopped after its limit of 2 s" slow
front "7 passed, 5 failed, 1 skipped" 1 "failures:"

out=$("$work/tools/testbed/test" none-such 2>&1)
check "an unknown suite is named" 1 $? "" "" "no suite 'none-such'" "$out"

# ci WANT STATUS RECIPE
ci()
{
	local out got
	printf 'test:\n\t@%s\n' "$3" >"$work/Makefile"
	out=$("$work/.ci/run" 2>&1)
	got=$?
	check "ci: $1" "$2" "$got" "$1" "$(tail -n 1 <<<"$out")" "" "$out"
}
ci "7 passed, 0 failed" 0 'echo "7 passed, 0 failed"; echo noise'
ci "7 passed, 2 failed, 1 skipped" 2 'echo "7 passed, 2 failed, 1 skipped"; exit 1'
ci "0 passed, 1 failed" 1 'echo all is well'
exit "$failed"
