//! What crosses the rooms of the native core: bytes going one way or the other into a parser, finished
//! exchanges out of it. Nothing here knows about BPF, sockets, Python or OTLP.

mod db;
mod dns;
mod messaging;
mod product;

pub use db::{Db, DbSystem, Query};
pub use dns::Dns;
pub use messaging::{Carried, Messaging, MessagingSystem, OperationType};
pub use product::Product;

/// Which half of an exchange the bytes belong to, whoever observed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Client to server.
    Request,
    /// Server to client.
    Response,
}

/// Whether the observed process serves the connection or uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The process answers: requests arrive on this socket.
    Server,
    /// The process asks: requests leave through this socket.
    Client,
}

/// A piece of one direction's stream, in stream order.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Captured bytes.
    Data(&'a [u8]),
    /// So many bytes went by uncaptured (a body's middle, sendfile) or were lost.
    Gap(u64),
}

/// How a connection, or one direction of it, came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This side will send no more bytes (FIN).
    Fin(Side),
    /// The local process closed the socket: both sides are over.
    Closed,
    /// The connection broke; the errno, positive (ECONNRESET, EPIPE, ETIMEDOUT...).
    Broken(i32),
    /// The observed process ended with the connection open.
    ProcessExit,
    /// Records of this connection were lost (ring full) and what is pending was counted elsewhere: forget it
    /// without a word to the sink other than `abandoned`.
    Lost,
}

/// The errno of `End::Broken` that is `ErrorKind::Timeout`; the same on both architectures.
pub const ETIMEDOUT: i32 = 110;

impl End {
    /// How requests fail that still wait for their answers. None: answers may come, or nobody knows.
    pub fn error(self) -> Option<ErrorKind> {
        match self {
            Self::Fin(Side::Request) | Self::Lost => None,
            Self::Fin(Side::Response) | Self::Closed => Some(ErrorKind::ConnectionClosed),
            Self::Broken(ETIMEDOUT) => Some(ErrorKind::Timeout),
            Self::Broken(_) => Some(ErrorKind::ConnectionReset),
            Self::ProcessExit => Some(ErrorKind::ProcessExit),
        }
    }
}

/// What a parser says after each feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// These bytes are not of this protocol: nothing more will come of this connection.
    NotMine,
    /// The protocol ended here (101 Switching Protocols, CONNECT): the rest of the connection is another's.
    Ended,
}

/// Why an exchange has no proper end; `error.type` on span and metric where no status code says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The connection was reset or broke before the response was whole.
    ConnectionReset,
    /// The peer closed in good order before the response was whole.
    ConnectionClosed,
    /// The kernel gave up on the peer (ETIMEDOUT).
    Timeout,
    /// The observed process ended before the response was whole.
    ProcessExit,
    /// What came back is not a response of this protocol.
    InvalidResponse,
    /// From here on the codes of HTTP/2 (RFC 9113, 7) with which a stream was reset.
    NoError,
    /// PROTOCOL_ERROR.
    ProtocolError,
    /// INTERNAL_ERROR, and codes that nobody knows.
    InternalError,
    /// FLOW_CONTROL_ERROR.
    FlowControlError,
    /// SETTINGS_TIMEOUT.
    SettingsTimeout,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSizeError,
    /// REFUSED_STREAM; also a stream that a GOAWAY says was not looked at.
    RefusedStream,
    /// CANCEL.
    Cancel,
    /// COMPRESSION_ERROR.
    CompressionError,
    /// CONNECT_ERROR.
    ConnectError,
    /// ENHANCE_YOUR_CALM.
    EnhanceYourCalm,
    /// INADEQUATE_SECURITY.
    InadequateSecurity,
    /// HTTP_1_1_REQUIRED.
    Http11Required,
}

impl ErrorKind {
    /// The value of `error.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionReset => "connection_reset",
            Self::ConnectionClosed => "connection_closed",
            Self::Timeout => "timeout",
            Self::ProcessExit => "process_exit",
            Self::InvalidResponse => "invalid_response",
            Self::NoError => "NO_ERROR",
            Self::ProtocolError => "PROTOCOL_ERROR",
            Self::InternalError => "INTERNAL_ERROR",
            Self::FlowControlError => "FLOW_CONTROL_ERROR",
            Self::SettingsTimeout => "SETTINGS_TIMEOUT",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSizeError => "FRAME_SIZE_ERROR",
            Self::RefusedStream => "REFUSED_STREAM",
            Self::Cancel => "CANCEL",
            Self::CompressionError => "COMPRESSION_ERROR",
            Self::ConnectError => "CONNECT_ERROR",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            Self::InadequateSecurity => "INADEQUATE_SECURITY",
            Self::Http11Required => "HTTP_1_1_REQUIRED",
        }
    }
}

/// One finished exchange: a request with its response, or with the reason why there is none.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// CLOCK_BOOTTIME of the request's first byte.
    pub start_ns: u64,
    /// CLOCK_BOOTTIME of the response's last byte, or of the event that ended the exchange.
    pub end_ns: u64,
    /// Set where the exchange did not end as the protocol wants it to.
    pub error: Option<ErrorKind>,
    /// What the protocol has to say.
    pub detail: Detail<'a>,
}

/// The protocol's part of an exchange.
#[derive(Debug)]
pub enum Detail<'a> {
    /// HTTP/1.0, HTTP/1.1 and HTTP/2, gRPC on top of it included.
    Http(Http<'a>),
    /// Databases and caches.
    Db(Db<'a>),
    /// Brokers.
    Messaging(Messaging<'a>),
    /// Resolvers.
    Dns(Dns<'a>),
}

/// network.protocol.version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// "1.0".
    Http10,
    /// "1.1".
    #[default]
    Http11,
    /// "2".
    Http2,
}

impl HttpVersion {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// What makes an HTTP/2 request a gRPC call: `Http::target` is "/package.Service/Method".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// grpc-status, or what it means that none came (a reset stream, an HTTP error) as gRPC maps it; `None` where
    /// it can't be known.
    pub status: Option<u8>,
    /// Messages that the client sent; `None` where not all could be counted.
    pub request_messages: Option<u64>,
    /// Messages that the server sent; `None` where not all could be counted.
    pub response_messages: Option<u64>,
}

/// A request in flight, to a sink that has been told of it by `begin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The oldest of the connection.
    Oldest,
    /// Some one with this method.
    Method(&'a [u8]),
    /// `begin` was not called for it.
    Untold,
}

/// An HTTP request and its response (RFC 9110, 9112). Slices borrow from the parser's buffers and hold the
/// bytes as they were on the wire: percent-encoding, case and stray bytes included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http<'a> {
    /// The method's token.
    pub method: &'a [u8],
    /// The request target as sent: origin, absolute, authority or asterisk form.
    pub target: &'a [u8],
    /// The request's.
    pub version: HttpVersion,
    /// Final status code; `None` where no final response was seen.
    pub status: Option<u16>,
    /// Host header of the request.
    pub host: Option<&'a [u8]>,
    /// User-Agent header.
    pub user_agent: Option<&'a [u8]>,
    /// First X-Forwarded-For (or RFC 7239 Forwarded `for=`) element, as sent.
    pub forwarded_for: Option<&'a [u8]>,
    /// X-Forwarded-Proto or Forwarded `proto=`.
    pub forwarded_proto: Option<&'a [u8]>,
    /// W3C traceparent header, unchecked; `None` if it came more than once.
    pub traceparent: Option<&'a [u8]>,
    /// W3C tracestate header(s); more than one are joined with a comma.
    pub tracestate: Option<&'a [u8]>,
    /// Bytes of the request's body, transfer coding (HTTP/2: framing and padding) removed.
    pub request_body_bytes: u64,
    /// Bytes of the response's body, transfer coding removed.
    pub response_body_bytes: u64,
    /// Lines of the request's header fields, as `protocols::headers` has them; empty unless somebody wants them.
    pub request_headers: &'a [u8],
    /// The same of the response.
    pub response_headers: &'a [u8],
    /// Set for gRPC calls.
    pub grpc: Option<Grpc>,
    /// What the server is, where its response says so.
    pub product: Option<Product>,
}

/// Where a parser puts what it finds.
pub trait Sink {
    /// A request was understood (its head is whole): it is in flight from now on. Each `begin` is followed by
    /// exactly one `exchange` or `abandoned` for the same connection; in order with HTTP/1. HTTP's alone: not called
    /// for gRPC, databases, brokers and resolvers.
    fn begin(&mut self, method: &[u8]);
    /// A request is finished: HTTP/1's oldest in flight, or any one of HTTP/2's with this method.
    fn exchange(&mut self, exchange: &Exchange<'_>);
    /// A request will never be finished here (`End::Lost`, or a wrong guess withdrawn).
    fn abandoned(&mut self, which: Which<'_>);
}

/// A protocol's parser for one connection. Sans-IO: it has no clock, no socket, no log. It never panics and
/// its memory is bounded, whatever the bytes are.
pub trait Parser {
    /// Takes what went one way. `ts_ns` is when the operation that moved these bytes ended.
    fn feed(&mut self, side: Side, ts_ns: u64, input: Input<'_>, sink: &mut dyn Sink) -> Verdict;
    /// Takes the end of the connection or of one side.
    fn end(&mut self, ts_ns: u64, end: End, sink: &mut dyn Sink) -> Verdict;
    /// Requests in flight.
    fn in_flight(&self) -> usize;
}
