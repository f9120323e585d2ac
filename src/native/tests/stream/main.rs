//! What the kernel side reports goes in, finished requests come out: connections and processes as a user would
//! tell of them, with a real aggregate behind.

mod calls;
mod http2;
mod lifetimes;
mod machine;
mod memory;
mod order;
mod random;
mod roles;
mod verdicts;
