//! The other end of the Unix socket: what commands ask a running node.
//!
//! One connection a call, so that a call that is given up ends at the node, too.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use synod_agents::task::Progress;
use synod_fabric::Priority;
use synod_platform::task::{self, JoinHandle};
use synod_platform::time;
use tokio::net::UnixStream;

use crate::exchange::Published;
use crate::problem::Problem;
use crate::request::escape;
use crate::runs::order::{Order, Told};
use crate::stream::{Events, Header, Messages, StreamError};

/// How long a node may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest answer that is read whole, in bytes.
const ANSWER_MAX: usize = 128 << 20;

/// Why a node did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no node answers at {}: {why}", socket.display())]
    NobodyThere {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The node said no.
    #[error(transparent)]
    Said(#[from] Problem),
    /// The connection broke.
    #[error("the connection to the node broke: {0}; has it ended?")]
    Broken(#[from] hyper::Error),
    /// The node's answer has another form than expected.
    #[error("the node's answer cannot be read: {0}; is it of the same version?")]
    Form(String),
}

impl From<StreamError> for ClientError {
    fn from(error: StreamError) -> Self {
        ClientError::Form(error.to_string())
    }
}

/// A node, by its socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// An answer whose body comes as it is read. Dropping it ends the call.
struct Reply {
    body: Incoming,
    driver: JoinHandle<()>,
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Reply {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    async fn whole(mut self) -> Result<Vec<u8>, ClientError> {
        let mut all = Vec::new();
        while let Some(part) = self.next().await? {
            all.extend_from_slice(&part);
            if all.len() > ANSWER_MAX {
                return Err(ClientError::Form(format!("it is longer than {ANSWER_MAX} bytes")));
            }
        }
        Ok(all)
    }
}

impl Client {
    /// The node that listens at `socket`, if it does; nothing is asked yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether a node listens there.
    pub async fn is_there(&self) -> bool {
        self.connect().await.is_ok()
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let why = match time::timeout(CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "it does not accept"),
        };
        Err(ClientError::NobodyThere { socket: self.socket.clone(), why })
    }

    /// Asks, and gives the answer's headers and body, or the problem that the node told.
    async fn ask(
        &self,
        method: &str,
        target: &str,
        media: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<(hyper::HeaderMap, Reply), ClientError> {
        let stream = self.connect().await?;
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What the connection says when it ends is told to whoever reads the answer.
        let driver = task::spawn(async move {
            let _ = connection.await;
        });
        let mut request = hyper::Request::builder().method(method).uri(target).header("host", "synod");
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        let request =
            request.body(Full::new(body.into())).map_err(|error| ClientError::Form(error.to_string()))?;
        let (head, body) = send.send_request(request).await?.into_parts();
        let reply = Reply { body, driver };
        if head.status.is_success() {
            return Ok((head.headers, reply));
        }
        let status = head.status.as_u16();
        Err(Problem::read(status, &reply.whole().await?).into())
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        media: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<T, ClientError> {
        let (_, reply) = self.ask(method, target, media, body).await?;
        read(&reply.whole().await?)
    }

    /// Orders a run; its id.
    pub async fn order(&self, order: &Order) -> Result<String, ClientError> {
        #[derive(serde::Deserialize)]
        struct Ordered {
            id: String,
        }
        let text = serde_json::to_vec(order).map_err(|error| ClientError::Form(error.to_string()))?;
        let ordered: Ordered = self.json("POST", "/api/runs", Some("application/json"), text).await?;
        Ok(ordered.id)
    }

    /// Follows a run to its end and tells its progress as it comes.
    pub async fn follow(&self, id: &str, mut tell: impl FnMut(Progress)) -> Result<Told, ClientError> {
        let target = format!("/api/runs/{}/events", escape(id));
        let (_, mut reply) = self.ask("GET", &target, None, Bytes::new()).await?;
        let mut events = Events::default();
        while let Some(part) = reply.next().await? {
            events.feed(&part);
            while let Some(event) = events.take()? {
                match event.name.as_str() {
                    "progress" => tell(read(event.data.as_bytes())?),
                    "end" => return read(event.data.as_bytes()),
                    _ => {}
                }
            }
        }
        Err(ClientError::Form("the run's events ended before the run did: the node was ended".into()))
    }

    /// Cancels a run.
    pub async fn cancel(&self, id: &str) -> Result<(), ClientError> {
        let target = format!("/api/runs/{}", escape(id));
        self.json::<serde_json::Value>("DELETE", &target, None, Bytes::new()).await.map(drop)
    }

    /// Publishes.
    pub async fn publish(
        &self,
        subject: &str,
        priority: Priority,
        payload: Vec<u8>,
        within: Duration,
    ) -> Result<Published, ClientError> {
        self.json("POST", &exchange("pub", subject, priority, within), None, payload).await
    }

    /// Asks; who answered, and what.
    pub async fn request(
        &self,
        subject: &str,
        priority: Priority,
        payload: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let (_, reply) = self.ask("POST", &exchange("req", subject, priority, within), None, payload).await?;
        reply.whole().await
    }

    /// Subscribes; when it returns, every later publish arrives.
    pub async fn subscribe(&self, pattern: &str, count: Option<u64>) -> Result<Subscribed, ClientError> {
        let count = count.map_or(String::new(), |count| format!("?count={count}"));
        let target = format!("/api/sub/{}{count}", escape(pattern));
        let (_, reply) = self.ask("GET", &target, None, Bytes::new()).await?;
        Ok(Subscribed { reply, messages: Messages::default() })
    }
}

fn exchange(what: &str, subject: &str, priority: Priority, within: Duration) -> String {
    let within = within.as_millis();
    format!("/api/{what}/{}?priority={}&within={within}ms", escape(subject), priority.name())
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|error| ClientError::Form(error.to_string()))
}

/// Messages as they are published.
pub struct Subscribed {
    reply: Reply,
    messages: Messages,
}

impl std::fmt::Debug for Subscribed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscribed")
    }
}

impl Subscribed {
    /// The next message; `None` when as many came as were asked for, or the node ends.
    pub async fn next(&mut self) -> Result<Option<(Header, Vec<u8>)>, ClientError> {
        loop {
            if let Some(message) = self.messages.take()? {
                return Ok(Some(message));
            }
            match self.reply.next().await? {
                Some(part) => self.messages.feed(&part),
                None => return Ok(None),
            }
        }
    }
}
