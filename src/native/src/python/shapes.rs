//! Named tuples, as Python gets what the core tells.
#![allow(non_snake_case)]

use super::NativeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

macro_rules! named_tuples {
    ($($name:ident: $fields:literal;)*) => {
        struct Shapes { $($name: Py<PyAny>,)* }
        static SHAPES: PyOnceLock<Shapes> = PyOnceLock::new();
        impl Shapes {
            fn make(m: &Bound<'_, PyModule>) -> PyResult<Self> {
                let namedtuple = m.py().import("collections")?.getattr("namedtuple")?;
                let kwargs = PyDict::new(m.py());
                kwargs.set_item("module", "otel_ebpf._native")?;
                $(
                    let $name = namedtuple.call((stringify!($name), $fields), Some(&kwargs))?;
                    m.add(stringify!($name), &$name)?;
                )*
                Ok(Self { $($name: $name.unbind(),)* })
            }
        }
    };
}

named_tuples! {
    Process: "key tgid ppid uid start_boottime_ns cgroup_id comm args";
    Line: "process_key role start_unix_ns duration_ns system summary query code client server method target \
           route status \
           rpc_method rpc_status request_messages response_messages error_type request_body_bytes \
           response_body_bytes trace_id span_id";
    Histogram: "count sum min max buckets exponential exemplars";
    Exemplar: "value time_unix_ns trace_id span_id";
    Exponential: "scale zero_count offset counts";
    HttpSeries: "process_key role start_unix_ns rpc_system rpc_method rpc_status method scheme route status \
                 error_type protocol_version server_address server_port overflow duration request_body \
                 response_body";
    CallSeries: "process_key area role system name error_type start_unix_ns attributes overflow duration \
                 messages";
    ActiveSeries: "process_key method scheme value";
    SpanBatch: "process_key count spans";
    ProgramStats: "name hook run_count run_time_ns missed";
    MapCost: "name type memory_bytes";
}

pub(super) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let made = Shapes::make(m)?;
    // a second import finds them made
    let _ = SHAPES.set(m.py(), made);
    Ok(())
}

macro_rules! maker {
    ($($fn:ident => $name:ident),*) => {
        $(pub(super) fn $fn<'py>(py: Python<'py>, fields: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
            let shapes = SHAPES.get(py).ok_or_else(|| NativeError::new_err("module not initialised"))?;
            shapes.$name.bind(py).call1(fields)
        })*
    };
}
maker!(process => Process, line => Line, histogram => Histogram, exponential => Exponential,
       exemplar => Exemplar, http_series => HttpSeries, call_series => CallSeries,
       active_series => ActiveSeries, span_batch => SpanBatch, program_stats => ProgramStats,
       map_cost => MapCost);
