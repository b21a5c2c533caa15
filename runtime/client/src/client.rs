//! A client: one agent of this process, with what holds for all it does, and the process's place in its node.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use synod_fabric::attach::{Attachment, DetachReason};
use synod_fabric::{
    Agent, Context, Loan, Message, Payload, Priority, PublishError, Publisher, Receipt, RequestOptions,
    Subscription,
};
use synod_platform::time;

use crate::ClientError;
use crate::options::Defaults;

/// How long a message with an end that nobody took rests before it is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// An agent of this process in its node's fabric. Cheap to clone; stays on its thread. The process is attached as long as any client of it
/// lives.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    place: Rc<Place>,
    defaults: Defaults,
}

/// The process's place in its node.
struct Place {
    // Dropped first: the node hears that the context ends before the connection does.
    context: Context,
    attachment: Attachment,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.name())
    }
}

impl Client {
    pub(crate) async fn enter(
        attachment: Attachment,
        name: &str,
        defaults: Defaults,
    ) -> Result<Self, ClientError> {
        let context = attachment.fabric().enter(name)?;
        let agent = context.join(name).await?;
        Ok(Self { agent, place: Rc::new(Place { context, attachment }), defaults })
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        self.agent.name()
    }

    /// The agent itself, for what is not said here.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Another agent in the same process, with the same settings.
    pub async fn join(&self, name: &str) -> Result<Self, ClientError> {
        let agent = self.place.context.join(name).await?;
        Ok(Self { agent, place: self.place.clone(), defaults: self.defaults })
    }

    /// The same agent, sending with another priority.
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { defaults: Defaults { priority, ..self.defaults }, ..self.clone() }
    }

    /// The same agent, waiting so long for room, for answers and for a lost node.
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { defaults: Defaults { patience, ..self.defaults }, ..self.clone() }
    }

    /// Receives what is published to subjects that match. Every publish that starts after this returned reaches it, wherever it starts.
    /// If the node is lost meanwhile there is no subscription, and what it had accepted is given up: subscribe again once attached.
    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, ClientError> {
        Ok(self.agent.subscribe(pattern, self.defaults.capacity).await?)
    }

    /// Receives requests on subjects that match, as one instance among all who serve them; [`Message::reply`] answers.
    pub async fn serve(&self, pattern: &str) -> Result<Subscription, ClientError> {
        Ok(self.agent.serve(pattern, self.defaults.capacity).await?)
    }

    /// Receives what is published to `agent.NAME`, and requests on it.
    pub async fn inbox(&self) -> Result<Subscription, ClientError> {
        Ok(self.agent.inbox(self.defaults.capacity).await?)
    }

    /// Sends to everybody who subscribes, and waits until each has room and, if the node is lost, until it is back, both as long as patience lasts.
    pub async fn publish(&self, subject: &str, payload: impl Into<Payload>) -> Result<Receipt, ClientError> {
        let until = time::now() + self.defaults.patience;
        self.found(until).await?;
        let within = until.since(time::now());
        Ok(self.agent.publish_wait(subject, self.defaults.priority, payload, within).await?)
    }

    /// Sends what is of use for `lifetime` alone: who has not received it by then never does. As long as nobody took it, it is tried
    /// again; once somebody did, whoever had no room is told by the receipt and is not waited for.
    pub async fn publish_expiring(
        &self,
        subject: &str,
        payload: impl Into<Payload>,
        lifetime: Duration,
    ) -> Result<Receipt, ClientError> {
        let until = time::now() + lifetime;
        self.found(until).await?;
        let (publisher, payload) = (self.publisher(subject)?, payload.into());
        loop {
            match publisher.publish_by(self.defaults.priority, &payload, Some(until)) {
                Err(PublishError::WouldBlock(_)) if time::now() < until => time::sleep(RETRY).await,
                sent => return Ok(sent?),
            }
        }
    }

    /// Memory for a long payload that other processes can read in place: fill it, then send it as any payload.
    pub fn loan(&self, len: usize) -> Result<Loan, ClientError> {
        Ok(self.agent.loan(len)?)
    }

    /// Sends to everybody who subscribes; answers at once. The receipt tells who took it and who has no room. The first message on a
    /// subject is refused until its way to other processes is open.
    pub fn try_publish(&self, subject: &str, payload: impl Into<Payload>) -> Result<Receipt, ClientError> {
        match self.lost() {
            Some(reason) => Err(ClientError::Lost(reason)),
            None => Ok(self.agent.publish(subject, self.defaults.priority, payload)?),
        }
    }

    /// A way to one subject with its route cached: what to keep where much is sent.
    pub fn publisher(&self, subject: &str) -> Result<Publisher, ClientError> {
        Ok(self.agent.publisher(subject).map_err(PublishError::from)?)
    }

    /// Asks one of those who serve `subject`, and waits for the answer as long as patience lasts. Dropping the future cancels the request.
    pub async fn request(&self, subject: &str, payload: impl Into<Payload>) -> Result<Message, ClientError> {
        self.request_with(subject, payload, RequestOptions::within(self.defaults.patience)).await
    }

    /// The same, with more said about how.
    pub async fn request_with(
        &self,
        subject: &str,
        payload: impl Into<Payload>,
        options: RequestOptions,
    ) -> Result<Message, ClientError> {
        let until = time::now() + options.within;
        self.found(until).await?;
        let options = RequestOptions { within: until.since(time::now()), ..options };
        Ok(self.agent.request_with(subject, self.defaults.priority, payload, options).await?)
    }

    /// Why the process is not attached at this moment; `None` if it is. It goes on attaching again by itself.
    pub fn lost(&self) -> Option<DetachReason> {
        self.place.attachment.lost()
    }

    /// Waits until the node is lost.
    pub async fn closed(&self) {
        self.place.attachment.changed_to(false).await;
    }

    /// Waits until the process is attached (again).
    pub async fn attached(&self) {
        self.place.attachment.changed_to(true).await;
    }

    /// Leaves when all that was accepted is on its lane, from where its receivers still take it. Other clients of this process keep it
    /// attached until they are dropped.
    pub async fn detach(self) -> Result<(), ClientError> {
        match self.place.context.flush(self.defaults.patience).await {
            true => Ok(()),
            false => Err(ClientError::Unsent),
        }
    }

    /// Waits for the node if it is lost.
    async fn found(&self, until: time::Mono) -> Result<(), ClientError> {
        if self.lost().is_none() {
            return Ok(());
        }
        let waited = time::timeout_at(until, self.attached()).await;
        waited.map_err(|_| self.lost().map_or(ClientError::Ended, ClientError::Lost))
    }
}
