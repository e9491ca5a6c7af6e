"""What a process finds about its machine, when the machine is not as it should be."""

import datetime as dt
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trunkline.admin.doctor import certificate_finding, log_findings, machine_findings
from trunkline.core.finding import Finding

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.level for finding in findings}


def certificate(days: float) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rooms.example.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(days=400))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_a_machine_that_is_well() -> None:
    kernel = {"/proc/sys/net/core/somaxconn": "4096", "/proc/sys/net/netfilter/nf_conntrack_max": "1000000"}
    found = list(machine_findings(10_000, None, read=kernel.get, files=1_000_000))
    assert levels(found) == {"open files": "ok", "net.core.somaxconn": "ok"}


def test_a_machine_that_is_not() -> None:
    """Each finding says what to do."""
    kernel = {
        "/proc/sys/net/core/somaxconn": "128",
        "/proc/sys/net/netfilter/nf_conntrack_max": "1000",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
    }
    found = list(machine_findings(10_000, None, read=kernel.get, files=1024))
    assert set(levels(found).values()) == {"warning"}
    assert len(found) == 4
    assert all(finding.advice for finding in found)
    assert "10128" in found[0].advice


def test_the_folder_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    log.touch(mode=0o600)
    assert set(levels(list(log_findings(log))).values()) <= {"ok", "warning"}
    log.chmod(0o644)
    os.link(log, tmp_path / "second.db")
    found = [finding for finding in log_findings(log) if finding.what == "the log's file"]
    assert [finding.level for finding in found] == ["warning", "fault"]
    assert levels(list(log_findings(tmp_path / "nowhere" / "log.db"))) == {"the log's folder": "fault"}
    mounts = {"/proc/mounts": f"server:/x {tmp_path.resolve()} nfs4 rw 0 0\n/dev/a / ext4 rw 0 0"}
    assert levels(list(log_findings(log, read=mounts.get)))["the log's file system"] == "fault"


def test_certificates() -> None:
    now_s = NOW.timestamp()
    assert certificate_finding(certificate(60), "c", now_s).level == "ok"
    assert certificate_finding(certificate(5), "c", now_s).level == "warning"
    assert certificate_finding(certificate(-1), "c", now_s).level == "fault"
    assert certificate_finding(b"nonsense", "c", now_s).level == "fault"
