//! A stream: a request and its response, on their way.

use super::grpc::{self, Messages};
use super::head::{Content, Request, Response};
use crate::exchange::{Detail, ErrorKind, Exchange, Grpc, Http, HttpVersion, Side};

/// A call that is cancelled when its time is over, or this much and 2 % before, is late rather than cancelled: its
/// time began before the request was sent, and is rounded in the header.
const EARLY_NS: u64 = 1_000_000;

/// A request in flight.
#[derive(Debug)]
pub(super) struct Stream {
    pub request: Request,
    start_ns: u64,
    /// By `Side`.
    body_bytes: [u64; 2],
    messages: [Messages; 2],
    response: Response,
    /// Lines of its head's fields, if somebody wants them.
    response_headers: Vec<u8>,
    /// Fields came after the response's head.
    trailers: bool,
    /// The sink knows of it.
    pub told: bool,
}

impl Stream {
    /// Its head is whole, and began at `start_ns`.
    pub fn new(request: Request, start_ns: u64) -> Self {
        Self {
            request,
            start_ns,
            body_bytes: [0, 0],
            messages: [Messages::default(); 2],
            response: Response::default(),
            response_headers: Vec::new(),
            trailers: false,
            told: false,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.request.heap_bytes() + self.response_headers.capacity()
    }

    /// It counts as a request in flight: it is none of gRPC, and its fields say so.
    pub fn is_plain(&self) -> bool {
        match self.request.kind {
            Content::Grpc => false,
            Content::Other => true,
            Content::Unsaid => !self.request.unknown,
        }
    }

    /// `among_calls`: so were others on its connection.
    pub fn is_grpc(&self, among_calls: bool) -> bool {
        if self.request.kind == Content::Grpc || self.is_plain() {
            return !self.is_plain();
        }
        match self.response.kind {
            Content::Grpc => true,
            Content::Other => false, // grpc-web, say
            Content::Unsaid => {
                self.response.grpc_status.is_some() || self.looks_like_grpc(among_calls)
            }
        }
    }

    /// The fields that would say so are older than what was seen of the connection. Messages from the first to the
    /// last byte both ways, and trailers, say as much; among calls also messages one way and no body the other.
    fn looks_like_grpc(&self, among_calls: bool) -> bool {
        let [asked, answered] = &self.messages;
        let no_body = among_calls && self.body_bytes[Side::Response as usize] == 0;
        asked.are_all() && (no_body || (self.trailers && answered.are_all()))
    }

    /// Bytes of a body.
    pub fn data(&mut self, side: Side, bytes: &[u8]) {
        self.body_bytes[side as usize] += bytes.len() as u64;
        if self.request.kind != Content::Other {
            self.messages[side as usize].data(bytes);
        }
    }

    /// Bytes of a body that nobody captured.
    pub fn gap(&mut self, side: Side, bytes: u64) {
        self.body_bytes[side as usize] += bytes;
        self.messages[side as usize].gap(bytes);
    }

    /// Nobody knows how many bytes of a body, if any, went by unseen.
    pub fn lose(&mut self, side: Side) {
        self.messages[side as usize].lose();
    }

    /// A header block of the response: an informational one, its head, or its trailers.
    /// `headers`: lines of its fields.
    pub fn answer(&mut self, block: Response, headers: Vec<u8>) {
        self.trailers |= self.body_bytes[Side::Response as usize] > 0;
        let known = &mut self.response;
        if !(100..200).contains(&block.status) && known.status == 0 {
            known.status = block.status;
            if block.status != 0 {
                self.response_headers = headers;
            }
        }
        if known.kind == Content::Unsaid {
            known.kind = block.kind;
        }
        known.grpc_status = block.grpc_status.or(known.grpc_status);
        known.product = known.product.or(block.product);
        known.unknown |= block.unknown;
    }

    /// Shows it to `report`.
    pub fn finish(
        &self,
        end_ns: u64,
        error: Option<ErrorKind>,
        is_grpc: bool,
        report: impl FnOnce(&Exchange<'_>),
    ) {
        let request = &self.request;
        let [request_body_bytes, response_body_bytes] = self.body_bytes;
        let target = match request.method() {
            b"CONNECT" if request.target().is_empty() => request.host().unwrap_or_default(),
            _ => request.target(),
        };
        let http = Http {
            method: request.method(),
            target,
            version: HttpVersion::Http2,
            status: Some(self.response.status).filter(|status| *status != 0),
            host: request.host(),
            user_agent: request.user_agent(),
            forwarded_for: request.forwarded_for(),
            forwarded_proto: request.forwarded_proto(),
            traceparent: request.traceparent(),
            tracestate: request.tracestate(),
            request_body_bytes,
            response_body_bytes,
            request_headers: request.headers(),
            response_headers: &self.response_headers,
            grpc: is_grpc.then(|| Grpc {
                status: self.grpc_status(end_ns, error),
                request_messages: self.messages[Side::Request as usize].count(),
                response_messages: self.messages[Side::Response as usize].count(),
            }),
            product: self.response.product,
        };
        report(&Exchange {
            start_ns: self.start_ns,
            end_ns,
            error,
            detail: Detail::Http(http),
        });
    }

    fn grpc_status(&self, end_ns: u64, error: Option<ErrorKind>) -> Option<u8> {
        if let Some(status) = self.response.grpc_status {
            return Some(status);
        }
        if let Some(error) = error {
            let took_ns = end_ns.saturating_sub(self.start_ns);
            let late = |timeout: u64| took_ns + EARLY_NS >= timeout - timeout / 50;
            return Some(match grpc::of_error(error) {
                grpc::CANCELLED if self.request.timeout_ns.is_some_and(late) => {
                    grpc::DEADLINE_EXCEEDED
                }
                status => status,
            });
        }
        match self.response.status {
            0 | 200 if self.response.unknown => None,
            200 => Some(grpc::UNKNOWN),
            status => Some(grpc::of_http(status)),
        }
    }
}
