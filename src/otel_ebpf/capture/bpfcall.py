"""Two questions to bpf(2) that the preflight asks directly, because it must answer where the native core cannot load.

Structures: include/uapi/linux/bpf.h, union bpf_attr and struct bpf_prog_info.
"""

import ctypes
import errno
import os
import platform

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}

_MAP_CREATE, _PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD = 0, 11, 13, 15
_MAP_TYPE_RINGBUF = 27
# kprobe, tracepoint, perf_event, raw_tracepoint, raw_tracepoint_writable, tracing, lsm
_TRACING_TYPES = frozenset({2, 5, 7, 17, 24, 26, 29})


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


class _ById(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint32), ("next_id", ctypes.c_uint32), ("open_flags", ctypes.c_uint32))


class _InfoByFd(ctypes.Structure):
    _fields_ = (("bpf_fd", ctypes.c_uint32), ("info_len", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _ProgInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_len", ctypes.c_uint32),
        ("xlated_len", ctypes.c_uint32),
        ("jited_insns", ctypes.c_uint64),
        ("xlated_insns", ctypes.c_uint64),
        ("load_time_ns", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    )


def _bpf(command: int, attr: ctypes.Structure) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) on {platform.machine()}")
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, command, ctypes.byref(attr), ctypes.sizeof(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def try_ring(size_bytes: int) -> None:
    """Creates a ring buffer of that size and lets it go again; OSError where the kernel refuses."""
    os.close(_bpf(_MAP_CREATE, _MapCreate(_MAP_TYPE_RINGBUF, 0, 0, size_bytes, 0)))


def tracing_programs() -> list[str]:
    """Names of the loaded BPF programs that trace (not those of cgroups or networking); needs CAP_SYS_ADMIN."""
    names: list[str] = []
    cursor = _ById()
    while True:
        try:
            _bpf(_PROG_GET_NEXT_ID, cursor)
        except FileNotFoundError:
            return names
        cursor.id = cursor.next_id
        try:
            fd = _bpf(_PROG_GET_FD_BY_ID, _ById(cursor.next_id))
        except FileNotFoundError:
            continue  # unloaded meanwhile
        try:
            info = _ProgInfo()
            _bpf(_OBJ_GET_INFO_BY_FD, _InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))
        finally:
            os.close(fd)
        if info.type in _TRACING_TYPES:
            names.append(info.name.decode(errors="replace"))
