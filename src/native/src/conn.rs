//! A connection as the aggregate sees it: who talks to whom, on behalf of which process.

use std::net::{Ipv4Addr, Ipv6Addr};

pub use crate::aggregate::ConnCache;
use crate::exchange::Role;

/// One end's address, without the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Not known (the socket was gone before it could be asked).
    #[default]
    Unknown,
    /// AF_INET.
    V4(Ipv4Addr),
    /// AF_INET6; addresses mapped from IPv4 are shown as IPv4.
    V6(Ipv6Addr),
    /// AF_UNIX; the path is `ConnInfo::unix_path`, the same for both ends.
    Unix,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: Address,
    /// Its port in host order; 0 where there is none.
    pub port: u16,
}

/// What the stream layer knows of a connection. It makes one when the connection opens and hands it in with
/// each call; it may change `process_key` or `role` between calls (a socket handed over, a role learnt late).
#[derive(Debug)]
pub struct ConnInfo {
    /// `Process.key` of the process that owns the socket.
    pub process_key: u64,
    /// What that process is on this connection.
    pub role: Role,
    /// The observed process's end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// Bound path of whichever end of a unix socket has one; abstract ones start with '@'.
    pub unix_path: Option<Box<str>>,
    /// The bytes come from inside TLS: scheme https.
    pub encrypted: bool,
    /// A UDP socket: each segment is one datagram. Of one that is not connected, the remote end is where its first
    /// datagram went, if it was seen to send it; else not known.
    pub datagram: bool,
    /// The aggregate's own notes: `ConnCache::default()` at the start, carried along untouched.
    pub cache: ConnCache,
}

impl ConnInfo {
    /// A plain connection that nothing has been counted on.
    pub fn new(process_key: u64, role: Role, local: Endpoint, remote: Endpoint) -> Self {
        Self {
            process_key,
            role,
            local,
            remote,
            unix_path: None,
            encrypted: false,
            datagram: false,
            cache: ConnCache::default(),
        }
    }

    /// The end that asks.
    pub fn client(&self) -> Endpoint {
        match self.role {
            Role::Server => self.remote,
            Role::Client => self.local,
        }
    }

    /// The end that answers.
    pub fn server(&self) -> Endpoint {
        match self.role {
            Role::Server => self.local,
            Role::Client => self.remote,
        }
    }
}
