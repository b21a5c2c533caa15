//! The same without futures: a client on a thread of its own, to be used from any other.
//!
//! ```no_run
//! let client = synod_client::blocking::attach("reader")?;
//! let news = client.subscribe("news.>")?;
//! client.publish("news.eu", "hello")?;
//! # Ok::<_, synod_client::ClientError>(())
//! ```
//!
//! Each call is carried to the client's thread and back. A call that waits, waits as long as the client's patience lasts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc as channel};
use std::time::Duration;

use synod_platform::{task, time};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    ClientError, Loan, Message, Options, Payload, Priority, Receipt, ReplyError, Subscription as Source,
};

type Doing = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(crate::Client) -> Doing + Send>;

/// Attaches to this machine's node with the usual [`Options`]; `name` is the process's and its first agent's, unique in the node.
pub fn attach(name: &str) -> Result<Client, ClientError> {
    Options::new().attach_blocking(name)
}

impl Options {
    /// The same as [`attach`](Self::attach), with a client on a thread of its own.
    pub fn attach_blocking(self, name: &str) -> Result<Client, ClientError> {
        let (jobs, mut given) = mpsc::unbounded_channel::<Job>();
        let (tell, told) = channel::sync_channel(1);
        let name = name.to_owned();
        let thread = task::Context::start("synod-client", None, move || async move {
            let client = match self.attach(&name).await {
                Ok(client) => client,
                Err(error) => return drop(tell.send(Err(error))),
            };
            if tell.send(Ok(())).is_err() {
                return;
            }
            while let Some(job) = given.recv().await {
                task::spawn(job(client.clone())).detach();
            }
            // Who does not detach may lose answers that wait for room.
            let _ = client.detach().await;
        })?;
        told.recv().unwrap_or(Err(ClientError::Ended))?;
        // It ends with the last handle to its jobs.
        drop(thread);
        Ok(Client { jobs, priority: None, patience: None })
    }
}

/// An agent of this process in its node's fabric, to be used from any thread. The process is attached as long as any handle to it lives.
#[derive(Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
    priority: Option<Priority>,
    patience: Option<Duration>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Has something done on the client's thread, and waits for it.
    fn call<T, F>(&self, work: F) -> Result<T, ClientError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(crate::Client) -> Result<T, ClientError> + Send + 'static,
    {
        let (tell, told) = channel::sync_channel(1);
        let (priority, patience) = (self.priority, self.patience);
        let job: Job = Box::new(move |mut client| {
            if let Some(priority) = priority {
                client = client.with_priority(priority);
            }
            if let Some(patience) = patience {
                client = client.with_patience(patience);
            }
            Box::pin(async move {
                // Who called waits for exactly this.
                let _ = tell.send(work(client).await);
            })
        });
        self.jobs.send(job).map_err(|_| ClientError::Ended)?;
        told.recv().unwrap_or(Err(ClientError::Ended))
    }

    /// The same agent, sending with another priority.
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority: Some(priority), ..self.clone() }
    }

    /// The same agent, waiting so long for room, for answers and for a lost node.
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self.clone() }
    }

    /// Receives what is published to subjects that match.
    pub fn subscribe(&self, pattern: &str) -> Result<Subscription, ClientError> {
        let pattern = pattern.to_owned();
        self.receive(async move |client: crate::Client| client.subscribe(&pattern).await)
    }

    /// Receives requests on subjects that match, as one instance among all who serve them; [`Received::reply`] answers.
    pub fn serve(&self, pattern: &str) -> Result<Subscription, ClientError> {
        let pattern = pattern.to_owned();
        self.receive(async move |client: crate::Client| client.serve(&pattern).await)
    }

    /// Receives what is published to `agent.NAME`, and requests on it.
    pub fn inbox(&self) -> Result<Subscription, ClientError> {
        self.receive(async move |client: crate::Client| client.inbox().await)
    }

    fn receive<F>(&self, open: F) -> Result<Subscription, ClientError>
    where
        F: AsyncFnOnce(crate::Client) -> Result<Source, ClientError> + Send + 'static,
    {
        let (wants, wanted) = mpsc::unbounded_channel();
        let closed = Arc::new(Notify::new());
        let closing = closed.clone();
        self.call(async move |client| {
            let source = open(client).await?;
            let handing = async move {
                tokio::select! {
                    biased;
                    () = closing.notified() => {}
                    () = hand_over(source, wanted) => {}
                }
            };
            task::spawn(handing).detach();
            Ok(())
        })?;
        Ok(Subscription { wants, closed, _client: self.clone() })
    }

    /// Sends to everybody who subscribes, and waits until each has room.
    pub fn publish(&self, subject: &str, payload: impl Into<Payload>) -> Result<Receipt, ClientError> {
        let (subject, payload) = (subject.to_owned(), payload.into());
        self.call(async move |client: crate::Client| client.publish(&subject, payload).await)
    }

    /// Sends what is of use for `lifetime` alone: who has not received it by then never does. As long as nobody took it, it is tried
    /// again; once somebody did, whoever had no room is told by the receipt and is not waited for.
    pub fn publish_expiring(
        &self,
        subject: &str,
        payload: impl Into<Payload>,
        lifetime: Duration,
    ) -> Result<Receipt, ClientError> {
        let (subject, payload) = (subject.to_owned(), payload.into());
        self.call(async move |client: crate::Client| {
            client.publish_expiring(&subject, payload, lifetime).await
        })
    }

    /// Memory for a long payload that other processes can read in place: fill it, then send it as any payload.
    pub fn loan(&self, len: usize) -> Result<Loan, ClientError> {
        self.call(async move |client: crate::Client| client.loan(len))
    }

    /// Sends to everybody who subscribes, without waiting for room: the receipt tells who took it.
    pub fn try_publish(&self, subject: &str, payload: impl Into<Payload>) -> Result<Receipt, ClientError> {
        let (subject, payload) = (subject.to_owned(), payload.into());
        self.call(async move |client: crate::Client| client.try_publish(&subject, payload))
    }

    /// Asks one of those who serve `subject`, and waits for what it answers.
    pub fn request(&self, subject: &str, payload: impl Into<Payload>) -> Result<Received, ClientError> {
        let (subject, payload) = (subject.to_owned(), payload.into());
        self.call(async move |client: crate::Client| {
            Ok(Received::new(client.request(&subject, payload).await?))
        })
    }

    /// Whether the process is attached at this moment. If it is not it goes on attaching by itself.
    pub fn is_attached(&self) -> Result<bool, ClientError> {
        self.call(async |client: crate::Client| Ok(client.lost().is_none()))
    }

    /// Waits until the process is attached (again); false if it is not within that time.
    pub fn wait_attached(&self, within: Duration) -> Result<bool, ClientError> {
        self.call(async move |client: crate::Client| {
            Ok(time::timeout(within, client.attached()).await.is_ok())
        })
    }

    /// Leaves when all that was accepted is on its lane. Other handles to this client keep the process attached until they are dropped.
    pub fn detach(self) -> Result<(), ClientError> {
        self.call(async |client: crate::Client| client.detach().await)
    }
}

/// Somebody waits for a message.
struct Want {
    within: Option<Duration>,
    tell: channel::SyncSender<Result<Option<Received>, ClientError>>,
}

/// Hands messages over as they are wanted, until nobody can want one.
async fn hand_over(mut source: Source, mut wanted: mpsc::UnboundedReceiver<Want>) {
    while let Some(Want { within, tell }) = wanted.recv().await {
        let message = match within {
            None => source.recv().await.map(Some),
            Some(within) => match time::timeout(within, source.recv()).await {
                Ok(message) => message.map(Some),
                Err(_) => Some(None),
            },
        };
        // Who wanted it waits for exactly this.
        let _ = tell.send(message.map(|message| message.map(Received::new)).ok_or(ClientError::Ended));
    }
}

/// The receiving end, for one thread at a time: others wait their turn. Dropping it ends the subscription.
pub struct Subscription {
    wants: mpsc::UnboundedSender<Want>,
    closed: Arc<Notify>,
    _client: Client,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl Subscription {
    /// Waits for the next message; `None` when nothing will come any more.
    pub fn recv(&self) -> Option<Received> {
        self.next(None).ok().flatten()
    }

    /// The same, for so long at most.
    pub fn recv_within(&self, within: Duration) -> Option<Received> {
        self.next(Some(within)).ok().flatten()
    }

    /// Waits for the next message, so long at most if that is said: `None` when that time is over, an error when nothing will come
    /// any more.
    pub fn next(&self, within: Option<Duration>) -> Result<Option<Received>, ClientError> {
        let (tell, told) = channel::sync_channel(1);
        self.wants.send(Want { within, tell }).map_err(|_| ClientError::Ended)?;
        told.recv().unwrap_or(Err(ClientError::Ended))
    }

    /// Ends the subscription, also for whoever waits for a message at this moment.
    pub fn close(&self) {
        self.closed.notify_one();
    }
}

/// A message. A request that is dropped without an answer tells its requester so at once.
pub struct Received {
    /// What it was sent to.
    pub subject: String,
    /// Who sent it.
    pub source: String,
    /// How urgent it is.
    pub priority: Priority,
    /// What it says.
    pub payload: Payload,
    /// The way back to whoever asked.
    answer: Option<oneshot::Sender<Answer>>,
}

struct Answer {
    outcome: Result<Payload, String>,
    tell: channel::SyncSender<Result<(), ReplyError>>,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_request = self.answer.is_some();
        write!(f, "Received({} from {}, request: {is_request})", self.subject, self.source)
    }
}

impl Received {
    fn new(message: Message) -> Self {
        let (subject, source) = (message.subject().to_string(), message.source().to_owned());
        let (priority, payload) = (message.priority(), message.payload().clone());
        let answer = message.is_request().then(|| {
            let (answer, answered) = oneshot::channel::<Answer>();
            task::spawn(async move {
                // Dropped without an answer, it drops the message, which says so.
                if let Ok(Answer { outcome, tell }) = answered.await {
                    let sent = match outcome {
                        Ok(payload) => message.reply(payload),
                        Err(reason) => message.fail(&reason),
                    };
                    // Who answered waits for exactly this.
                    let _ = tell.send(sent);
                }
            })
            .detach();
            answer
        });
        Self { subject, source, priority, payload, answer }
    }

    /// Whether somebody waits for an answer.
    pub fn is_request(&self) -> bool {
        self.answer.is_some()
    }

    /// Answers.
    pub fn reply(self, payload: impl Into<Payload>) -> Result<(), ReplyError> {
        self.answer(Ok(payload.into()))
    }

    /// Answers that it was tried and failed.
    pub fn fail(self, reason: &str) -> Result<(), ReplyError> {
        self.answer(Err(reason.to_owned()))
    }

    fn answer(self, outcome: Result<Payload, String>) -> Result<(), ReplyError> {
        let (tell, told) = channel::sync_channel(1);
        let answer = self.answer.ok_or(ReplyError::NotARequest)?;
        answer.send(Answer { outcome, tell }).map_err(|_| ReplyError::Cancelled)?;
        told.recv().unwrap_or(Err(ReplyError::Cancelled))
    }
}
