//! What the aggregate remembers of a connection, so that its next exchange costs less.

use std::collections::VecDeque;
use std::sync::Arc;

use super::origin::{for_people, text, Origin, Scheme};
use super::series::SeriesKey;
use crate::conn::{Address, ConnInfo};
use crate::exchange::Role;
use crate::otlp::{append_int, append_string, append_user_agent, MAX_USER_AGENT_BYTES};

/// The aggregate's notes on a connection.
#[derive(Debug, Default)]
pub struct ConnCache {
    /// Where the process is kept, valid while the incarnation there is this one; 0 is none.
    pub(super) slot: u32,
    pub(super) incarnation: u32,
    /// The role that the rest was made for.
    pub(super) role: Option<Role>,
    /// Requests in flight, oldest first: `2 * method + https`.
    pub(super) in_flight: VecDeque<u8>,
    /// The last exchange's series.
    pub(super) series: (SeriesKey, u32),
    pub(super) origin: Option<OriginCache>,
    /// Client and server as people read them.
    pub(super) ends: Option<(Arc<str>, Arc<str>)>,
}

/// What follows from the authority that was asked for.
#[derive(Debug)]
pub(super) struct OriginCache {
    /// As sent; empty where nothing was.
    authority: Vec<u8>,
    scheme: Scheme,
    /// The process's number for (server.address, server.port), once asked for.
    pub address: Option<u32>,
    pub origin: Origin,
    /// Encoded attributes of a span: client, server, peer, user agent.
    attributes: Vec<u8>,
    client_end: usize,
    user_agent_at: usize,
    /// As sent; "" where there was none.
    user_agent: Vec<u8>,
    /// Scheme and authority as url.full wants them; an HTTP client's only.
    pub url: String,
}

impl OriginCache {
    pub fn is_of(&self, authority: &[u8], scheme: Scheme) -> bool {
        self.scheme == scheme && self.authority == authority
    }

    #[cold]
    pub fn new(conn: &ConnInfo, authority: &[u8], scheme: Scheme) -> Self {
        let (attributes, url) = (Vec::with_capacity(256), String::new());
        let mut cache = Self {
            authority: authority.to_vec(),
            scheme,
            address: None,
            origin: Origin::of(conn, authority, scheme),
            attributes,
            client_end: 0,
            user_agent_at: 0,
            user_agent: Vec::new(),
            url,
        };
        cache.encode(conn);
        if conn.role == Role::Client && matches!(scheme, Scheme::Http | Scheme::Https) {
            cache.make_url();
        }
        cache
    }

    /// Clients do not change their user agent on a connection, proxies may.
    #[inline]
    pub fn set_user_agent(&mut self, user_agent: &[u8]) {
        let user_agent = &user_agent[..user_agent.len().min(MAX_USER_AGENT_BYTES)];
        if self.user_agent != user_agent {
            self.change_user_agent(user_agent);
        }
    }

    #[cold]
    fn change_user_agent(&mut self, user_agent: &[u8]) {
        self.user_agent.clear();
        self.user_agent.extend_from_slice(user_agent);
        self.attributes.truncate(self.user_agent_at);
        if !user_agent.is_empty() {
            append_user_agent(&mut self.attributes, user_agent);
        }
    }

    /// Encoded attributes, the client's only where the request itself names no other.
    #[inline]
    pub fn attributes(&self, with_client: bool) -> &[u8] {
        &self.attributes[if with_client { 0 } else { self.client_end }..]
    }

    fn encode(&mut self, conn: &ConnInfo) {
        let out = &mut self.attributes;
        let peer = text(conn, conn.remote.address);
        let port = conn.remote.port;
        if conn.role == Role::Server && conn.remote.address != Address::Unix {
            append_end(out, ["client.address", "client.port"], &peer, port);
        }
        self.client_end = out.len();
        append_end(
            out,
            ["server.address", "server.port"],
            &self.origin.address,
            self.origin.port,
        );
        append_end(
            out,
            ["network.peer.address", "network.peer.port"],
            &peer,
            port,
        );
        if conn.remote.address == Address::Unix {
            append_string(out, "network.transport", b"unix");
        }
        self.user_agent_at = out.len();
    }

    fn make_url(&mut self) {
        let https = self.scheme == Scheme::Https;
        self.url
            .push_str(if https { "https://" } else { "http://" });
        if Origin::of_authority(&self.authority, self.scheme).is_some() {
            let authority = crate::redact::authority(&self.authority);
            self.url
                .push_str(&String::from_utf8_lossy(authority.trim_ascii()));
        } else if self.origin.port == 0 {
            // A unix socket has no place in a URL.
            self.url.push_str("localhost");
        } else {
            let bracketed = self.origin.address.contains(':');
            let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
            let host = format!("{open}{}{close}:{}", self.origin.address, self.origin.port);
            self.url.push_str(&host);
        }
    }
}

fn append_end(out: &mut Vec<u8>, keys: [&str; 2], address: &str, port: u16) {
    if !address.is_empty() {
        append_string(out, keys[0], address.as_bytes());
    }
    if port != 0 {
        append_int(out, keys[1], port.into());
    }
}

/// Client and server as people read them.
pub(super) fn ends(conn: &mut ConnInfo) -> (Arc<str>, Arc<str>) {
    if conn.cache.ends.is_none() {
        let client = for_people(conn, conn.client()).into();
        let server = for_people(conn, conn.server()).into();
        conn.cache.ends = Some((client, server));
    }
    conn.cache.ends.clone().unwrap_or_default()
}
