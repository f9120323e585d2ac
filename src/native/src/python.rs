//! The core's Python face, `otel_ebpf._native`; src/otel_ebpf/_native.pyi is its description.

/// A tuple of anything that becomes Python.
macro_rules! tuple {
    ($py:expr, $($field:expr),* $(,)?) => {
        PyTuple::new($py, [$($field.into_py_any($py)?),*])?
    };
}

mod probes;
mod series;
mod shapes;
mod spans;

use probes::{probe, ProbeArgument};
use spans::Spans;

use crate::aggregate::{
    db_bounds_s, Aggregator, ExemplarFilter, Live, Settings, DURATION_BOUNDS_S, SIZE_BOUNDS,
};
use crate::drain::{Drain, Shared};
use crate::exchange::Role;
use crate::loader::{self, stats, Failure, FailureKind, Layout, Options, Probe, Programs};
use crate::privacy::Lists;
use crate::processes::Verdict;
use crate::sampling::{Rule, Strategy};
use crate::stream::Streams;
use crate::wire::counter;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::IntoPyObjectExt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pyo3::create_exception!(
    otel_ebpf._native,
    NativeError,
    PyException,
    "The core could not do what was asked."
);

fn raise(failure: Failure) -> PyErr {
    Python::attach(|py| {
        let err = NativeError::new_err(failure.message);
        // an exception that can't take an attribute is still the exception to raise
        let _ = err.value(py).setattr("kind", failure.kind.as_str());
        err
    })
}

fn role(r: Role) -> &'static str {
    match r {
        Role::Server => "server",
        Role::Client => "client",
    }
}

/// BPF programs loaded and attached, and the thread that drains their ring.
#[pyclass(frozen, module = "otel_ebpf._native")]
struct Session {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    hooks: &'static str,
    /// Run-time statistics are on while this is open.
    _stats: Option<OwnedFd>,
}

fn infer_routes(routes: &str) -> PyResult<bool> {
    match routes {
        "infer" => Ok(true),
        "unset" => Ok(false),
        other => Err(raise(Failure::new(
            FailureKind::Argument,
            format!("routes is {other:?}; it must be 'infer' or 'unset'"),
        ))),
    }
}

type Ports = Vec<(u16, u16)>;

/// (service, route, probability; None: never)
type RuleArgument = (String, String, Option<f64>);

fn rule((service, route, probability): RuleArgument) -> Rule {
    Rule {
        service,
        route,
        probability,
    }
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (*, ring_bytes = 4 << 20, select_unknown = true, spans = true, spans_per_second = 1000,
                        span_queue_bytes = 16 << 20, lines = false, line_queue = 4096, routes = "infer",
                        max_routes_per_service = 200, max_series = 2000, exponential = false, exemplars = "trace_based",
                        sampler = "parentbased_always_on", sampler_arg = 1.0, spans_per_second_per_service = 0,
                        keep_errors = true, keep_slower_than_ns = 0, keep_share = 0.25, sampling_rules = Vec::new(),
                        privacy = Lists::default(), stats = false, ports = None, await_verdict = false,
                        tell_execs = false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        ring_bytes: u32,
        select_unknown: bool,
        spans: bool,
        spans_per_second: u64,
        span_queue_bytes: usize,
        lines: bool,
        line_queue: usize,
        routes: &str,
        max_routes_per_service: usize,
        max_series: usize,
        exponential: bool,
        exemplars: &str,
        sampler: &str,
        sampler_arg: f64,
        spans_per_second_per_service: u64,
        keep_errors: bool,
        keep_slower_than_ns: u64,
        keep_share: f64,
        sampling_rules: Vec<RuleArgument>,
        privacy: Lists,
        stats: bool,
        ports: Option<Vec<u16>>,
        await_verdict: bool,
        tell_execs: bool,
    ) -> PyResult<Self> {
        let argument = |message: String| raise(Failure::new(FailureKind::Argument, message));
        let infer_routes = infer_routes(routes)?;
        let mut aggregator = Aggregator::new(Settings {
            spans,
            spans_per_second,
            span_queue_bytes,
            lines,
            line_queue,
            infer_routes,
            max_routes_per_service,
            max_series,
            exponential,
            exemplars: ExemplarFilter::named(exemplars)
                .ok_or_else(|| argument(format!("exemplars is {exemplars:?}")))?,
            sampler: sampler.into(),
            sampler_arg,
            spans_per_second_per_service,
            keep_errors,
            keep_slower_than_ns,
            keep_share,
            sampling_rules: sampling_rules.into_iter().map(rule).collect(),
            ..Settings::default()
        })
        .map_err(argument)?;
        // before anything is attached: what is kept back never was anywhere
        aggregator.keep_back(&privacy);
        py.detach(|| {
            let stats = if stats { Some(stats::enable()?) } else { None };
            let programs = Programs::load(&Options {
                ring_bytes,
                select_unknown,
                tell_execs,
                ports,
            })?;
            let hooks = programs.hooks.as_str();
            let mut streams = Streams::new(aggregator, await_verdict);
            streams.tell_execs = tell_execs;
            let shared = Arc::new(Shared::new(streams, programs)?);
            let drain = Drain::new(Arc::clone(&shared))?;
            let thread = std::thread::Builder::new()
                .name("otel-ebpf-drain".into())
                .spawn(move || drain.run())
                .map_err(|e| {
                    Failure::new(FailureKind::Load, format!("starting the drain thread: {e}"))
                })?;
            Ok(Self {
                shared,
                thread: Mutex::new(Some(thread)),
                hooks,
                _stats: stats,
            })
        })
        .map_err(raise)
    }

    #[getter]
    fn hooks(&self) -> &'static str {
        self.hooks
    }

    #[pyo3(signature = (*, sampler, sampler_arg, spans_per_second, routes, privacy))]
    fn reconfigure(
        &self,
        py: Python<'_>,
        sampler: String,
        sampler_arg: f64,
        spans_per_second: u64,
        routes: &str,
        privacy: Lists,
    ) -> PyResult<()> {
        let live = Live {
            sampler,
            sampler_arg,
            spans_per_second,
            infer_routes: infer_routes(routes)?,
            privacy,
        };
        py.detach(|| self.shared.streams().aggregator.reconfigure(&live))
            .map_err(|message| raise(Failure::new(FailureKind::Argument, message)))
    }

    #[pyo3(signature = (process_key, selected, include_ports = None, exclude_ports = None))]
    fn set_verdict(
        &self,
        py: Python<'_>,
        process_key: u64,
        selected: bool,
        include_ports: Option<Ports>,
        exclude_ports: Option<Ports>,
    ) {
        py.detach(|| {
            let mut streams = self.shared.streams();
            let tgid = streams.processes.get(process_key).map(|p| p.tgid);
            let verdict = if selected {
                Verdict::Selected {
                    include: include_ports,
                    exclude: exclude_ports.unwrap_or_default(),
                }
            } else {
                Verdict::Excluded
            };
            streams.set_verdict(process_key, verdict);
            drop(streams);
            let Some(tgid) = tgid else { return }; // ended meanwhile
                                                   // a full map leaves the process as unknown ones are: the core itself still discards what is excluded
            let _ = self.shared.maps.set_verdict(tgid, selected);
            if let Some(programs) = self.programs().as_mut() {
                programs.bump_selection();
            }
        });
    }

    fn set_service(&self, py: Python<'_>, process_key: u64, service: &str) {
        py.detach(|| {
            let mut streams = self.shared.streams();
            // of a process that ended meanwhile nobody would ever forget it
            if streams.processes.get(process_key).is_some() {
                streams.aggregator.set_service(process_key, service);
            }
        });
    }

    #[pyo3(signature = (service, *, probability, per_second = 0.0, floor_per_second = 0.0, operations = Vec::new()))]
    fn set_strategy(
        &self,
        py: Python<'_>,
        service: &str,
        probability: f64,
        per_second: f64,
        floor_per_second: f64,
        operations: Vec<(String, f64)>,
    ) {
        let strategy = Strategy {
            probability,
            per_second,
            floor_per_second,
            operations,
        };
        py.detach(|| {
            let aggregator = &mut self.shared.streams().aggregator;
            aggregator.set_strategy(service, &strategy);
        });
    }

    fn set_queue_fill(&self, py: Python<'_>, fill: f64) {
        py.detach(|| self.shared.streams().aggregator.set_fill(fill));
    }

    /// `probes`: (place, offset, call, result_at, at_return) each.
    #[pyo3(signature = (path, probes, *, client_random = Vec::new(), is_server = 0))]
    fn add_probes(
        &self,
        py: Python<'_>,
        path: PathBuf,
        probes: Vec<ProbeArgument>,
        client_random: Vec<u32>,
        is_server: u32,
    ) -> PyResult<u64> {
        let layout = Layout {
            client_random,
            is_server,
        };
        let probes: Vec<Probe> = probes.into_iter().map(probe).collect::<PyResult<_>>()?;
        py.detach(|| match self.programs().as_mut() {
            Some(programs) => programs.add_probes(&path, &probes, &layout),
            None => Err(Failure::new(FailureKind::Closed, "the session is closed")),
        })
        .map_err(raise)
    }

    fn remove_probes(&self, py: Python<'_>, number: u64) -> bool {
        py.detach(|| {
            let mut programs = self.programs();
            programs.as_mut().is_some_and(|p| p.remove_probes(number))
        })
    }

    fn wait(&self, py: Python<'_>, timeout_s: f64) -> bool {
        let timeout = Duration::try_from_secs_f64(timeout_s).unwrap_or_default();
        py.detach(|| self.shared.wait(timeout))
    }

    fn take_processes<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let fresh = py.detach(|| self.shared.streams().processes.take_fresh());
        fresh
            .into_iter()
            .map(|p| {
                let fields = tuple!(
                    py,
                    p.key,
                    p.tgid,
                    p.ppid,
                    p.uid,
                    p.start_boottime_ns,
                    p.cgroup_id,
                    p.comm,
                    p.args
                );
                shapes::process(py, fields)
            })
            .collect()
    }

    fn take_execs(&self, py: Python<'_>) -> Vec<u32> {
        py.detach(|| self.shared.streams().take_execs())
    }

    fn take_tls_users(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| self.shared.streams().take_tls_users())
    }

    fn take_exits(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| self.shared.streams().aggregator.take_exits())
    }

    #[pyo3(signature = (max_bytes = 4 << 20))]
    fn take_spans<'py>(
        &self,
        py: Python<'py>,
        max_bytes: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let batches = py.detach(|| self.shared.streams().aggregator.take_spans(max_bytes));
        batches
            .into_iter()
            .map(|b| {
                let spans = Py::new(py, Spans(b.spans))?;
                shapes::span_batch(py, tuple!(py, b.process_key, b.count, spans))
            })
            .collect()
    }

    #[pyo3(signature = (limit = 1000))]
    fn take_lines<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let lines = py.detach(|| self.shared.streams().aggregator.take_lines(limit));
        lines
            .into_iter()
            .map(|l| {
                let fields = tuple!(
                    py,
                    l.process_key,
                    role(l.role),
                    l.start_unix_ns,
                    l.duration_ns,
                    l.system,
                    l.summary,
                    l.query,
                    l.code,
                    &*l.client,
                    &*l.server,
                    l.method,
                    l.target,
                    &*l.route,
                    l.status,
                    &*l.rpc_method,
                    &*l.rpc_status,
                    l.request_messages,
                    l.response_messages,
                    &*l.error_type,
                    l.request_body_bytes,
                    l.response_body_bytes,
                    l.trace_id,
                    l.span_id,
                );
                shapes::line(py, fields)
            })
            .collect()
    }

    fn read_series<'py>(&self, py: Python<'py>) -> PyResult<series::Read<'py>> {
        let (series, calls) = py.detach(|| self.shared.streams().aggregator.read_series());
        series::read(py, series, calls)
    }

    fn peek_series<'py>(&self, py: Python<'py>) -> PyResult<series::Read<'py>> {
        let (series, calls) = py.detach(|| self.shared.streams().aggregator.peek_series());
        series::read(py, series, calls)
    }

    fn read_active<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let active = py.detach(|| self.shared.streams().aggregator.read_active());
        active
            .into_iter()
            .map(|a| {
                shapes::active_series(py, tuple!(py, a.process_key, a.method, a.scheme, a.value))
            })
            .collect()
    }

    fn backlog(&self, py: Python<'_>) -> (u64, u64, u64) {
        py.detach(|| self.shared.streams().aggregator.backlog())
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (aggregate, streams, open) = py.detach(|| {
            let s = self.shared.streams();
            (
                s.aggregator.counters(),
                s.counters,
                s.open_connections() as u64,
            )
        });
        let out = PyDict::new(py);
        for (name, n) in aggregate {
            out.set_item(name, n)?;
        }
        let maps = &self.shared.maps;
        for (name, n) in [
            ("connections.seen", streams.connections),
            ("connections.open", open),
            ("connections.not_http", streams.strangers),
            ("connections.forgotten", streams.forgotten),
            ("records.orphaned", streams.orphans),
            ("records.out_of_order", streams.out_of_order),
            (
                "records.malformed",
                self.shared.malformed.load(Ordering::Relaxed),
            ),
            (
                "records.lost.segment",
                maps.counter(counter::COUNT_LOST_SEGMENT.0),
            ),
            (
                "records.lost.other",
                maps.counter(counter::COUNT_LOST_OTHER.0),
            ),
            (
                "exchanges.lost_uncounted",
                maps.counter(counter::COUNT_OVERFLOW_FULL.0),
            ),
            (
                "operations.unreadable",
                maps.counter(counter::COUNT_UNREADABLE.0),
            ),
            (
                "operations.no_buffer",
                maps.counter(counter::COUNT_NO_BUFFER.0),
            ),
            ("operations.compat", maps.counter(counter::COUNT_COMPAT.0)),
            ("tls.unbound", maps.counter(counter::COUNT_TLS_UNBOUND.0)),
        ] {
            out.set_item(name, n)?;
        }
        Ok(out)
    }

    fn program_stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let each = self
            .programs()
            .as_ref()
            .map(Programs::each)
            .unwrap_or_default();
        each.into_iter()
            .map(|(name, hook, fd)| {
                let info = stats::program_info(fd);
                let fields = tuple!(
                    py,
                    name,
                    hook,
                    info.run_cnt,
                    info.run_time_ns,
                    info.recursion_misses
                );
                shapes::program_stats(py, fields)
            })
            .collect()
    }

    fn map_costs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let each = py.detach(|| {
            let mut programs = self.programs();
            programs
                .as_mut()
                .map(Programs::map_costs)
                .unwrap_or_default()
        });
        each.into_iter()
            .map(|(name, kind, bytes)| shapes::map_cost(py, tuple!(py, name, kind, bytes)))
            .collect()
    }

    fn rounds(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.shared.rounds())
    }

    fn flush(&self, py: Python<'_>) {
        py.detach(|| self.shared.flush());
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            // detach first: then the last round finds all there is
            self.programs().take();
            self.shared.stop();
            let thread = self
                .thread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(thread) = thread {
                // its panic has been printed; closing goes on
                let _ = thread.join();
            }
        });
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, PyTuple>) {
        self.close(py);
    }
}

impl Session {
    fn programs(&self) -> std::sync::MutexGuard<'_, Option<Programs>> {
        self.shared
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.programs().take();
        self.shared.stop();
    }
}

#[pyfunction]
fn probe_hooks(py: Python<'_>) -> &'static str {
    py.detach(|| loader::probe_hooks().as_str())
}

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("NativeError", m.py().get_type::<NativeError>())?;
    m.add("DURATION_BOUNDS_S", PyList::new(m.py(), DURATION_BOUNDS_S)?)?;
    m.add("DB_BOUNDS_S", PyList::new(m.py(), db_bounds_s())?)?;
    m.add("SIZE_BOUNDS", PyList::new(m.py(), SIZE_BOUNDS)?)?;
    shapes::register(m)?;
    m.add_class::<Spans>()?;
    m.add_class::<Session>()?;
    m.add_function(wrap_pyfunction!(probe_hooks, m)?)?;
    m.add_function(wrap_pyfunction!(spans::encode_traces, m)?)?;
    m.add_function(wrap_pyfunction!(spans::export_delays, m)?)?;
    Ok(())
}
