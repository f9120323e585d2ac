//! Exchanges in, spans, series, lines and counts out: what a user of the core can rely on. Spans are decoded
//! with the official proto types.

mod accounts;
mod calls;
mod exemplars;
mod histograms;
mod metrics;
mod privacy;
mod rpc;
mod sampling;
mod spans;
mod world;
