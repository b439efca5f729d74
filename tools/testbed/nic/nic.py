#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Live-migrate a guest whose only network card is passed through; prove it right.

Runs as root inside the test machine, which has three cards of the same kind on one
wire: the source's, the target's, and one of its own, from which a TCP connection leads
into the guest.  Both ends send all the time.  They check each byte that they receive,
before, during and after the migration; and before the target's guest runs on, the two
guest memories are compared page by page.  Prints TAP.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../demo")
import migrate as demo  # noqa: E402
from migrate import MEMORY, progress, run, write  # noqa: E402
from vm import Failure, Stall, Vm  # noqa: E402

CARD = ("0x8086", "0x10d3")
ADDRESS, GUEST, PORT = "10.82.57.1/24", "10.82.57.2", "5000"
PCI = "/sys/bus/pci/devices"
HUGE = "/tmp/huge"
MOVE = 256 << 10                # bytes that must flow each way to call it alive


def read(path):
    with open(path) as f:
        return f.read().strip()


def cards():
    found = [name for name in sorted(os.listdir(PCI))
             if (read(f"{PCI}/{name}/vendor"), read(f"{PCI}/{name}/device")) == CARD]
    if len(found) != 3:
        raise Failure(f"three cards are needed, this machine has {found}")
    return found


def give_to(driver, card):
    write(f"{PCI}/{card}/driver_override", driver)
    write("/sys/bus/pci/drivers_probe", card)
    if not os.path.isdir(f"{PCI}/{card}/vfio-dev"):
        raise Failure(f"{driver} does not take {card}")


def own_card(card):
    """The card that stays here, with an address."""
    run("modprobe", "e1000e")
    name = os.listdir(f"{PCI}/{card}/net")[0]
    run("busybox", "ip", "addr", "flush", "dev", name)
    run("busybox", "ip", "addr", "add", ADDRESS, "dev", name)
    run("busybox", "ip", "link", "set", name, "up")
    return name


def huge_pages():
    """A place for the two guests' memories."""
    os.makedirs(HUGE, exist_ok=True)
    run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", HUGE)
    write("/proc/sys/vm/nr_hugepages", str(2 * MEMORY >> 21))
    got = int(read("/proc/sys/vm/nr_hugepages"))
    if got < 2 * MEMORY >> 21:
        raise Failure(f"{got} huge pages are all that there are")
    return HUGE


class Wire:
    """What demo.migrate() wants to know of a device, from our card's counters."""

    def __init__(self, name):
        self.dir = f"/sys/class/net/{name}/statistics"

    def stats(self):
        return {"bytes_written": int(read(f"{self.dir}/tx_bytes"))}


def numbers(line):
    return {k: int(v) for k, v in (word.split("=") for word in line.split())}


class Peer:
    """Our end of the connection."""

    def __init__(self, program, log):
        self.log = log
        with open(log, "w") as out:
            self.process = subprocess.Popen([program, GUEST, PORT], stdout=out, stderr=out)

    def last(self, what="run"):
        with open(self.log) as f:
            lines = f.read().splitlines()
        for line in lines:
            if line.startswith("error"):
                raise Failure(f"our end of the connection: {line}")
        found = [line for line in lines if line.startswith(what + " ")]
        return numbers(found[-1][len(what) + 1:]) if found else None

    def flows(self, what, limit=60):
        """Wait until data went both ways; how long that took."""
        begin, end = self.last(), time.monotonic() + limit
        started = time.monotonic()
        while True:
            now = self.last()
            if now and begin and all(now[k] - begin[k] >= MOVE for k in ("sent", "received")):
                return time.monotonic() - started
            begin = begin or now
            if self.process.poll() is not None:
                raise Failure(f"our end of the connection ended, {what}")
            if time.monotonic() > end:
                raise Stall(f"{what}: no data for {limit} s, {begin} is now {now}")
            time.sleep(0.1)

    def finish(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return self.last("done")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# The package's QEMU drops a frame that crosses into a page which does not follow, so with
# --stock the guest's pages are huge. And it puts checksums that the card is asked for into
# the guest's memory, where no dirty bit tells of them, so then it is not asked for any.
def qemu_arguments(args, card, memory):
    traces = [word for name in demo.TRACES for word in ("-trace", name)]
    return traces + [
        "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", str(MEMORY >> 20),
        "-machine", "q35,kernel-irqchip=split,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share=on",
        "-object", "iommufd,id=iommufd0",
        "-device", f"vfio-pci,id=nic,host={card},iommufd=iommufd0,addr={demo.SLOT}",
        "-kernel", args.kernel, "-initrd", args.initrd,
        "-append", "console=ttyS0 quiet panic=-1" + (" tx_checksum=off" if args.stock else "")]


def scenario(args, logs, cleanup):
    # a card that tracks is tracked by either, and QEMU sees no difference
    providers = "device" if args.own else "iommu"
    write("/sys/module/iommufd/parameters/dirty_providers", providers)
    run("modprobe", "e1000e-vfio-pci")
    source_card, target_card, ours = cards()
    give_to("e1000e_vfio_pci", source_card)
    give_to("e1000e_vfio_pci", target_card)
    version = read(f"{PCI}/{source_card}/migration/version")
    write(f"{PCI}/{target_card}/migration/compatible", version)
    progress(f"{target_card} would take the state of {source_card}: {version}")
    wire = Wire(own_card(ours))

    where = huge_pages() if args.stock else "/tmp"
    files = [f"{where}/{name}.ram" for name in ("source", "target")]
    for name in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        cleanup.callback(lambda n=name: os.path.exists(n) and os.unlink(n))
    clock = demo.WallClock(cleanup)
    source = Vm("source", logs, qemu_arguments(args, source_card, files[0]))
    cleanup.callback(source.kill)
    progress("source QEMU runs, its guest boots")
    source.hear("NIC: ready", 90)
    # not where the logs are: what grows is not read well through 9p
    peer = Peer(args.peer, "/tmp/peer.log")
    cleanup.callback(shutil.copy, peer.log, logs)
    cleanup.callback(peer.kill)
    took = peer.flows("before the migration", 90)
    progress(f"connected; 256 KiB each way took {took:.1f} s")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/migration")
    target = Vm("target", logs, qemu_arguments(args, target_card, files[1]) +
                ["-S", "-incoming", "unix:/tmp/migration"])
    cleanup.callback(target.kill)
    demo.wait_status(target, ("inmigrate",), 20)

    before = peer.last()
    progress("migration starts")
    info = demo.migrate(source, target, [wire], demo.BANDWIDTH)
    demo.wait_status(target, ("paused", "prelaunch"), 20)
    demo.wait_status(source, ("postmigrate",), 20)
    differ, excused = demo.compare(*files, clock.addresses())
    progress(f"both memories compared: {len(differ)} of {MEMORY // demo.PAGE} pages differ"
             + (f" ({excused} more in KVM's wall clock alone)" if excused else ""))
    if not args.broken:
        demo.show_difference(*files, differ)
    during = peer.last()
    name, pages, reads = demo.tracker(source.trace)
    result = {
        "providers": providers, "tracker": name, "rounds": info["ram"]["dirty-sync-count"],
        "pages_reported": pages, "reads": reads,
        "device_bytes": info.get("vfio", {}).get("transferred", 0),
        "bytes_sent": info["ram"]["transferred"],
        "downtime_ms": info["downtime"], "total_ms": info["total-time"],
        "during": {k: during[k] - before[k] for k in ("sent", "received")},
        "differ": len(differ), "differ_gpa": [hex(p * demo.PAGE) for p in differ[:32]]}
    if args.broken:
        return result
    target.qmp("cont")
    took = peer.flows("after the migration", 90)
    progress(f"it goes on; 256 KiB each way took {took:.1f} s")
    result["peer"] = peer.finish()
    result["guest"] = numbers(target.hear(r"NIC: done (.*)", 60).group(1))
    return result


def checks(r, args):
    if args.broken:
        yield "dirty bits that are lost are seen to be", r["differ"] > 0
        return
    peer, guest = r["peer"], r["guest"]
    yield "data flowed both ways while memory was copied", \
        all(r["during"][k] > 0 for k in ("sent", "received"))
    yield f"{r['providers']} alone told what is dirty, in several rounds", \
        r["tracker"] != "none" and r["rounds"] > 2 and r["pages_reported"] > 0
    yield "no page of memory is stale", r["differ"] == 0
    yield "the guest received each byte that we sent, and all were right", \
        guest["received"] == peer["sent"] > 0 and guest["wrong"] == 0
    yield "we received each byte that the guest sent, and all were right", \
        peer["received"] == guest["sent"] > 0 and peer["wrong"] == 0


def describe(r):
    for what in ("providers", "tracker", "rounds", "pages_reported", "bytes_sent", "device_bytes",
                 "downtime_ms", "total_ms", "during", "peer", "guest", "differ_gpa"):
        if what in r:
            print(f"# {what}: {r[what]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default=os.environ.get("TESTBED_ROOT", "") + "/bzImage")
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--own", action="store_true",
                        help="the IOMMU has no dirty bits, the card's driver tracks")
    parser.add_argument("--stock", action="store_true",
                        help="spare an emulator that nobody corrected: huge pages, no checksums")
    parser.add_argument("--broken", action="store_true",
                        help="the emulator loses dirty bits: see only that it does")
    parser.add_argument("--json", help="write the figures there, too")
    parser.add_argument("--logs", default=os.environ.get("SCRATCH", "/tmp"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))

    print("TAP version 13", flush=True)
    result, error = None, None
    for attempt in range(1, demo.ATTEMPTS + 1):
        logs = f"{args.logs}/nic-{attempt}"
        os.makedirs(logs, exist_ok=True)
        try:
            with contextlib.ExitStack() as cleanup:
                demo.steady_clock()
                result = scenario(args, logs, cleanup)
            break
        except Stall as e:
            error = e
            if attempt < demo.ATTEMPTS:
                progress(f"STALLED: {e}; logs: {logs}; tried again")
                time.sleep(demo.PAUSE)
        except Failure as e:
            error = e
            break
    if not result:
        print(f"not ok 1 - {error}\n1..1")
        return 2
    describe(result)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
    failed = n = 0
    for n, (what, good) in enumerate(checks(result, args), 1):
        print(f"{'ok' if good else 'not ok'} {n} - {what}")
        failed += not good
    print(f"1..{n}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
