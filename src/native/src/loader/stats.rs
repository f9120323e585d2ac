//! Run-time statistics of BPF programs, which cost something while they are on.

use super::{Failure, FailureKind};
use std::os::fd::{FromRawFd, OwnedFd};

/// BPF_STATS_RUN_TIME, for as long as the descriptor is open (kernel 5.8).
pub fn enable() -> Result<OwnedFd, Failure> {
    // SAFETY: no memory is handed over.
    let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
    if fd < 0 {
        let e = std::io::Error::from_raw_os_error(-fd);
        return Err(Failure::new(
            FailureKind::Permission,
            format!("turning on BPF run-time statistics: {e}"),
        ));
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says of a program; zeros where it says nothing.
pub fn program_info(fd: i32) -> libbpf_sys::bpf_prog_info {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` is `len` bytes; without array pointers in it the kernel writes nothing else. On failure it
    // stays zero.
    unsafe { libbpf_sys::bpf_prog_get_info_by_fd(fd, &mut info, &mut len) };
    info
}
