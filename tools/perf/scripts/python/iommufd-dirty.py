# SPDX-License-Identifier: GPL-2.0
"""Where the time of reading dirty pages goes, by provider

	perf record -a -e 'iommufd_dirty:*' -- COMMAND
	perf script -s tools/perf/scripts/python/iommufd-dirty.py

For each provider: how often it was asked, which pages it told, and the time that took.
For each reader, an HWPT or a dirty log: its reads, and what of their time was not the
providers'. And how often exactness was lost, or one provider took over from another.
"""
import os
import sys

# perf's own modules, where there is perf
sys.path.append(os.path.join(os.environ.get("PERF_EXEC_PATH", ""),
                             "scripts/python/Perf-Trace-Util/lib/Perf/Trace"))

PROVIDERS = ("none", "iommu", "device", "access", "all")

collects, reads, syncs, lost, switches = {}, {}, {}, {}, {}


def add(table, key, pages, ns):
    row = table.setdefault(key, [0, 0, 0, 0])
    row[0] += 1
    row[1] += pages
    row[2] += ns
    row[3] = max(row[3], ns)
    return row


def count(table, key):
    table[key] = table.get(key, 0) + 1


# perf calls these, with what it knows of any event and the event's own fields

def iommufd_dirty__iommufd_dirty_collect(event_name, context, cpu, secs, nsecs, pid, comm, callchain,
                                         ioas, hwpt, provider, iova, last, pages, ns, *_):
    add(collects, provider, pages, ns)


def iommufd_dirty__iommufd_dirty_read(event_name, context, cpu, secs, nsecs, pid, comm, callchain,
                                      ioas, hwpt, iova, last, clear, dirty, collect_ns, ns, rc, *_):
    row = add(reads, (pid, ioas, hwpt), dirty, ns)
    row.append((row.pop() if len(row) > 4 else 0) + collect_ns)


def iommufd_dirty__iommufd_dirty_log_sync(event_name, context, cpu, secs, nsecs, pid, comm, callchain,
                                          log, offset, end, clear, dirty, lost_ranges, ns, *_):
    add(syncs, (pid, log), dirty, ns)


def iommufd_dirty__iommufd_dirty_lost(event_name, context, cpu, secs, nsecs, pid, comm, callchain,
                                      ioas, hwpt, provider, *_):
    count(lost, provider)


def iommufd_dirty__iommufd_dirty_provider(event_name, context, cpu, secs, nsecs, pid, comm, callchain,
                                          ioas, hwpt, device, pasid, before, after, *_):
    names = [PROVIDERS[n] if n < len(PROVIDERS) else str(n) for n in (before, after)]
    count(switches, " to ".join(names))


def trace_unhandled(*_):
    """Marks, starts and stops, which take no time of a read"""


def line(name, row):
    times, pages, ns, longest = row[:4]
    return f"{name:<24}{times:>9}{pages:>14}{ns / 1e6:>12.3f}{ns / times / 1e3:>12.1f}{longest / 1e3:>12.1f}"


def trace_end():
    heading = f"{'times':>9}{'pages':>14}{'ms':>12}{'us each':>12}{'us at most':>12}"
    if not (collects or reads or syncs):
        print("No dirty pages were read.")
    if collects:
        print(f"{'provider':<24}{heading}")
        for name, row in sorted(collects.items(), key=lambda item: -item[1][2]):
            print(line(name, row))
    if reads:
        print(f"\n{'process, IOAS, HWPT':<24}{heading}{'ms outside providers':>22}")
        for (pid, ioas, hwpt), row in sorted(reads.items()):
            print(f"{line(f'{pid}, {ioas}, {hwpt}', row)}{(row[2] - row[4]) / 1e6:>22.3f}")
    if syncs:
        print(f"\n{'process, log':<24}{heading}")
        for (pid, log), row in sorted(syncs.items()):
            print(line(f"{pid}, {log}", row))
    for name, times in sorted(lost.items()):
        print(f"\nexactness lost by {name}: {times} times")
    for names, times in sorted(switches.items()):
        print(f"\nprovider changed from {names}: {times} times")
