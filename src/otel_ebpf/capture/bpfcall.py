"""Questions to bpf(2) that `check` asks directly, because it must answer where the native core cannot load.

Structures: include/uapi/linux/bpf.h, union bpf_attr, struct bpf_prog_info and struct bpf_link_info.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}

_MAP_CREATE, _PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD = 0, 11, 13, 15
_LINK_GET_FD_BY_ID, _LINK_GET_NEXT_ID = 30, 31
_LINK_PERF_EVENT, _LINK_UPROBE_MULTI = 7, 12
_PERF_UPROBES = (1, 2)  # uprobe, uretprobe
_PATH_MAX = 4096
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


class _UprobeMulti(ctypes.Structure):
    _fields_ = (
        ("path", ctypes.c_uint64),
        ("offsets", ctypes.c_uint64),
        ("ref_ctr_offsets", ctypes.c_uint64),
        ("cookies", ctypes.c_uint64),
        ("path_size", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
    )


class _PerfEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("file_name", ctypes.c_uint64),
        ("name_len", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("cookie", ctypes.c_uint64),
    )


class _LinkDetail(ctypes.Union):
    _fields_ = (("multi", _UprobeMulti), ("perf", _PerfEvent), ("room", ctypes.c_uint8 * 128))


class _LinkInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("detail", _LinkDetail),
    )


@dataclass(frozen=True, slots=True)
class Uprobes:
    """Where in a file a BPF program is attached right now. `path` is as the kernel calls the file."""

    program: str
    path: str
    offsets: tuple[int, ...]


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
    programs = (_program(fd) for fd in _each(_PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID))
    return [_name(program) for program in programs if program.type in _TRACING_TYPES]


def uprobes() -> list[Uprobes]:
    """All uprobes of all BPF programs, as far as the kernel tells where they are (6.6; of many at once 6.8).

    Raises OSError; needs CAP_SYS_ADMIN.
    """
    found = []
    for fd in _each(_LINK_GET_NEXT_ID, _LINK_GET_FD_BY_ID):
        info, path = _LinkInfo(), ctypes.create_string_buffer(_PATH_MAX)
        _ask_link(fd, info)
        offsets: tuple[int, ...] = ()
        if info.type == _LINK_UPROBE_MULTI:
            places = (ctypes.c_uint64 * info.detail.multi.count)()
            info.detail.multi.path, info.detail.multi.path_size = ctypes.addressof(path), _PATH_MAX
            info.detail.multi.offsets, info.detail.multi.count = ctypes.addressof(places), len(places)
            _ask_link(fd, info)
            offsets = tuple(places)
        elif info.type == _LINK_PERF_EVENT and info.detail.perf.type in _PERF_UPROBES:
            info.detail.perf.file_name, info.detail.perf.name_len = ctypes.addressof(path), _PATH_MAX
            _ask_link(fd, info)
            offsets = (info.detail.perf.offset,)
        if offsets and path.value:
            found.append(Uprobes(_program_name(info.prog_id), os.fsdecode(path.value), offsets))
    return found


def _ask_link(fd: int, info: _LinkInfo) -> None:
    _bpf(_OBJ_GET_INFO_BY_FD, _InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))


def _program_name(number: int) -> str:
    try:
        fd = _bpf(_PROG_GET_FD_BY_ID, _ById(number))
    except FileNotFoundError:
        return ""  # unloaded meanwhile
    try:
        return _name(_program(fd))
    finally:
        os.close(fd)


def _name(program: _ProgInfo) -> str:
    name: bytes = program.name
    return name.decode(errors="replace")


def _program(fd: int) -> _ProgInfo:
    info = _ProgInfo()
    _bpf(_OBJ_GET_INFO_BY_FD, _InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))
    return info


def _each(next_id: int, fd_by_id: int) -> Iterator[int]:
    """A descriptor of each one, open until the next is asked for."""
    cursor = _ById()
    while True:
        try:
            _bpf(next_id, cursor)
        except FileNotFoundError:
            return
        cursor.id = cursor.next_id
        try:
            fd = _bpf(fd_by_id, _ById(cursor.next_id))
        except FileNotFoundError:
            continue  # gone meanwhile
        try:
            yield fd
        finally:
            os.close(fd)
