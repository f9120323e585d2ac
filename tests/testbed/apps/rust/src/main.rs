//! The testbed's Rust application on hyper: `testbed-app HOST:PORT [2]`, of HTTP/1 or of HTTP/2 with prior knowledge.
//! Prints one JSON line per request.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderValue, CONTENT_TYPE, TRAILER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, Sleep};

/// A body of equal chunks, perhaps with a pause between them and a trailer after them.
struct Chunks {
    chunk: Bytes,
    left: usize,
    whole: bool,
    pause: Duration,
    sleeping: Option<Pin<Box<Sleep>>>,
    trailer: Option<HeaderMap>,
    log: Option<Log>,
}

/// The line to print once the body has gone.
struct Log {
    method: Method,
    target: String,
    status: u16,
    body_bytes: usize,
    version: Version,
    begin: Instant,
}

impl Drop for Log {
    fn drop(&mut self) {
        println!(
            r#"{{"method": "{}", "target": "{}", "status": {}, "body_bytes": {}, "version": "{:?}", "duration_s": {:.6}}}"#,
            self.method,
            self.target,
            self.status,
            self.body_bytes,
            self.version,
            self.begin.elapsed().as_secs_f64()
        );
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(sleeping) = &mut self.sleeping {
            std::task::ready!(sleeping.as_mut().poll(cx));
            self.sleeping = None;
        }
        if self.left > 0 {
            let chunk = self.chunk.slice(..self.chunk.len().min(self.left));
            self.left -= chunk.len();
            if !self.pause.is_zero() {
                self.sleeping = Some(Box::pin(sleep(self.pause)));
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let trailer = self.trailer.take();
        if trailer.is_none() {
            self.log = None;
        }
        Poll::Ready(trailer.map(|fields| Ok(Frame::trailers(fields))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.trailer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.whole {
            SizeHint::with_exact(self.left as u64)
        } else {
            SizeHint::default()
        }
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<Chunks>, Infallible> {
    let begin = Instant::now();
    let (head, body) = request.into_parts();
    let received = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    let path = head.uri.path().trim_start_matches('/');
    let (name, arg) = path.split_once('/').unwrap_or((path, ""));
    let number: usize = arg.parse().unwrap_or(0);
    let mut status = StatusCode::OK;
    let mut chunk = Bytes::new();
    let (mut whole, mut pause, mut trailer) = (true, Duration::ZERO, None);
    match name {
        "hello" => chunk = Bytes::from_static(b"hello\n"),
        "items" => chunk = Bytes::from(format!("item {arg}\n")),
        "status" => status = StatusCode::from_u16(number as u16).unwrap_or(StatusCode::BAD_REQUEST),
        "sleep" => {
            sleep(Duration::from_millis(number as u64)).await;
            chunk = Bytes::from_static(b"slept\n");
        }
        "bytes" => chunk = Bytes::from(vec![b'x'; number]),
        "echo" => chunk = received,
        "chunked" => {
            chunk = Bytes::from(vec![b'x'; 1000]);
            whole = false;
            trailer = Some(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from(number))]));
        }
        "sse" => {
            chunk = Bytes::from_static(b"data: 0\n\n");
            whole = false;
            pause = Duration::from_millis(20);
        }
        _ => status = StatusCode::NOT_FOUND,
    }
    let left = match name {
        _ if head.method == Method::HEAD && head.version == Version::HTTP_2 => 0, // hyper would send it
        "chunked" => number,
        "sse" => chunk.len() * 5,
        _ => chunk.len(),
    };
    let log = Log {
        body_bytes: if head.method == Method::HEAD { 0 } else { left },
        method: head.method,
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        status: status.as_u16(),
        version: head.version,
        begin,
    };
    let with_trailer = trailer.is_some();
    let mut response = Response::new(Chunks { chunk, left, whole, pause, sleeping: None, trailer, log: Some(log) });
    *response.status_mut() = status;
    if with_trailer {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
    }
    if name == "sse" {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    Ok(response)
}

async fn connection(stream: TcpStream, http2: bool) {
    let stream = TokioIo::new(stream);
    if http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(stream, service_fn(handle)).await;
    } else {
        let mut server = hyper::server::conn::http1::Builder::new();
        let _ = server.half_close(true).serve_connection(stream, service_fn(handle)).await;
    }
}

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("an address");
    let http2 = std::env::args().nth(2).is_some_and(|version| version == "2");
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, http2));
    }
}
