//! Exchanges in, spans, series, lines and counts out: what a user of the core can rely on. Spans are decoded
//! with the official proto types.

mod accounts;
mod calls;
mod metrics;
mod privacy;
mod rpc;
mod spans;
mod world;
