# SPDX-License-Identifier: GPL-2.0
# Adds up one suite's TAP: one or more blocks, each with a version line and a
# plan. Prints "pass fail skip", then a line for each failure.
#
# Only a block that came to its end counts as whole: a program that crashed
# after ten good tests of twenty has failed, and so has one without tests.
# Lines that are indented belong to subtests, which their parent sums up.

function failed(what)
{
	fail++
	failures[fail] = what
}

function end_block()
{
	if (!open)
		return
	open = 0
	if (plan == "")
		failed(label "no plan: it ended before it began")
	else if (count != plan)
		failed(label "ended after " count " of " plan " tests")
	plan = ""
	count = 0
}

function begin_block()
{
	open = 1
	blocks++
	plan = ""
	count = 0
}

{ sub(/\r$/, "") }

# what the lines that follow belong to; printed by whoever runs programs
/^# program: / {
	end_block()
	label = substr($0, 12) ": "
	next
}
/^(TAP|KTAP) version [0-9]+$/ {
	end_block()
	begin_block()
	next
}
/^1\.\.[0-9]+/ {
	if (!open)
		begin_block()
	plan = substr($1, 4) + 0
	if (plan == 0) {
		if (toupper($0) ~ /# SKIP/)
			skip++
		else
			failed(label "a plan of no tests")
	}
	next
}
/^ok([ \t]|$)/ {
	if (!open)
		begin_block()
	count++
	if (toupper($0) ~ /# SKIP/)
		skip++
	else
		pass++
	next
}
/^not ok([ \t]|$)/ {
	if (!open)
		begin_block()
	count++
	name = $0
	sub(/^not ok[ \t]*[0-9]*[ \t]*(-[ \t]+)?/, "", name)
	failed(label name)
	next
}
/^Bail out!/ {
	failed(label $0)
	next
}

END {
	end_block()
	if (!blocks)
		failed("no TAP at all")
	printf "%d %d %d\n", pass, fail, skip
	for (i = 1; i <= fail; i++)
		print failures[i]
}
