//! Serves bound sockets on an executor of its own: reads requests within bounds, hands them to the door, writes its answers.
//!
//! Bounded: connections at a time (for each door, so that loopback cannot starve the owner's socket), the time until the headers are there
//! and until the body is there, the time that a write may stand still, headers, and the body by what it is for.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use synod_fabric::PAYLOAD_MAX;
use synod_platform::task::{self, ContextHandle, StartError};
use synod_platform::time;
use synod_platform::watch;
use synod_probe::{event, loss, reach};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::listen::Bound;
use super::patience::Patient;
use crate::door::Call;
use crate::guard;
use crate::problem::Problem;
use crate::request::{Answer, Body, Method, Request, TARGET_MAX, Via};

/// Connections at a time through each door.
const CONNECTIONS_MAX: usize = 128;
/// How long the headers of a request may take, and a connection may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long a write may stand still.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Room for the head of a request, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// The largest body of a request that carries neither payload nor order, in bytes.
const BODY_MAX: usize = 64 << 10;
/// How long connections may take to end when the node does.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait when the system has no descriptor for a connection.
const BREATHE: Duration = Duration::from_millis(50);

/// A served door. Dropping it leaves it served until the process ends.
#[derive(Debug)]
pub struct Server {
    context: ContextHandle<()>,
    stop: watch::Sender<bool>,
}

impl Bound {
    /// Serves these sockets; calls go to `calls`, and are answered 503 once nobody takes them. With `token`, the door's own, who is not
    /// admitted is told so before a byte of the body is read.
    pub fn serve(self, calls: mpsc::Sender<Call>, token: Option<String>) -> Result<Server, StartError> {
        let (stop, stopped) = watch::channel(false);
        let inward = Inward { calls, token: token.map(Arc::from) };
        let context = task::Context::start("http", None, move || run(self, inward, stopped))?;
        Ok(Server { context, stop })
    }
}

impl Server {
    /// Takes no further connection, lets answers that are being written end for a moment, and closes the sockets.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic of the shell's has already been told by the panic hook; the node ends anyway.
        let _ = self.context.join().await;
    }
}

/// The way to the door.
#[derive(Clone)]
struct Inward {
    calls: mpsc::Sender<Call>,
    token: Option<Arc<str>>,
}

async fn run(bound: Bound, inward: Inward, stop: watch::Receiver<bool>) {
    let router = Router::new().fallback(answer).with_state(inward);
    let Bound { tcp, unix } = bound;
    let mut doors = Vec::new();
    if let Some(tcp) = tcp {
        let loopback = tcp.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let via = if loopback { Via::Loopback } else { Via::Beyond };
        doors.push((TcpListener::from_std(tcp).map(Listener::Tcp), via));
    }
    // Held until the doors are closed: its end removes the socket.
    let mut held = None;
    if let Some(unix) = unix {
        doors.push((
            unix.listener.try_clone().and_then(UnixListener::from_std).map(Listener::Unix),
            Via::Unix,
        ));
        held = Some(unix);
    }
    let doors: Vec<_> = doors
        .into_iter()
        .map(|(listener, via)| {
            let (router, stop) = (router.clone().layer(Extension(via)), stop.clone());
            task::spawn(async move {
                match listener {
                    Ok(listener) => accept(listener, router, stop).await,
                    Err(error) => event!("edge.no-listener", why = error.to_string().as_str()),
                }
            })
        })
        .collect();
    for door in doors {
        // What panicked in there has been told by the panic hook.
        let _ = door.await;
    }
    drop(held);
}

/// Either kind of listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Either kind of connected socket.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl Listener {
    /// The next connection; none if its peer is a stranger to whom this door is not open.
    async fn accept(&self) -> std::io::Result<Option<Box<dyn Duplex>>> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Small answers shall not wait for others; without it they are only slower.
                let _ = stream.set_nodelay(true);
                Ok(Some(Box::new(stream)))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?.uid();
                if peer == 0 || peer == rustix::process::geteuid().as_raw() {
                    return Ok(Some(Box::new(stream)));
                }
                reach!("edge.stranger");
                Ok(None)
            }
        }
    }
}

/// Accepts connections until the node ends, then lets those that are open end.
async fn accept(listener: Listener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let end = stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => break,
            accepted = async {
                // Who finds no place waits in the system's own queue, which is bounded.
                let place = places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (place, Ok(Some(socket))) => {
                let (router, end) = (router.clone(), end.clone());
                task::spawn(async move {
                    connection(socket, router, end).await;
                    drop(place);
                })
                .detach();
            }
            (_, Ok(None)) => {}
            (_, Err(error)) => {
                reach!("edge.accept-failed");
                event!("edge.accept-failed", why = error.to_string().as_str());
                time::sleep(BREATHE).await;
            }
        }
    }
    drop(listener);
    // Every place is free again when every connection has ended.
    let _ = time::timeout(END_WITHIN, places.acquire_many(CONNECTIONS_MAX as u32)).await;
}

async fn connection(socket: Box<dyn Duplex>, router: Router, mut end: watch::Receiver<bool>) {
    let io = TokioIo::new(Patient::new(socket, WRITE_WITHIN));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(io, TowerToHyperService::new(router))
    );
    tokio::select! {
        biased;
        // A connection that breaks concerns its peer alone, who knows.
        _ = &mut served => return,
        _ = end.changed() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

/// Reads one request whole, has it answered, and writes the answer.
async fn answer(
    State(inward): State<Inward>,
    Extension(via): Extension<Via>,
    request: axum::extract::Request,
) -> Response<axum::body::Body> {
    match call(inward, via, request).await {
        Ok(answer) => respond(answer),
        Err(problem) => {
            // What is left of the body is not worth reading.
            let mut response = respond(problem.into());
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            response
        }
    }
}

async fn call(inward: Inward, via: Via, request: axum::extract::Request) -> Result<Answer, Problem> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    if target.len() > TARGET_MAX {
        return Err(Problem::new(414, format!("an address has at most {TARGET_MAX} bytes"), "", ""));
    }
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let carries = ["/api/pub/", "/api/req/", "/api/runs"].iter().any(|path| target.starts_with(path));
    let most = if carries { PAYLOAD_MAX } else { BODY_MAX };
    let method = Method::named(head.method.as_str());
    let mut request = Request { method, target, headers, body: bytes::Bytes::new(), via };
    guard::admit(&request, inward.token.as_deref())?;
    request.body = read(body, &head.headers, most).await?;
    let (answer, answered) = oneshot::channel();
    let ends = || Problem::new(503, "the node ends", "", "ask again when it has been started again");
    inward.calls.send(Call { request, answer }).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())
}

async fn read(body: axum::body::Body, headers: &HeaderMap, most: usize) -> Result<bytes::Bytes, Problem> {
    let too_large = || {
        Problem::new(413, format!("a body here has at most {most} bytes"), "body", "send less, or in parts")
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    match time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::bad("body", &format!("the body cannot be read: {error}"))),
        Err(_) => {
            reach!("edge.slow-body");
            Err(Problem::new(408, "the body did not come in time", "body", "send it faster"))
        }
    }
}

fn respond(answer: Answer) -> Response<axum::body::Body> {
    let body = match answer.body {
        Body::Whole(bytes) => axum::body::Body::from(bytes),
        Body::Stream(mut parts) => axum::body::Body::from_stream(stream::poll_fn(move |cx| {
            parts.poll_recv(cx).map(|part| part.map(Ok::<_, Infallible>))
        })),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in answer.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(headers.insert(HeaderName::from_static(name), value)),
            Err(_) => loss!("edge.header", "its value has bytes that no header may have"),
        }
    }
    response
}
