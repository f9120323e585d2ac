//! Series as Python gets them.

use super::{role, shapes};
use crate::aggregate::{CallSeries, Exemplar, ExponentialBuckets, Histogram, HttpSeries, Owned};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::IntoPyObjectExt;

/// Of HTTP and gRPC, and of all others.
pub(super) type Read<'py> = (Vec<Bound<'py, PyAny>>, Vec<Bound<'py, PyAny>>);

pub(super) fn read(
    py: Python<'_>,
    series: Vec<HttpSeries>,
    calls: Vec<CallSeries>,
) -> PyResult<Read<'_>> {
    let series = series.into_iter().map(|one| http(py, one));
    let calls = calls.into_iter().map(|one| call(py, one));
    Ok((
        series.collect::<PyResult<_>>()?,
        calls.collect::<PyResult<_>>()?,
    ))
}

fn http(py: Python<'_>, s: HttpSeries) -> PyResult<Bound<'_, PyAny>> {
    let fields = tuple!(
        py,
        s.process_key,
        role(s.role),
        s.start_unix_ns,
        s.rpc_system,
        &*s.rpc_method,
        &*s.rpc_status,
        s.method,
        s.scheme,
        &*s.route,
        s.status,
        &*s.error_type,
        s.protocol_version,
        &*s.server_address,
        s.server_port,
        s.overflow,
        histogram(py, s.duration)?,
        optional(py, s.request_body, histogram)?,
        optional(py, s.response_body, histogram)?,
    );
    shapes::http_series(py, fields)
}

fn call(py: Python<'_>, s: CallSeries) -> PyResult<Bound<'_, PyAny>> {
    let attributes = PyDict::new(py);
    for (name, value) in s.attributes {
        match value {
            Owned::Text(text) => attributes.set_item(name, &*text)?,
            Owned::Int(number) => attributes.set_item(name, number)?,
        }
    }
    let fields = tuple!(
        py,
        s.process_key,
        s.area,
        role(s.role),
        s.system,
        &*s.name,
        &*s.error_type,
        s.start_unix_ns,
        attributes,
        s.overflow,
        histogram(py, s.duration)?,
        s.messages,
    );
    shapes::call_series(py, fields)
}

fn histogram(py: Python<'_>, h: Histogram) -> PyResult<Bound<'_, PyAny>> {
    let exponential = optional(py, h.exponential, exponential)?;
    let exemplars = h.exemplars.into_iter().map(|one| exemplar(py, one));
    let exemplars = exemplars.collect::<PyResult<Vec<_>>>()?;
    shapes::histogram(
        py,
        tuple!(
            py,
            h.count,
            h.sum,
            h.min,
            h.max,
            h.buckets,
            exponential,
            exemplars
        ),
    )
}

fn exponential(py: Python<'_>, e: ExponentialBuckets) -> PyResult<Bound<'_, PyAny>> {
    shapes::exponential(py, tuple!(py, e.scale, e.zero_count, e.offset, e.counts))
}

fn exemplar(py: Python<'_>, e: Exemplar) -> PyResult<Bound<'_, PyAny>> {
    let ids = e.span.as_ref();
    let (trace_id, span_id) = ids.map_or((&[][..], &[][..]), |(trace, span)| (trace, span));
    let ids = (PyBytes::new(py, trace_id), PyBytes::new(py, span_id));
    shapes::exemplar(py, tuple!(py, e.value, e.time_unix_ns, ids.0, ids.1))
}

fn optional<'py, T>(
    py: Python<'py>,
    value: Option<T>,
    make: impl FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    value.map_or_else(|| Ok(py.None().into_bound(py)), |value| make(py, value))
}
