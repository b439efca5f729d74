# SPDX-License-Identifier: GPL-2.0
"""One QEMU: its process, its monitor and its guest's console.

Every wait here has a limit and ends at once when the QEMU is gone.
"""
import contextlib
import json
import re
import socket
import subprocess
import threading
import time


class Stall(Exception):
    """A QEMU or its guest went silent or away: worth one more try."""


class Failure(Exception):
    """Something that trying again does not mend."""


def connect(path, limit, alive):
    """A connection to a unix socket that somebody is about to create."""
    end = time.monotonic() + limit
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
        alive()
        if time.monotonic() > end:
            raise Stall(f"nobody listens on {path} after {limit} s")
        time.sleep(0.05)


class Monitor:
    """QMP, one command at a time.

    Of events only one matters, that of a guest that ended: it says why.  gone()
    tells what became of a QEMU that closed its monitor.
    """

    def __init__(self, sock, name, gone):
        self.name = name
        self.sock = sock
        self.gone = gone
        self.shutdown = None
        self.doing = "the greeting"
        self.file = sock.makefile("rw")
        self.sock.settimeout(60)
        self._read()
        self("qmp_capabilities")

    def _closed(self):
        return Stall(f"{self.name}: closed its monitor at {self.doing}; {self.gone()}")

    def drain(self):
        """What it said before it went, and nobody has read."""
        with contextlib.suppress(OSError, ValueError):
            self.sock.settimeout(1)
            for line in self.file:
                self._note(json.loads(line))

    def _note(self, answer):
        if answer.get("event") == "SHUTDOWN":
            self.shutdown = answer.get("data", {}).get("reason", "no reason given")

    def _read(self):
        try:
            line = self.file.readline()
        except TimeoutError as e:
            raise Stall(f"{self.name}: no answer from its monitor to {self.doing}") from e
        except OSError as e:
            raise self._closed() from e
        if not line:
            raise self._closed()
        answer = json.loads(line)
        self._note(answer)
        return answer

    def __call__(self, command, **arguments):
        self.doing = command
        try:
            self.file.write(json.dumps({"execute": command,
                                        "arguments": arguments}) + "\n")
            self.file.flush()
        except OSError as e:
            raise self._closed() from e
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Failure(f"{self.name}: {command}: {answer['error']['desc']}")


class Console:
    """The guest's serial line: a thread collects what it says."""

    def __init__(self, sock):
        self.sock = sock
        self.lines = []
        self.changed = threading.Condition()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        with self.sock.makefile("r", errors="replace") as stream:
            try:
                for line in stream:
                    with self.changed:
                        self.lines.append(line.strip())
                        self.changed.notify_all()
            except OSError:
                pass

    def say(self, line):
        try:
            self.sock.sendall(line.encode() + b"\n")
        except OSError as e:
            raise Stall("the guest's console is gone") from e

    def mark(self):
        with self.changed:
            return len(self.lines)

    def find(self, pattern, since=0):
        with self.changed:
            return [m for m in map(re.compile(pattern).search, self.lines[since:]) if m]


class Vm:
    def __init__(self, name, scratch, arguments):
        self.name = name
        self.log = f"{scratch}/{name}.log"
        self.trace = f"{scratch}/{name}.trace"
        console = f"{scratch}/{name}.console"
        qmp, serial = f"/tmp/{name}.qmp", f"/tmp/{name}.serial"
        command = [
            "setpriv", "--pdeathsig", "KILL",
            "qemu-system-x86_64", "-name", name, "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot",
            "-chardev", f"socket,id=serial,path={serial},server=on,wait=off,logfile={console}",
            "-serial", "chardev:serial",
            "-qmp", f"unix:{qmp},server=on,wait=off",
            "-D", self.trace] + arguments
        with open(self.log, "w") as log:
            log.write(" ".join(command) + "\n")
            log.flush()
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        self.console = self.qmp = None
        try:
            self.console = Console(connect(serial, 60, self.alive))
            self.qmp = Monitor(connect(qmp, 60, self.alive), name, self.gone)
        except BaseException:
            self.kill()
            raise

    def alive(self):
        if self.process.poll() is not None:
            raise Stall(f"{self.name}: {self.gone()}")

    def gone(self):
        """The last that is known of a QEMU that went away, or is about to.

        On its way out it gives back what its devices had mapped, which takes a while.
        """
        if self.qmp:
            self.qmp.drain()
        try:
            fate = f"QEMU ended with status {self.process.wait(20)}"
        except subprocess.TimeoutExpired:
            fate = "QEMU goes on, or hangs in its end"
        why = f" ({self.qmp.shutdown})" if self.qmp and self.qmp.shutdown else ""
        return (f"{fate}{why}, its last words: {self.last_words()}; "
                f"the guest's: {self.last_line()}")

    def last_words(self):
        with open(self.log, errors="replace") as log:
            lines = log.read().splitlines()[1:]
        return lines[-1] if lines else "none"

    def last_line(self):
        said = [line for line in self.console.lines if line] if self.console else []
        return said[-1] if said else "none"

    def hear(self, pattern, limit, since=0):
        """Wait for a line of the guest; its own word of an error ends the wait."""
        end = time.monotonic() + limit
        console = self.console
        while True:
            found = console.find(pattern, since)
            if found:
                return found[0]
            error = console.find(r"(?:DSIM|NIC): error (.*)|(Kernel panic.*)", since)
            if error:
                raise Failure(f"{self.name}: the guest says: {error[0].group(0)}")
            self.alive()
            if time.monotonic() > end:
                raise Stall(f"{self.name}: no '{pattern}' from the guest in {limit} s; "
                            f"its last line: {self.last_line()}")
            with console.changed:
                console.changed.wait(0.2)

    def ask(self, command, pattern, limit):
        mark = self.console.mark()
        self.console.say(command)
        return self.hear(pattern, limit, mark)

    def kill(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
