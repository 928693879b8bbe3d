"""Launcher of every confined child: limits, no new privileges, Landlock, a seccomp filter, then exec.

It holds system call numbers and assembles the BPF program itself. It runs as a script (`python -I -S launcher.py
STATUS_FD SETTINGS command…`), so it imports only the standard library. If a restriction cannot be set up, it writes the
error to the status pipe, which closes on exec, and runs nothing. Landlock is skipped if the kernel lacks it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
from errno import ENOSYS, EPERM

AF_UNIX = 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SECCOMP_SET_MODE_FILTER = 1
KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16  # offsets in struct seccomp_data (little endian)
X32_BIT = 0x40000000
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

# Landlock: its system calls have the same number on every architecture; each access right is a bit.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 14, 1 << 15
KNOWN_RIGHTS = (0, 13, 14, 15, 15, 16)  # number of rights by ABI version; later versions have the last number or more
SCOPED_SINCE, SCOPE_ABSTRACT_UNIX_SOCKET = 6, 1 << 0
READ = EXECUTE | READ_FILE | READ_DIR
NEVER_WRITABLE = EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE  # the only rights that the kernel accepts for a file
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/proc/self")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

# System calls added since Linux 5.1 have the same number on every architecture.
NEWER = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
}
X86_64 = NEWER | {
    "socket": 41, "socketpair": 53, "clone": 56, "ptrace": 101, "syslog": 103, "setpgid": 109, "setsid": 112,
    "modify_ldt": 154, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166, "swapon": 167,
    "swapoff": 168, "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173, "init_module": 175,
    "delete_module": 176, "quotactl": 179, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "open_by_handle_at": 304, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320,
    "bpf": 321, "userfaultfd": 323,
}  # fmt: skip
AARCH64 = NEWER | {
    "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60, "acct": 89, "unshare": 97,
    "kexec_load": 104, "init_module": 105, "delete_module": 106, "syslog": 116, "ptrace": 117, "reboot": 142,
    "setpgid": 154, "setsid": 157, "sethostname": 161, "socket": 198, "socketpair": 199, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
    "fanotify_init": 262, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
}  # fmt: skip
ARCHITECTURES = {
    # machine: (AUDIT_ARCH, number of seccomp(2), numbers of the filtered calls)
    "x86_64": (0xC000003E, 317, X86_64),
    "aarch64": (0xC00000B7, 277, AARCH64),
}


def instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one BPF instruction (struct sock_filter)."""
    return struct.pack("HBBI", code, if_true, if_false, k)


def refuse(number: int, errno: int) -> list[bytes]:
    """Return instructions that make system call `number` fail with `errno`."""
    return [instruction(JUMP_EQUAL, number, 0, 1), instruction(RETURN, ERRNO | errno)]


def unless_unix(number: int) -> list[bytes]:
    """Return instructions that allow socket or socketpair for AF_UNIX only."""
    return [
        instruction(JUMP_EQUAL, number, 0, 4),
        instruction(LOAD, FIRST_ARGUMENT_AT),
        instruction(JUMP_EQUAL, AF_UNIX, 0, 1),
        instruction(RETURN, ALLOW),
        instruction(RETURN, ERRNO | EPERM),
    ]


def unless_plain_clone(number: int) -> list[bytes]:
    """Return instructions that allow clone, but no new namespaces."""
    return [
        instruction(JUMP_EQUAL, number, 0, 4),
        instruction(LOAD, FIRST_ARGUMENT_AT),
        instruction(JUMP_BITS, NEW_NAMESPACES, 0, 1),
        instruction(RETURN, ERRNO | EPERM),
        instruction(RETURN, ALLOW),
    ]


def filter_program(machine: str) -> bytes:
    """Return the BPF program for a machine; KeyError for one without a table."""
    architecture, _, calls = ARCHITECTURES[machine]
    program = [
        instruction(LOAD, ARCH_AT),
        instruction(JUMP_EQUAL, architecture, 1, 0),
        instruction(RETURN, KILL_PROCESS),
        instruction(LOAD, NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [instruction(JUMP_ABOVE, X32_BIT, 0, 1), instruction(RETURN, KILL_PROCESS)]
    program += unless_unix(calls["socket"]) + unless_unix(calls["socketpair"]) + unless_plain_clone(calls["clone"])
    # clone3 hides its flags in memory; ENOSYS makes every C library and runtime fall back to clone.
    program += refuse(calls["clone3"], ENOSYS)
    for name in sorted(calls.keys() - {"socket", "socketpair", "clone", "clone3"}):
        program += refuse(calls[name], EPERM)
    return b"".join([*program, instruction(RETURN, ALLOW)])


def give_up_privileges() -> None:
    """Die with the verifier, and gain no privileges by exec, which Landlock and seccomp require."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # so a killed verifier leaves no child
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")


def landlock_abi() -> int:
    """Return the Landlock ABI version of this kernel; 0 for none."""
    libc = ctypes.CDLL(None)
    flags = ctypes.c_ulong(CREATE_RULESET_VERSION)
    abi: int = libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_ulong(0), flags)
    return max(0, abi)


def confine_files(abi: int, readable: list[str], writable: list[str]) -> None:
    """Restrict this process and its children to these files and folders. Raises OSError if one is missing.

    Writable files cannot be executed. Processes outside cannot be traced, nor their memory opened.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def landlock(call: int, *arguments: ctypes.c_ulong | bytes) -> int:
        result: int = libc.syscall(ctypes.c_long(call), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"Landlock (system call {call}) failed")
        return result

    all_rights = (1 << KNOWN_RIGHTS[min(abi, len(KNOWN_RIGHTS) - 1)]) - 1
    scope = SCOPE_ABSTRACT_UNIX_SOCKET if abi >= SCOPED_SINCE else 0
    attributes = struct.pack("QQQ", all_rights, 0, scope)
    rules = landlock(CREATE_RULESET, attributes, ctypes.c_ulong(len(attributes)), ctypes.c_ulong(0))
    system = [path for path in SYSTEM if os.path.exists(path)]  # noqa: PTH110 - pathlib is slow to import
    allowed = [(path, READ) for path in (*system, *readable)]
    allowed += [(path, all_rights & ~NEVER_WRITABLE) for path in (*DEVICES, *writable)]
    for path, rights in allowed:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        valid = all_rights if stat.S_ISDIR(os.fstat(descriptor).st_mode) else all_rights & FILE_RIGHTS
        rule = struct.pack("=Qi", rights & valid, descriptor)
        landlock(ADD_RULE, ctypes.c_ulong(rules), ctypes.c_ulong(PATH_BENEATH), rule, ctypes.c_ulong(0))
        os.close(descriptor)
    landlock(RESTRICT_SELF, ctypes.c_ulong(rules), ctypes.c_ulong(0))
    os.close(rules)


def install_filter(machine: str) -> None:
    """Install the filter for this process and its children. Raises OSError if the kernel refuses."""
    if machine not in ARCHITECTURES:
        raise OSError(f"no system call table for machine {machine!r}; known: {', '.join(ARCHITECTURES)}")
    libc = ctypes.CDLL(None, use_errno=True)
    code = filter_program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("H6xQ", len(code) // 8, ctypes.addressof(buffer))
    seccomp = ARCHITECTURES[machine][1]
    if libc.syscall(ctypes.c_long(seccomp), ctypes.c_ulong(SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(0), program):
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER) failed")


def own_threads() -> int:
    """Count the threads of this user, which RLIMIT_NPROC counts too."""
    uid, count = os.getuid(), 0
    parent = str(os.getppid())  # it is undumpable, so root owns its /proc files, but its threads count
    for entry in os.scandir("/proc"):
        try:
            if entry.name == parent or (entry.name.isdigit() and entry.stat().st_uid == uid):
                count += len(os.listdir(f"/proc/{entry.name}/task"))  # noqa: PTH208 - pathlib is slow to import
        except OSError:
            continue  # it ended meanwhile
    return count


def set_limits(limits: dict[str, int]) -> None:
    """Lower this process's limits: `cpu` s; `data`, `address_space`, `fsize` bytes; `nofile`; `nproc` new threads."""
    limits = limits | {"core": 0, "nproc": own_threads() + limits["nproc"]}
    limits["as"] = limits.pop("address_space")
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def main(status_fd: int, settings: str, command: list[str]) -> None:
    """Confine this process and exec `command`; on failure write the error to the status pipe and exit 126."""
    os.set_inheritable(status_fd, False)
    try:
        restrictions = json.loads(settings)
        set_limits(restrictions["limits"])
        give_up_privileges()
        if restrictions["landlock"]:
            confine_files(restrictions["landlock"], [command[0], *restrictions["readable"]], restrictions["writable"])
        if restrictions["filter"]:
            install_filter(platform.machine())
        os.execv(command[0], command)  # noqa: S606 - no shell on purpose
    except Exception as error:  # the parent reports every failure
        os.write(status_fd, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(126)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
