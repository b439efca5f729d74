#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Print what became of each device of one guest, on our kernel and on the base.

compare.py OURS.json BASE.json
"""
import json
import sys


def load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {"verdict": "FAILED", "why": "it did not come to its end"}


def fate(result, kind):
    for device in result.get("devices", ()):
        if device["kind"] == kind:
            return (f"{device['verdict']}: {device['differ']} pages differ, "
                    f"{device['checks'][0]['stale']} stale to the guest")
    return f"{result['verdict']}: {result.get('why', '')}"


def main():
    ours, base = load(sys.argv[1]), load(sys.argv[2])
    kinds = [d["kind"] for d in (ours.get("devices") or base.get("devices") or ())]
    rows = [("", "this kernel", "base kernel"),
            ("QEMU, as it is", "migrates" if ours.get("devices") else "?",
             "refuses" if base.get("refused") else
             "migrates" if base.get("devices") else "?"),
            ("QEMU, forced", "-", "migrates" if base.get("devices") else "?")]
    rows += [(f"device '{kind}'", fate(ours, kind), fate(base, kind)) for kind in kinds]
    rows.append(("verdict", ours["verdict"], base["verdict"]))
    width = [max(len(row[i]) for row in rows) + 2 for i in range(2)]
    print()
    for row in rows:
        print(f"  {row[0]:<{width[0]}}{row[1]:<{width[1]}}{row[2]}")
    for why in base.get("refused") or ():
        print(f"\n  why QEMU refuses on the base: {why}", end="")
    print("\n", flush=True)


if __name__ == "__main__":
    main()
