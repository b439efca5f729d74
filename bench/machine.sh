# SPDX-License-Identifier: GPL-2.0
# The machine that is measured on. Source tools/testbed/kernel.sh first.
#
# UML with one CPU, and a kernel that knows no more: with SMP, to turn interrupts off or on
# is a system call of the host, which a CPU does by itself. And on one CPU of the host: UML's
# kernel and its user space are two threads to it, and on two CPUs each system call waits for
# the other one to wake up. The host keeps its other CPUs for itself.

# How many CPUs of the host are busy before anything begins
busy_cpus()
{
	{ head -n 1 /proc/stat; sleep 1; head -n 1 /proc/stat; } |
		awk -v hz="$(getconf CLK_TCK)" '
			{ now = $2 + $3 + $4 + $7 + $8 + $9 }
			NR == 1 { before = now }
			END { printf "%.2f\n", (now - before) / hz }'
}

build_machine()
{
	"$bed/build" --machine uml --up --kernel "$1"
}

# on_machine KERNEL OPTION... -- COMMAND...: OPTION as of tools/testbed/run. Its devices
# have no interrupt remapping behind them.
on_machine()
{
	local kernel=$1 cpu
	shift
	cpu=$(taskset -cp $$ | sed 's/.*[^0-9]//')
	taskset -c "$cpu" "$bed/run" --machine uml --up --kernel "$kernel" --no-build \
		--append iommufd.allow_unsafe_interrupts=1 "$@"
}
