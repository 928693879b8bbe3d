"""The system call filter, interpreted as the kernel does, for both architectures."""

from __future__ import annotations

import struct
from errno import ENOSYS, EPERM

import pytest

from loraform_verifier.sandbox import launcher

ALLOW, KILL = launcher.ALLOW, launcher.KILL_PROCESS


def decide(machine: str, number: int, first_argument: int = 0, architecture: int | None = None) -> int:
    """Run the filter on one system call and return what the kernel would do."""
    if architecture is None:
        architecture = launcher.ARCHITECTURES[machine][0]
    data = struct.pack("<IIQ6Q", number, architecture, 0, first_argument, 0, 0, 0, 0, 0)
    program = [struct.unpack("HBBI", code) for code in batched(launcher.filter_program(machine))]
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        match code:
            case launcher.RETURN:
                return k
            case launcher.LOAD:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case launcher.JUMP_EQUAL:
                at += if_true if accumulator == k else if_false
            case launcher.JUMP_ABOVE:
                at += if_true if accumulator >= k else if_false
            case launcher.JUMP_BITS:
                at += if_true if accumulator & k else if_false
            case _:
                raise AssertionError(code)


def batched(program: bytes) -> list[bytes]:
    return [program[start : start + 8] for start in range(0, len(program), 8)]


@pytest.fixture(params=sorted(launcher.ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_sockets_are_unix_or_refused(machine: str) -> None:
    calls = launcher.ARCHITECTURES[machine][2]
    for name in ("socket", "socketpair"):
        assert decide(machine, calls[name], 1) == ALLOW
        for family in (0, 2, 10, 16, 17, 38, 40):
            assert decide(machine, calls[name], family) == launcher.ERRNO | EPERM
        # The kernel takes an int: what a caller puts above its 32 bits changes nothing.
        assert decide(machine, calls[name], 1 << 32 | 2) == launcher.ERRNO | EPERM


def test_threads_start_and_namespaces_do_not(machine: str) -> None:
    calls = launcher.ARCHITECTURES[machine][2]
    assert decide(machine, calls["clone"], 0x003D0F00) == ALLOW
    assert decide(machine, calls["clone"], 0x10000000) == launcher.ERRNO | EPERM
    assert decide(machine, calls["clone3"]) == launcher.ERRNO | ENOSYS


def test_every_listed_call_is_refused_and_others_pass(machine: str) -> None:
    calls = launcher.ARCHITECTURES[machine][2]
    judged = {"socket", "socketpair", "clone", "clone3"}
    for name, number in calls.items():
        if name not in judged:
            assert decide(machine, number) == launcher.ERRNO | EPERM, name
    for number in set(range(400)) - set(calls.values()):
        assert decide(machine, number) == ALLOW


def test_other_architectures_are_killed(machine: str) -> None:
    assert decide(machine, 0, architecture=0x40000003) == KILL  # i386 by int 0x80


def test_x32_calls_are_killed() -> None:
    assert decide("x86_64", 0x40000000 | 41, 2) == KILL


def test_tables_name_the_same_calls() -> None:
    only_x86 = {"iopl", "ioperm", "modify_ldt"}
    assert launcher.X86_64.keys() - launcher.AARCH64.keys() == only_x86
    assert not launcher.AARCH64.keys() - launcher.X86_64.keys()


def test_jumps_fit_and_the_program_is_short() -> None:
    for name in launcher.ARCHITECTURES:
        assert len(launcher.filter_program(name)) // 8 < 4096
    with pytest.raises(KeyError):
        launcher.filter_program("riscv64")


def test_an_unknown_machine_is_refused_before_anything_is_set() -> None:
    with pytest.raises(OSError, match="no system call table for machine 'riscv64'"):
        launcher.install_filter("riscv64")
