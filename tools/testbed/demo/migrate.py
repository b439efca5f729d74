#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Live-migrate a guest whose simulated device writes all the time; prove it right.

Runs as root inside the test machine.  Two simulated devices, two stock QEMUs;
the guest of the first is migrated to the second.  Before the second one's
guest runs on, the two guest memories are compared page by page; then the guest
itself checks every page against what it knows the device wrote.

Exit status: 0 all right, 1 a page is stale, 2 nothing could be proved.
"""
import argparse
import contextlib
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time

from vm import Failure, Stall, Vm

MEMORY = 128 << 20
PAGE = 4096
HUGE = 2 << 20
SLOT = "0x10"                   # the device's place, the same on both sides
ROUNDS = 4                      # precopy rounds before QEMU may finish
BANDWIDTH = 16 << 20            # bytes a second: slow enough for those rounds
CONFIGFS = "/sys/kernel/config"

TRACES = ("iommufd_backend_*dirty*", "iommufd_backend_alloc_hwpt",
          "vfio_get_dirty_bitmap", "vfio_device_dirty_tracking_start",
          "vfio_migration_set_device_state")

started = time.monotonic()


def progress(text):
    print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)


def write(path, text):
    try:
        with open(path, "w") as f:
            f.write(str(text))
    except OSError as e:
        raise Failure(f"cannot write '{text}' to {path}: {e.strerror}") from e


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")


def load_simulator():
    run("modprobe", "iommufd_dirty_sim")
    # nothing remaps the interrupts of a simulated device
    write("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "1")


def steady_clock():
    """Keep the guests' TSC from standing still.

    On a busy host the emulated machine takes its own TSC for up to 0.2 % slower
    at boot than it finds a second later.  KVM promises guests the first rate,
    cannot scale down to it, and above 250 ppm leaves them a TSC multiplier of
    zero: the guest hangs early in its boot.
    """
    write("/sys/module/kvm/parameters/tsc_tolerance_ppm", "20000")


class Device:
    """A simulated device behind the simulated IOMMU."""

    def __init__(self, name, options):
        self.name = name
        self.dir = f"{CONFIGFS}/dirty_sim/{name}"
        try:
            os.mkdir(self.dir)
        except OSError as e:
            raise Failure(f"cannot make the device {self.dir}: {e.strerror}") from e
        try:
            for option, value in options.items():
                write(f"{self.dir}/{option}", value)
            write(f"{self.dir}/live", "1")
        except BaseException:
            self.remove()
            raise
        self.sysfs = f"/sys/devices/platform/dsim.{name}"

    def stats(self):
        with open(f"{self.dir}/stats") as f:
            return {name: int(value) for name, value in map(str.split, f)}

    def remove(self):
        with contextlib.suppress(Failure):
            write(f"{self.dir}/live", "0")
        with contextlib.suppress(OSError):
            os.rmdir(self.dir)


def prepare_memory(leaf):
    """Where guest memory lives: 2M leaves need 2M of contiguous memory."""
    if leaf == "4k":
        return "/tmp"
    need = 2 * MEMORY // HUGE
    write("/proc/sys/vm/nr_hugepages", need)
    with open("/proc/sys/vm/nr_hugepages") as f:
        if int(f.read()) < need:
            raise Failure(f"the test machine has no {need} huge pages free")
    return "/dev/hugepages"


def qemu_arguments(args, device, memory, huge_hot):
    traces = [word for name in TRACES for word in ("-trace", name)]
    return traces + [
        "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", str(MEMORY >> 20),
        "-machine", "q35,kernel-irqchip=split,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share=on",
        "-object", "iommufd,id=iommufd0",
        "-device", f"vfio-pci,id=dsim,sysfsdev={device.sysfs},iommufd=iommufd0,addr={SLOT}",
        "-kernel", args.kernel, "-initrd", args.initrd,
        "-append", f"console=ttyS0 quiet panic=-1 hugepages=24 dsim_huge=24 dsim_hot={huge_hot}"]


class WallClock:
    """Where the guest told KVM to keep the wall clock.

    The one thing that may differ: loading the vCPU's state sets this MSR again,
    and KVM then writes the 12 bytes of struct pvclock_wall_clock anew, on the
    target alone, before its guest runs.  The address comes from KVM's trace of
    the guest's own write of the MSR, so nothing else is excused.
    """
    SIZE = 12
    EVENT = "/sys/kernel/tracing/events/kvm/kvm_msr"

    def __init__(self, cleanup):
        write("/sys/kernel/tracing/trace", "")
        write(f"{self.EVENT}/filter", "ecx == 0x4b564d00 || ecx == 0x11")
        write(f"{self.EVENT}/enable", "1")
        cleanup.callback(write, f"{self.EVENT}/enable", "0")

    def addresses(self):
        with open("/sys/kernel/tracing/trace") as f:
            return {int(a, 16) for a in
                    re.findall(r"kvm_msr: msr_write \w+ = 0x([0-9a-f]+)", f.read())}


def verify(vm, when):
    """The guest's own verdict, as numbers."""
    line = vm.ask("verify", r"DSIM: verify (.*)", 60).group(1)
    result = dict(word.split("=") for word in line.split())
    result = {k: v if k == "result" else int(v) for k, v in result.items()}
    progress(f"guest, {when}: {result['pages']} pages checked, {result['stale']} stale, "
             f"{result['submitted']} descriptors submitted, {result['completed']} completed")
    return result


def compare(first, second, clocks):
    """Numbers of the pages in which two guest memories differ, but for clocks."""
    differ, excused = [], 0
    with open(first, "rb") as a, open(second, "rb") as b:
        with mmap.mmap(a.fileno(), MEMORY, prot=mmap.PROT_READ) as x, \
             mmap.mmap(b.fileno(), MEMORY, prot=mmap.PROT_READ) as y:
            for big in range(0, MEMORY, HUGE):
                if x[big:big + HUGE] == y[big:big + HUGE]:
                    continue
                for at in range(big, big + HUGE, PAGE):
                    one, two = bytearray(x[at:at + PAGE]), bytearray(y[at:at + PAGE])
                    if one == two:
                        continue
                    for clock in clocks:
                        if at <= clock < at + PAGE:
                            zero = bytes(WallClock.SIZE)
                            one[clock - at:clock - at + WallClock.SIZE] = zero
                            two[clock - at:clock - at + WallClock.SIZE] = zero
                    if one == two:
                        excused += 1
                    else:
                        differ.append(at // PAGE)
    return differ, excused


def regions(vm, hot_pages):
    """What the guest uses each huge page for, by guest page number."""
    area = {}
    for found in vm.console.find(r"DSIM: area huge=(\d+) gpa=0x([0-9a-f]+)"):
        number, page = int(found.group(1)), int(found.group(2), 16) // PAGE
        for i in range(HUGE // PAGE):
            at = number * (HUGE // PAGE) + i
            area[page + i] = ("ring" if at < 4 else "counter" if at < 68 else
                              "hot" if at < 68 + hot_pages else "cold")
    return area


def tracker(trace):
    """What QEMU asked, from its own trace."""
    with open(trace, errors="replace") as f:
        text = f.read()
    pages = [int(n) for n in re.findall(r"^.*\bvfio_get_dirty_bitmap .*dirty_pages=(\d+)",
                                        text, re.M)]
    if re.search(r"iommufd_backend_set_dirty .*enable=1 \(0\)", text):
        name = "IOMMU A/D bits (iommufd HWPT)"
    elif "vfio_device_dirty_tracking_start" in text:
        name = "the device's own (VFIO DMA logging)"
    else:
        name = "none"
    return name, sum(pages), len(pages)


def migrate(source, target, device):
    """Run the migration; returns query-migrate's last answer."""
    uri = "unix:/tmp/migration"
    # With the least limit QEMU goes on with precopy as long as anything is
    # written, so that rounds happen with DMA; then it may finish.
    source.qmp("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH, "downtime-limit": 1})
    source.qmp("migrate", uri=uri)
    may_finish, begun, told, shown = False, time.monotonic(), 0, 0
    while True:
        source.alive()
        target.alive()
        info = source.qmp("query-migrate")
        status, ram = info.get("status"), info.get("ram", {})
        elapsed = time.monotonic() - begun
        if status == "completed":
            return info
        if status in ("failed", "cancelled"):
            why = info.get("error-desc", "no reason given")
            raise Failure(f"QEMU says the migration {status}: {why}")
        rounds = ram.get("dirty-sync-count", 0)
        if elapsed - shown >= 1 or rounds != told:
            shown, told = elapsed, rounds
            progress(f"precopy round {rounds}: {ram.get('transferred', 0) >> 10} KiB sent, "
                     f"{ram.get('remaining', 0) >> 10} KiB to go, "
                     f"{device.stats()['bytes_written'] >> 10} KiB written by the device")
        if not may_finish and (rounds > ROUNDS or elapsed > 30):
            may_finish = True
            source.qmp("migrate-set-parameters", **{"downtime-limit": 1000})
        if elapsed > 60:
            raise Stall(f"migration not done after {elapsed:.0f} s, status {status}")
        time.sleep(0.05)


def wait_status(vm, wanted, limit):
    end = time.monotonic() + limit
    while True:
        vm.alive()
        status = vm.qmp("query-status")["status"]
        if status in wanted:
            return
        if time.monotonic() > end:
            raise Stall(f"{vm.name}: still {status} after {limit} s")
        time.sleep(0.05)


def scenario(args, scratch, cleanup):
    options = {"format": args.format,
               "page_sizes": "0x1000" if args.leaf == "4k" else "0x201000"}
    if args.broken == "noflush":
        # an IOTLB with room for every page forgets nothing by itself
        options.update(fault_no_flush=1, iotlb_entries=32768)
    devices = []
    for name in ("demo-source", "demo-target"):
        devices.append(Device(name, options))
        cleanup.callback(devices[-1].remove)
    memory = prepare_memory(args.leaf)
    files = [f"{memory}/{name}.ram" for name in ("source", "target")]
    for name in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        cleanup.callback(lambda n=name: os.path.exists(n) and os.unlink(n))
    # one page written makes a whole leaf dirty: few of those, or it never ends
    huge_hot = 15 if args.leaf == "4k" else 1

    clock = WallClock(cleanup)
    source = Vm("source", scratch, qemu_arguments(args, devices[0], files[0], huge_hot))
    cleanup.callback(source.kill)
    progress("source QEMU runs, its guest boots")
    ready = source.hear(r"DSIM: ready pages=(\d+) hot=(\d+) cold=(\d+)", 60)
    hot = int(ready.group(2))
    progress(f"guest ready: the device writes {hot} pages all the time and wrote "
             f"{ready.group(3)} others once")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/migration")
    target = Vm("target", scratch, qemu_arguments(args, devices[1], files[1], huge_hot) +
                ["-S", "-incoming", "unix:/tmp/migration"])
    cleanup.callback(target.kill)
    wait_status(target, ("inmigrate",), 20)
    source.hear(r"DSIM: run descs=", 20)
    before = verify(source, "before")
    if before["result"] != "ok":
        raise Failure("memory is wrong before any migration: " + str(before))

    stats = devices[0].stats()
    progress("migration starts")
    info = migrate(source, target, devices[0])
    wait_status(target, ("paused", "prelaunch"), 20)
    wait_status(source, ("postmigrate",), 20)
    during = {name: value - stats[name] for name, value in devices[0].stats().items()}
    progress(f"migration done; {during['descs']} descriptors ran and "
             f"{during['bytes_written'] >> 10} KiB were written by the device meanwhile")

    differ, excused = compare(*files, clock.addresses())
    known = regions(source, hot)
    where = {}
    for page in differ:
        kind = known.get(page, "elsewhere")
        where[kind] = where.get(kind, 0) + 1
    progress(f"both memories compared: {len(differ)} of {MEMORY // PAGE} pages differ"
             + "".join(f", {n} {kind}" for kind, n in sorted(where.items()))
             + (f" ({excused} more in KVM's wall clock alone, which loading the vCPU writes)"
                if excused else ""))

    target.qmp("cont")
    after = verify(target, "right after")
    target.hear(r"DSIM: run descs=", 20, target.console.mark())
    time.sleep(2)
    later = verify(target, "2 s later")
    target.ask("stop", r"DSIM: stopped", 20)
    written_after = devices[1].stats()["bytes_written"]

    name, pages, reads = tracker(source.trace)
    result = {
        "format": args.format, "leaf": args.leaf, "broken": args.broken,
        "tracker": name, "rounds": info["ram"]["dirty-sync-count"],
        "pages_reported": pages, "reads": reads,
        "bytes_sent": info["ram"]["transferred"] + info.get("vfio", {}).get("transferred", 0),
        "downtime_ms": info["downtime"], "total_ms": info["total-time"],
        "descs_during": during["descs"], "bytes_during": during["bytes_written"],
        "bytes_after": written_after,
        "pages_compared": MEMORY // PAGE, "differ": len(differ),
        "wall_clock_pages": excused, "differ_where": where,
        "differ_gpa": [hex(page * PAGE) for page in differ[:32]],
        "guest": {"before": before, "after": after, "later": later},
    }
    result["verdict"], result["why"] = judge(result)
    return result


def judge(result):
    """One word and, unless it is OK, what it rests on."""
    checks = [result["guest"][when] for when in ("after", "later")]
    stale = max(check["stale"] for check in checks)
    lost = max(check["lost-status"] for check in checks)
    if result["differ"] or stale or lost:
        return "STALE", (f"{result['differ']} pages differ from the source's, the guest "
                         f"finds {stale} stale pages and {lost} lost status words")
    for check in checks:
        if check["result"] != "ok":
            return "FAILED", f"the guest finds no stale page, but: {check}"
    if result["tracker"] == "none":
        return "FAILED", "QEMU used no tracker"
    for what in ("descs_during", "bytes_during", "bytes_after", "pages_reported"):
        if not result[what]:
            return "FAILED", f"{what} is 0: nothing was proved"
    return "OK", ""


def table(result):
    bits = "" if result["broken"] == "none" else \
        "  (broken on purpose: IOTLB not flushed after clearing)"
    rows = [
        ("device", f"simulated DMA device, IOMMU format {result['format']}, "
                   f"{result['leaf']} leaves{bits}"),
        ("tracker QEMU used", result["tracker"]),
        ("precopy rounds", result["rounds"]),
        ("pages reported dirty", f"{result['pages_reported']} in {result['reads']} reads"),
        ("bytes sent", f"{result['bytes_sent']} ({result['bytes_sent'] / 2**20:.1f} MiB)"),
        ("DMA meanwhile", f"{result['descs_during']} descriptors, "
                          f"{result['bytes_during'] / 2**20:.1f} MiB written"),
        ("downtime", f"{result['downtime_ms']} ms"),
        ("total time", f"{result['total_ms']} ms"),
        ("memories compared", f"{result['differ']} of {result['pages_compared']} pages differ"),
        ("guest's own check", ", ".join(
            f"{c['stale']} of {c['pages']} pages stale {when}" for when, c in
            (("at once", result["guest"]["after"]), ("2 s later", result["guest"]["later"])))),
        ("verdict", result["verdict"] + (": " + result["why"] if result["why"] else "")),
    ]
    print()
    for name, value in rows:
        print(f"  {name:<22} {value}")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", help="bzImage for the guest",
                        default=os.environ.get("TESTBED_ROOT", "") + "/bzImage")
    parser.add_argument("--initrd", required=True, help="its initramfs")
    parser.add_argument("--format", choices=("vtdss", "amdv1", "x86_64"), default="vtdss")
    parser.add_argument("--leaf", choices=("4k", "2m"), default="4k")
    parser.add_argument("--break", dest="broken", choices=("none", "noflush"), default="none")
    parser.add_argument("--json", help="write the figures there, too")
    parser.add_argument("--logs", default=os.environ.get("SCRATCH", "/tmp"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))

    result, error = None, None
    for attempt in (1, 2):
        logs = f"{args.logs}/{args.format}-{args.leaf}-{args.broken}-{attempt}"
        os.makedirs(logs, exist_ok=True)
        try:
            with contextlib.ExitStack() as cleanup:
                steady_clock()
                load_simulator()
                result = scenario(args, logs, cleanup)
            break
        except Stall as e:
            error = e
            if attempt == 1:
                progress(f"STALLED: {e}; logs: {logs}; the whole migration is tried once more")
        except Failure as e:
            error = e
            break
    if not result:
        print(f"demo: {error}; logs: {logs}", file=sys.stderr)
        result = {"verdict": "FAILED", "why": str(error), "format": args.format,
                  "leaf": args.leaf, "broken": args.broken}
    else:
        table(result)
        if result["verdict"] != "OK":
            print(f"demo: logs: {logs}", file=sys.stderr)
    result["attempts"] = attempt
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
    return {"OK": 0, "STALE": 1}.get(result["verdict"], 2)


if __name__ == "__main__":
    sys.exit(main())
