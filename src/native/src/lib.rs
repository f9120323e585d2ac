//! The native core of otel-ebpf: bytes from the kernel's ring become finished requests and metrics.

pub mod aggregate;
pub mod capture_mode;
pub mod conn;
pub mod exchange;
pub mod otlp;
pub mod privacy;
pub mod processes;
pub mod protocols;
pub mod redact;
pub mod routes;
pub mod sampling;
pub mod sql;
pub mod stream;
mod words;

#[cfg(feature = "capture")]
pub mod drain;
#[cfg(feature = "capture")]
pub mod loader;
#[cfg(feature = "capture")]
pub mod ring;
#[cfg(feature = "capture")]
pub mod wire;

#[cfg(all(feature = "python", feature = "capture"))]
mod python;
