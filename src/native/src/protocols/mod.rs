//! One parser per protocol, each a state machine over bytes behind `exchange::Parser`. None of them knows
//! where the bytes come from.

mod forwarded;
pub mod http1;
pub mod http2;
