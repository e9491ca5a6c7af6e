"""What a process can find out about its own machine: files, the kernel, the disk of the log, certificates."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from trunkline.core.finding import Finding, ok

SPARE_FILES = 128  # as the server leaves: the log, the listener, Redis
BACKLOG_MIN = 1024
DISK_MIN_BYTES = 1024 * 1024 * 1024
CERTIFICATE_MIN_DAYS = 14
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.s3fs"}
_DAY_S = 86_400

Read = Callable[[str], str | None]
"""Returns what stands in a file of /proc; None if it is not there."""


def read_file(path: str) -> str | None:
    """Return what stands in a file, without white space around it; None if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text("utf-8").strip()
    return None


def machine_findings(
    connections_max: int, location: str | None, *, read: Read = read_file, files: int | None = None
) -> Iterator[Finding]:
    """Iterate over findings about this machine.

    Args:
        connections_max: How many connections the server takes.
        location: The file of a SQLite log; None for another one.
        read: Reads files of /proc.
        files: How many files a process may open; by default it is asked.
    """
    yield _open_files(connections_max, files or resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield from _kernel(connections_max, read)
    if location is not None:
        yield from log_findings(Path(location), read=read)


def _open_files(connections_max: int, files: int) -> Finding:
    what, wanted = "open files", connections_max + SPARE_FILES
    if files >= wanted:
        return ok(what, f"{files}, enough for {connections_max} connections")
    return Finding(
        "warning",
        what,
        f"a process may open {files}: that many connections, and not {connections_max}",
        f"raise it: `ulimit -n {wanted}`, LimitNOFILE={wanted} in a unit of systemd, or more workers",
    )


def _kernel(connections_max: int, read: Read) -> Iterator[Finding]:
    backlog = read("/proc/sys/net/core/somaxconn")
    if backlog is not None and int(backlog) < BACKLOG_MIN:
        yield Finding(
            "warning",
            "net.core.somaxconn",
            f"{backlog}: of many clients that come back at once, the kernel turns some away",
            f"sysctl -w net.core.somaxconn={4 * BACKLOG_MIN}",
        )
    elif backlog is not None:
        yield ok("net.core.somaxconn", backlog)
    tracked = read("/proc/sys/net/netfilter/nf_conntrack_max")
    if tracked is not None and int(tracked) < 2 * connections_max:
        yield Finding(
            "warning",
            "net.netfilter.nf_conntrack_max",
            f"{tracked}: the firewall drops packets when it follows more connections",
            f"sysctl -w net.netfilter.nf_conntrack_max={4 * connections_max}",
        )
    clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if clock == "hpet":
        yield Finding(
            "warning",
            "clock source",
            "hpet: it is asked several times for each message, and slow",
            "use tsc or kvm-clock",
        )


def log_findings(log: Path, *, read: Read = read_file) -> Iterator[Finding]:
    """Iterate over findings about the file of a SQLite log."""
    folder = log.resolve().parent
    if not folder.is_dir():
        yield Finding("fault", "the log's folder", f"{folder} is not there", "make it, or set `store` to another path")
        return
    kind = _file_system(folder, read("/proc/mounts") or "")
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "fault",
            "the log's file system",
            f"{kind}: locks and memory maps do not work over a network as SQLite needs them",
            "put the log on a disk of this machine, or use Redis for several",
        )
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        yield Finding("fault", "the log's disk", "it is read-only", "mount it so that it can be written to")
    elif free < DISK_MIN_BYTES:
        text = f"{free // 2**20} MiB are free: when none are, nothing can be published"
        yield Finding("warning", "the log's disk", text, "free some space, or keep less (`retention`)")
    else:
        yield ok("the log's disk", f"{free // 2**20} MiB free" + (f" on {kind}" if kind else ""))
    if not os.access(folder, os.W_OK):
        yield Finding(
            "fault", "the log's folder", f"{folder} cannot be written to", "give it to the user of the server"
        )
    if log.exists():
        mode = log.stat().st_mode & 0o077
        if mode:
            yield Finding("warning", "the log's file", f"other users may use it ({mode:03o})", f"chmod 600 {log}")
        if log.stat().st_nlink > 1:
            yield Finding(
                "fault",
                "the log's file",
                "it has a second name, under which another process may write to it",
                "remove that",
            )


def _file_system(folder: Path, mounts: str) -> str | None:
    best, kind = "", None
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) >= 3 and folder.is_relative_to(parts[1]) and len(parts[1]) > len(best):
            best, kind = parts[1], parts[2]
    return kind


def certificate_finding(pem: bytes, what: str, now_s: float | None = None) -> Finding:
    """Return a finding about a certificate: whether it is over, or soon will be.

    Args:
        pem: The certificate, or a chain whose first one it is.
        now_s: Seconds since 1970 UTC.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        return Finding("fault", what, f"it is no certificate: {error}", "give the certificate chain as PEM")
    days = (certificate.not_valid_after_utc.timestamp() - (now_s or time.time())) / _DAY_S
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    if days < 0:
        return Finding("fault", what, f"it is over since {until}", "renew it, and restart the server")
    if days < CERTIFICATE_MIN_DAYS:
        return Finding(
            "warning", what, f"it is over in {days:.0f} days, on {until}", "renew it, and restart the server"
        )
    return ok(what, f"good until {until}")
