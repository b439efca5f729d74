#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Live-migrate a guest whose simulated devices write all the time; prove it right.

Runs as root inside the test machine.  Two stock QEMUs, with as many simulated
devices each; the guest of the first is migrated to the second.  Before the second
one's guest runs on, the two guest memories are compared page by page; then the
guest itself checks every page against what it knows the devices wrote.

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
import uuid

from vm import Failure, Stall, Vm

MEMORY = 128 << 20
PAGE = 4096
HUGE = 2 << 20
SLOT = 0x10                     # the first device's place, the same on both sides
HUGE_PAGES = 24                 # of the guest, for all devices together
ROUNDS = 4                      # precopy rounds before QEMU may finish
BANDWIDTH = 16 << 20            # bytes a second: slow enough for those rounds
CONFIGFS = "/sys/kernel/config"
PROVIDERS = "/sys/module/iommufd/parameters/dirty_providers"

# Who knows what each kind of device writes, and what makes it one of them
KINDS = {
    "iommu": ("dirty bits of its IOMMU", {}),
    "tracker": ("a tracker of its own, its IOMMU has none", {"ad": 0, "tracker": "pull"}),
    "emulated": ("the kernel, which writes for it", {"emulated": 1}),
    "untracked": ("nobody: all counts as written", {"ad": 0}),
}
# A QEMU or its guest that goes silent or away says nothing of the pages.  What made it
# so may pass: the emulated machine is slow and its host is busy.
ATTEMPTS = 3
PAUSE = 5                       # seconds between them
BROKEN = {"noflush": "iommu", "mute": "tracker"}        # which kind each fault is of

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
    """A simulated device, behind the simulated IOMMU or behind none."""

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
            self.sysfs = f"/sys/devices/platform/dsim.{name}"
            if options.get("emulated"):
                mediated = str(uuid.uuid4())
                write(f"{self.sysfs}/mdev_supported_types/dsim-emulated-pci/create", mediated)
                self.sysfs += f"/{mediated}"
        except BaseException:
            self.remove()
            raise

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


def make_devices(args, side, cleanup):
    """What the guest on one side has, in the order of its slots."""
    devices = []
    for kind in args.devices:
        options = {"format": args.format,
                   "page_sizes": "0x1000" if args.leaf == "4k" else "0x201000"}
        options.update(KINDS[kind][1])
        if args.broken == "noflush" and kind == "iommu":
            # an IOTLB with room for every page forgets nothing by itself
            options.update(fault_no_flush=1, iotlb_entries=32768)
        if args.broken == "mute" and kind == "tracker":
            options.update(fault_mute=1)
        devices.append(Device(f"demo-{side}-{kind}", options))
        cleanup.callback(devices[-1].remove)
    return devices


def allow_untracked(cleanup):
    """The host's word that a device nobody tracks may have written everything."""
    if not os.path.exists(PROVIDERS):       # on the base there is no such word
        return
    with open(PROVIDERS) as f:
        before = f.read().strip()
    write(PROVIDERS, "iommu,device,all")
    cleanup.callback(write, PROVIDERS, before)


def qemu_arguments(args, devices, memory, huge_hot):
    result = [word for name in TRACES for word in ("-trace", name)]
    result += [
        "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", str(MEMORY >> 20),
        "-machine", "q35,kernel-irqchip=split,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share=on",
        "-object", "iommufd,id=iommufd0"]
    for i, device in enumerate(devices):
        result += ["-device", f"vfio-pci,id=dsim{i},sysfsdev={device.sysfs},iommufd=iommufd0,"
                              f"addr={SLOT + i:#x}"
                              + (",enable-migration=on" if args.force else "")]
    return result + [
        "-kernel", args.kernel, "-initrd", args.initrd,
        "-append", f"console=ttyS0 quiet panic=-1 hugepages={HUGE_PAGES} "
                   f"dsim_devices={len(devices)} dsim_huge={HUGE_PAGES // len(devices)} "
                   f"dsim_hot={huge_hot}"]


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


def verify(vm, when, limit=60):
    """The guest's own verdict on each device, as numbers."""
    mark = vm.console.mark()
    vm.ask("verify", r"DSIM: verified", limit)
    results = []
    for line in vm.console.find(r"DSIM: verify (.*)", mark):
        result = dict(word.split("=") for word in line.group(1).split())
        results.append({k: v if k == "result" else int(v) for k, v in result.items()})
        progress("guest, {}: device {device}: {pages} pages checked, {stale} stale, {submitted} "
                 "descriptors submitted, {completed} completed".format(when, **results[-1]))
    return results


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


def show_difference(first, second, pages):
    """Say what the first of these pages hold, for whoever looks for who wrote there."""
    for page in pages[:8]:
        content = []
        for name in (first, second):
            with open(name, "rb") as f:
                f.seek(page * PAGE)
                content.append(f.read(PAGE))
        one, two = content
        at = [i for i in range(PAGE) if one[i] != two[i]]
        if not at:
            continue
        begin = at[0] & ~15
        progress(f"page {page * PAGE:#x}: {len(at)} bytes differ, from {at[0]:#x} to {at[-1]:#x}")
        progress(f"  source, from {begin:#x}: {one[begin:begin + 48].hex(' ', 8)}")
        progress(f"  target, from {begin:#x}: {two[begin:begin + 48].hex(' ', 8)}")


def regions(vm, hot_pages):
    """Which device uses each guest page, and what for."""
    area = {}
    for found in vm.console.find(r"DSIM: area device=(\d+) huge=(\d+) gpa=0x([0-9a-f]+)"):
        device, number = int(found.group(1)), int(found.group(2))
        page = int(found.group(3), 16) // PAGE
        for i in range(HUGE // PAGE):
            at = number * (HUGE // PAGE) + i
            area[page + i] = (device, "ring" if at < 4 else "counter" if at < 68 else
                              "hot" if at < 68 + hot_pages else "cold")
    return area


def tracker(trace):
    """What QEMU asked, from its own trace."""
    with open(trace, errors="replace") as f:
        text = f.read()
    pages = [int(n) for n in re.findall(r"^.*\bvfio_get_dirty_bitmap .*dirty_pages=(\d+)",
                                        text, re.M)]
    if re.search(r"iommufd_backend_set_dirty .*enable=1 \(0\)", text):
        name = "iommufd (HWPT)"
    elif "vfio_device_dirty_tracking_start" in text:
        name = "the device's own (VFIO DMA logging)"
    else:
        name = "none"
    return name, sum(pages), len(pages)


def migrate(source, target, devices, bandwidth):
    """Run the migration; returns query-migrate's last answer."""
    uri = "unix:/tmp/migration"
    # With the least limit QEMU goes on with precopy as long as anything is
    # written, so that rounds happen with DMA; then it may finish.
    source.qmp("migrate-set-parameters", **{"max-bandwidth": bandwidth, "downtime-limit": 1})
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
                     f"{sum_of(devices)['bytes_written'] >> 10} KiB written by devices")
        if not may_finish and (rounds > ROUNDS or elapsed > 30):
            may_finish = True
            # what counts as written all the time is all there is, and goes at once
            source.qmp("migrate-set-parameters",
                       **({"max-bandwidth": 1 << 30, "downtime-limit": 30000}
                          if bandwidth > BANDWIDTH else {"downtime-limit": 1000}))
        if elapsed > 120:
            raise Stall(f"migration not done after {elapsed:.0f} s, status {status}")
        time.sleep(0.05)


def sum_of(devices):
    stats = [device.stats() for device in devices]
    return {name: sum(s[name] for s in stats) for name in stats[0]}


def refused(args, scratch, devices, memory):
    """Why QEMU would not migrate this guest: a list, or None."""
    stock = argparse.Namespace(**{**vars(args), "force": False})
    vm = Vm("refused", scratch, qemu_arguments(stock, devices, memory, 1) + ["-S"])
    try:
        return vm.qmp("query-migrate").get("blocked-reasons")
    finally:
        vm.kill()
        os.unlink(memory)


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
    if "untracked" in args.devices:
        allow_untracked(cleanup)
    devices = {side: make_devices(args, side, cleanup) for side in ("source", "target")}
    memory = prepare_memory(args.leaf)
    files = [f"{memory}/{name}.ram" for name in ("source", "target")]
    for name in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        cleanup.callback(lambda n=name: os.path.exists(n) and os.unlink(n))
    # one page written makes a whole leaf dirty: few of those, or it never ends
    huge_hot = 1 if args.leaf == "2m" or len(args.devices) > 1 else 15
    # a round is all of memory where all of it counts as written
    bandwidth = BANDWIDTH * (8 if "untracked" in args.devices else 1)

    why_refused = None
    if args.force:
        why_refused = refused(args, scratch, devices["source"], files[0])
        progress("as it is, QEMU " + ("refuses to migrate this guest: " + "; ".join(why_refused)
                                      if why_refused else "would migrate this guest"))
    clock = WallClock(cleanup)
    source = Vm("source", scratch, qemu_arguments(args, devices["source"], files[0], huge_hot))
    cleanup.callback(source.kill)
    progress("source QEMU runs, its guest boots")
    ready = source.hear(r"DSIM: ready devices=\d+ pages=(\d+) hot=(\d+) cold=(\d+)", 90)
    hot = int(ready.group(2))
    progress(f"guest ready: {len(args.devices)} devices, each writes {hot} pages all the time "
             f"and wrote {ready.group(3)} others once")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/migration")
    target = Vm("target", scratch, qemu_arguments(args, devices["target"], files[1], huge_hot) +
                ["-S", "-incoming", "unix:/tmp/migration"])
    cleanup.callback(target.kill)
    wait_status(target, ("inmigrate",), 20)
    source.hear(r"DSIM: run descs=", 20)
    before = verify(source, "before")
    if [check for check in before if check["result"] != "ok"]:
        raise Failure("memory is wrong before any migration: " + str(before))

    stats = [device.stats() for device in devices["source"]]
    progress("migration starts")
    info = migrate(source, target, devices["source"], bandwidth)
    wait_status(target, ("paused", "prelaunch"), 20)
    wait_status(source, ("postmigrate",), 20)
    during = [{name: value - was[name] for name, value in device.stats().items()}
              for device, was in zip(devices["source"], stats)]
    progress("migration done; meanwhile " + ", ".join(
        f"{kind}: {d['descs']} descriptors, {d['bytes_written'] >> 10} KiB written"
        for kind, d in zip(args.devices, during)))

    differ, excused = compare(*files, clock.addresses())
    known = regions(source, hot)
    per_device = [{"kind": kind, "differ": 0, "where": {}, "descs_during": d["descs"],
                   "bytes_during": d["bytes_written"]}
                  for kind, d in zip(args.devices, during)]
    elsewhere = 0
    for page in differ:
        if page not in known:
            elsewhere += 1
            continue
        number, what = known[page]
        per_device[number]["differ"] += 1
        per_device[number]["where"][what] = per_device[number]["where"].get(what, 0) + 1
    progress(f"both memories compared: {len(differ)} of {MEMORY // PAGE} pages differ"
             + "".join(f", {d['kind']} {n} {what}" for d in per_device
                       for what, n in sorted(d["where"].items()))
             + (f" ({excused} more in KVM's wall clock alone, which loading the vCPU writes)"
                if excused else ""))
    if args.broken == "none":
        show_difference(*files, differ)

    target.qmp("cont")
    checks = [verify(target, "right after", 120)]
    target.hear(r"DSIM: run descs=", 20, target.console.mark())
    time.sleep(2)
    checks.append(verify(target, "2 s later", 120))
    target.ask("stop", r"DSIM: stopped", 60)
    for number, device in enumerate(per_device):
        device["checks"] = [check[number] for check in checks]
        device["bytes_after"] = devices["target"][number].stats()["bytes_written"]
        device["verdict"] = judge_device(device)

    name, pages, reads = tracker(source.trace)
    result = {
        "kernel": os.environ.get("TESTBED_KERNEL", ""), "refused": why_refused,
        "format": args.format, "leaf": args.leaf, "broken": args.broken,
        "tracker": name, "rounds": info["ram"]["dirty-sync-count"],
        "pages_reported": pages, "reads": reads,
        "bytes_sent": info["ram"]["transferred"] + info.get("vfio", {}).get("transferred", 0),
        "downtime_ms": info["downtime"], "total_ms": info["total-time"],
        "pages_compared": MEMORY // PAGE, "differ": len(differ), "elsewhere": elsewhere,
        "wall_clock_pages": excused, "differ_gpa": [hex(page * PAGE) for page in differ[:32]],
        "devices": per_device,
    }
    result["verdict"], result["why"] = judge(result)
    return result


def judge_device(device):
    """One word on what became of a device's writes."""
    checks = device["checks"]
    if device["differ"] or any(check["stale"] or check["lost-status"] for check in checks):
        return "STALE"
    if any(check["result"] != "ok" for check in checks):
        return "FAILED"
    moved = device["descs_during"] and device["bytes_during"] and device["bytes_after"]
    return "OK" if moved else "FAILED"


def judge(result):
    """One word and, unless it is OK, what it rests on."""
    stale = [d["kind"] for d in result["devices"] if d["verdict"] == "STALE"]
    failed = [d["kind"] for d in result["devices"] if d["verdict"] == "FAILED"]
    if result["differ"] or stale:
        return "STALE", (f"{result['differ']} pages differ from the source's; devices whose "
                         f"writes were lost: {', '.join(stale) or 'none'}")
    if failed:
        return "FAILED", f"no page is stale, but nothing is proved for: {', '.join(failed)}"
    if result["tracker"] == "none":
        return "FAILED", "QEMU used no tracker"
    if not result["pages_reported"]:
        return "FAILED", "no page was reported: nothing was proved"
    return "OK", ""


def table(result):
    bits = {"none": "", "noflush": "  (broken on purpose: IOTLB not flushed after clearing)",
            "mute": "  (broken on purpose: the tracker misses every write)"}[result["broken"]]
    rows = [
        ("IOMMU", f"simulated, format {result['format']}, {result['leaf']} leaves{bits}"),
        ("tracker QEMU used", result["tracker"]),
        ("precopy rounds", result["rounds"]),
        ("pages reported dirty", f"{result['pages_reported']} in {result['reads']} reads"),
        ("bytes sent", f"{result['bytes_sent']} ({result['bytes_sent'] / 2**20:.1f} MiB)"),
        ("downtime", f"{result['downtime_ms']} ms"),
        ("total time", f"{result['total_ms']} ms"),
        ("memories compared", f"{result['differ']} of {result['pages_compared']} pages differ"),
    ]
    for device in result["devices"]:
        stale = ", ".join(str(check["stale"]) for check in device["checks"])
        rows += [
            (f"device '{device['kind']}'", "writes are known by " + KINDS[device["kind"]][0]),
            ("  DMA meanwhile", f"{device['descs_during']} descriptors, "
                                f"{device['bytes_during'] / 2**20:.1f} MiB written"),
            ("  pages", f"{device['differ']} differ, guest finds {stale} of "
                        f"{device['checks'][0]['pages']} stale"),
            ("  verdict", device["verdict"]),
        ]
    rows.append(("verdict", result["verdict"] + (": " + result["why"] if result["why"] else "")))
    print()
    for name, value in rows:
        print(f"  {name:<22} {value}")
    print(flush=True)


def device_list(text):
    kinds = text.split(",")
    if len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of {', '.join(KINDS)}, each once")
    return kinds


def show_kernel_log():
    """Whoever killed a QEMU said so there."""
    lines = subprocess.run(["dmesg"], capture_output=True, text=True,
                           check=False).stdout.splitlines()
    for line in lines[-8:]:
        progress(f"kernel: {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", help="bzImage for the guest",
                        default=os.environ.get("TESTBED_ROOT", "") + "/bzImage")
    parser.add_argument("--initrd", required=True, help="its initramfs")
    parser.add_argument("--format", choices=("vtdss", "amdv1", "x86_64"), default="vtdss")
    parser.add_argument("--leaf", choices=("4k", "2m"), default="4k")
    parser.add_argument("--devices", type=device_list, default=["iommu"],
                        help="of " + ", ".join(KINDS))
    parser.add_argument("--break", dest="broken", choices=["none", *BROKEN], default="none")
    parser.add_argument("--force", action="store_true",
                        help="migrate although QEMU refuses, and say why it does")
    parser.add_argument("--json", help="write the figures there, too")
    parser.add_argument("--logs", default=os.environ.get("SCRATCH", "/tmp"))
    args = parser.parse_args()
    if args.broken != "none" and BROKEN[args.broken] not in args.devices:
        parser.error(f"--break {args.broken} is for the device '{BROKEN[args.broken]}'")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))

    result, errors = None, []
    for attempt in range(1, ATTEMPTS + 1):
        logs = (f"{args.logs}/{'+'.join(args.devices)}-{args.format}-{args.leaf}-"
                f"{args.broken}-{attempt}")
        os.makedirs(logs, exist_ok=True)
        try:
            with contextlib.ExitStack() as cleanup:
                steady_clock()
                load_simulator()
                result = scenario(args, logs, cleanup)
            break
        except Stall as e:
            errors.append(str(e))
            show_kernel_log()
            if attempt < ATTEMPTS:
                progress(f"STALLED: {e}; logs: {logs}; the whole migration is tried again")
                time.sleep(PAUSE)
        except Failure as e:
            errors.append(str(e))
            break
    if not result:
        print(f"demo: {errors[-1]}; logs: {logs}", file=sys.stderr)
        result = {"verdict": "FAILED", "why": errors.pop(), "format": args.format,
                  "leaf": args.leaf, "broken": args.broken}
    else:
        table(result)
        if result["verdict"] != "OK":
            print(f"demo: logs: {logs}", file=sys.stderr)
    result["attempts"], result["stalled"] = attempt, errors
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
    return {"OK": 0, "STALE": 1}.get(result["verdict"], 2)


if __name__ == "__main__":
    sys.exit(main())
