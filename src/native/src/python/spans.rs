//! Encoded spans in Python's hands: taken from the queue, put into requests, never copied.

use crate::aggregate::SpanBytes;
use crate::otlp::{self, Part};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use pyo3::IntoPyObjectExt;
use std::os::raw::c_int;

/// Encoded spans on their way from the queue to a socket, never copied. Their memory goes back to the queue's
/// pool with the last reference, a memoryview's included.
#[pyclass(frozen, module = "otel_ebpf._native")]
pub(super) struct Spans(pub(super) SpanBytes);

#[pymethods]
impl Spans {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes: &[u8] = &slf.get().0;
        // SAFETY: `view` is Python's to fill. It gets a reference to the owner of the bytes, which nobody changes
        // any more; a wish to write is refused.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                bytes.len() as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// What `encode_traces` takes for spans.
#[derive(FromPyObject)]
pub(super) enum SpansArgument {
    Taken(Py<Spans>),
    Bytes(PyBackedBytes),
}

impl SpansArgument {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Taken(spans) => &spans.get().0,
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[pyfunction]
pub(super) fn encode_traces<'py>(
    py: Python<'py>,
    batches: Vec<(PyBackedBytes, SpansArgument)>,
    scope_name: &str,
    scope_version: &str,
    schema_url: &str,
) -> PyResult<(Vec<Bound<'py, PyAny>>, usize)> {
    let borrowed: Vec<(&[u8], &[u8])> = batches.iter().map(|(r, s)| (&r[..], s.bytes())).collect();
    let mut length = 0;
    let mut parts = Vec::new();
    for part in otlp::encode_traces(&borrowed, scope_name, scope_version, schema_url) {
        parts.push(match part {
            Part::Bytes(bytes) => {
                length += bytes.len();
                PyBytes::new(py, &bytes).into_any()
            }
            Part::Run(place) => {
                let spans = &batches[place].1;
                length += spans.bytes().len();
                match spans {
                    SpansArgument::Taken(spans) => spans.bind(py).clone().into_any(),
                    SpansArgument::Bytes(bytes) => bytes.into_bound_py_any(py)?,
                }
            }
        });
    }
    Ok((parts, length))
}

#[pyfunction]
pub(super) fn export_delays(
    py: Python<'_>,
    parts: Vec<SpansArgument>,
    now_unix_ns: u64,
    bounds_s: Vec<f64>,
) -> (u64, f64, Vec<u64>) {
    let borrowed: Vec<&[u8]> = parts.iter().map(SpansArgument::bytes).collect();
    let bounds_ns: Vec<u64> = bounds_s.iter().map(|s| (s * 1e9).round() as u64).collect();
    let found = py.detach(|| otlp::delays(&borrowed, now_unix_ns, &bounds_ns));
    (found.count, found.sum_ns as f64 / 1e9, found.buckets)
}
