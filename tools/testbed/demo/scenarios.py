#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run several migrations in one boot of the test machine; print TAP.

scenarios.py FIRST INITRD NAME...   with NAME as DEVICE[+DEVICE...]-FORMAT-LEAF[-FAULT]
"""
import json
import os
import subprocess
import sys

LIMIT = 700                     # seconds, for all attempts at a migration
HERE = os.path.dirname(os.path.abspath(__file__))


def migrate(name, initrd, base):
    """(exit status, figures) of one run of migrate.py"""
    devices, form, leaf, *broken = name.split("-")
    command = [sys.executable, "-B", f"{HERE}/migrate.py", "--initrd", initrd,
               "--devices", devices.replace("+", ","), "--format", form, "--leaf", leaf, "--json", base + ".json"]
    if broken:
        command += ["--break", broken[0]]
    with open(base + ".out", "w") as out, \
         subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.terminate()         # it takes its QEMUs and devices with it
            status = -1
    try:
        with open(base + ".json") as f:
            return status, json.load(f)
    except (OSError, ValueError):
        return status, {"verdict": "none"}


def right(name, status, result):
    """Whether every device of the guest fared as it has to."""
    if result["verdict"] in ("none", "FAILED"):
        return False
    hurt = {"noflush": "iommu", "mute": "tracker"}.get(name.split("-")[-1])
    for device in result["devices"]:
        after, later = device["checks"]
        if device["kind"] == hurt:
            # all three proofs must have seen it
            if not (device["verdict"] == "STALE" and device["differ"] and after["stale"]):
                return False
        elif not (device["verdict"] == "OK" and not device["differ"]
                  and later["submitted"] > after["submitted"]):
            return False
    if hurt:
        return status == 1 and result["verdict"] == "STALE"
    return status == 0 and result["verdict"] == "OK" and not result["differ"]


def main():
    number, initrd, names = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    failed = 0
    for name in names:
        base = f"{os.environ['SCRATCH']}/{name}"
        status, result = migrate(name, initrd, base)
        good = right(name, status, result)
        failed += not good
        what = {"noflush": "not flushing is seen to lose pages, of that device",
                "mute": "a tracker that misses writes is seen to lose pages, of that device",
                }.get(name.split("-")[-1], "migrates, every page right")
        print(f"{'' if good else 'not '}ok {number} - demo {name}: {what}", flush=True)
        if result["verdict"] != "none" and "differ" in result:
            print(f"# verdict {result['verdict']}, {result['rounds']} rounds, "
                  f"{result['pages_reported']} pages reported, {result['differ']} differ, "
                  f"downtime {result['downtime_ms']} ms, attempts {result['attempts']}", flush=True)
        for attempt, why in enumerate(result.get("stalled", ()), 1):
            print(f"# attempt {attempt} stalled: {why}", flush=True)
        if not good:
            print(f"# status {status}, {result['verdict']}: {result.get('why', '')}; "
                  f"log: {base}.out, its end:", flush=True)
            with open(base + ".out", errors="replace") as out:
                for line in out.read().splitlines()[-12:]:
                    print(f"#   {line}", flush=True)
        number += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
