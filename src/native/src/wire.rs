//! The wire contract (bpf/include/events.h) as Rust sees it: types generated from the object's BTF, and the
//! one place that reads them out of raw bytes.

#[allow(missing_docs, clippy::all, unused_qualifications, dead_code)]
pub(crate) mod skel {
    include!(concat!(env!("OUT_DIR"), "/capture.skel.rs"));
}

pub use skel::types::{
    close_how, counter, ev_close, ev_exec, ev_hdr, ev_open, ev_segment, event_dir, event_flags,
    event_kind, finding, found, frame_format, overflow_key, overflow_value, stranger, tls_cookie,
    tls_layout, tls_session, verdict,
};

/// A type of the wire contract: integers and arrays of them, any bit pattern is one.
///
/// # Safety
/// Only for `#[repr(C)]` types for which the above holds.
pub unsafe trait Wire: Copy {}
// SAFETY: generated from C structs made of integers.
unsafe impl Wire for ev_hdr {}
// SAFETY: as above.
unsafe impl Wire for ev_open {}
// SAFETY: as above.
unsafe impl Wire for ev_segment {}
// SAFETY: as above.
unsafe impl Wire for ev_close {}
// SAFETY: as above.
unsafe impl Wire for ev_exec {}
// SAFETY: as above.
unsafe impl Wire for finding {}
// SAFETY: as above.
unsafe impl Wire for overflow_key {}
// SAFETY: as above.
unsafe impl Wire for overflow_value {}
// SAFETY: as above.
unsafe impl Wire for tls_layout {}
// SAFETY: as above.
unsafe impl Wire for tls_session {}

/// The value at the start of `bytes`; `None` where they are too short.
pub fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    (bytes.len() >= size_of::<T>()).then(|| {
        // SAFETY: long enough, any bit pattern is valid, and the read needs no alignment.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    })
}

/// The bytes of a value, for map keys.
pub fn bytes_of<T: Wire>(value: &T) -> &[u8] {
    // SAFETY: a Wire type has no padding that was not set by its C initialiser or Default.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
