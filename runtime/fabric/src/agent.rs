//! The handles of the fabric. Published ahead of their bodies, which follow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use synod_platform::time::Mono;
use synod_resilience::breaker;

use crate::error::{AttachError, PublishError, ReplyError, RequestError};
use crate::message::{Payload, Receipt};
use crate::subject::SubjectError;
use crate::{Priority, Subject};

/// How a node's fabric is set up.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// The node's name: unique among its peers.
    pub node: String,
    /// Size of a new lane's ring, bytes; a power of two.
    pub lane_bytes: usize,
    /// The largest capacity a subscription may ask for, messages a priority and sending context.
    pub capacity_max: usize,
    /// When instances of a service are given a rest.
    pub breaker: breaker::Settings,
}

impl FabricConfig {
    /// The usual settings for a node of that name.
    pub fn named(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            lane_bytes: 16 << 10,
            capacity_max: 65_536,
            breaker: breaker::Settings::default(),
        }
    }
}

/// One node's fabric. Cheap to clone; any thread may hold it.
#[derive(Clone, Debug)]
pub struct Fabric(Arc<FabricConfig>);

impl Fabric {
    /// A fabric without contexts, agents or links.
    pub fn new(config: FabricConfig) -> Self {
        Self(Arc::new(config))
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Binds the current executor thread, under a name that is unique in this fabric.
    pub fn enter(&self, name: &str) -> Result<Context, AttachError> {
        unimplemented!("{name}")
    }
}

/// An executor thread's part in the fabric. Cheap to clone; stays on its thread.
#[derive(Clone, Debug)]
pub struct Context(Rc<()>);

impl Context {
    /// Makes an agent. Its name is one token or more, unique in the node until the last handle to it is dropped.
    pub fn agent(&self, name: &str) -> Result<Agent, AttachError> {
        unimplemented!("{name}")
    }

    /// The fabric.
    pub fn fabric(&self) -> &Fabric {
        unimplemented!()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        unimplemented!()
    }
}

/// One who sends and receives. Cheap to clone; stays on its thread.
#[derive(Clone, Debug)]
pub struct Agent(Rc<()>);

impl Agent {
    /// Its name.
    pub fn name(&self) -> &str {
        unimplemented!()
    }

    /// Its context.
    pub fn context(&self) -> &Context {
        unimplemented!()
    }

    /// Receives what is published to subjects that match. `capacity` is the number of places for each priority and sending context.
    /// Every publish that starts after this returned reaches the subscription.
    pub async fn subscribe(&self, pattern: &str, capacity: usize) -> Result<Subscription, AttachError> {
        unimplemented!("{pattern} {capacity}")
    }

    /// Receives requests on subjects that match, as one instance among those who serve them: a request goes to one of them.
    pub async fn serve(&self, pattern: &str, capacity: usize) -> Result<Subscription, AttachError> {
        unimplemented!("{pattern} {capacity}")
    }

    /// Receives both what is published to `agent.<name>` and requests on it.
    pub async fn inbox(&self, capacity: usize) -> Result<Subscription, AttachError> {
        unimplemented!("{capacity}")
    }

    /// A way to one subject, with its route cached: the fast path.
    pub fn publisher(&self, subject: &str) -> Result<Publisher, SubjectError> {
        unimplemented!("{subject}")
    }

    /// Sends to everybody who subscribes to `subject`; answers at once. `Ok` when somebody took it, or nobody subscribes.
    pub fn publish(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
    ) -> Result<Receipt, PublishError> {
        let _ = (subject, priority, payload.into());
        unimplemented!()
    }

    /// The same, waiting up to `within` until every receiver had room.
    pub async fn publish_wait(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
        within: Duration,
    ) -> Result<Receipt, PublishError> {
        let _ = (subject, priority, payload.into(), within);
        unimplemented!()
    }

    /// Asks one of those who serve `subject` and waits for the answer, up to `within`. Never asked twice unless the first
    /// instance certainly did nothing. Dropping the future cancels the request.
    pub async fn request(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
        within: Duration,
    ) -> Result<Message, RequestError> {
        self.request_with(subject, priority, payload, RequestOptions::within(within)).await
    }

    /// The same, with more said about how.
    pub async fn request_with(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
        options: RequestOptions,
    ) -> Result<Message, RequestError> {
        let _ = (subject, priority, payload.into(), options);
        unimplemented!()
    }
}

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// The whole time it may take.
    pub within: Duration,
    /// Doing it twice is harmless: another instance may be asked when one took it and gave no answer.
    pub idempotent: bool,
    /// The time one instance gets; the whole time if `None`.
    pub attempt: Option<Duration>,
    /// The most instances asked.
    pub attempts_max: u32,
}

impl RequestOptions {
    /// One that may take `within`, is not idempotent, and asks up to three instances.
    pub fn within(within: Duration) -> Self {
        Self { within, idempotent: false, attempt: None, attempts_max: 3 }
    }

    /// Says that doing it twice is harmless.
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// Gives each instance `attempt` of the time.
    pub fn attempt(self, attempt: Duration) -> Self {
        Self { attempt: Some(attempt), ..self }
    }
}

/// A way to one subject, with its route cached.
#[derive(Clone, Debug)]
pub struct Publisher(Rc<()>);

impl Publisher {
    /// Sends to everybody who subscribes; answers at once.
    pub fn publish(&self, priority: Priority, payload: &[u8]) -> Result<Receipt, PublishError> {
        let _ = (priority, payload);
        unimplemented!()
    }

    /// The same for a payload that is shared already: no copy is made for receivers in this process.
    pub fn publish_shared(&self, priority: Priority, payload: Payload) -> Result<Receipt, PublishError> {
        let _ = (priority, payload);
        unimplemented!()
    }

    /// Waits up to `within` until every receiver had room.
    pub async fn publish_wait(
        &self,
        priority: Priority,
        payload: Payload,
        within: Duration,
    ) -> Result<Receipt, PublishError> {
        let _ = (priority, payload, within);
        unimplemented!()
    }
}

/// The receiving end: six queues, by priority.
#[derive(Debug)]
pub struct Subscription(Rc<()>);

impl Subscription {
    /// The next message: the most urgent, with ageing so that none starves. `None` when the subscription was revoked or its fabric stopped.
    pub async fn recv(&mut self) -> Option<Message> {
        unimplemented!()
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<Message> {
        unimplemented!()
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message as its receiver gets it. A request that is dropped without an answer tells its requester so.
#[derive(Debug)]
pub struct Message(Rc<()>);

impl Message {
    /// What it was sent to.
    pub fn subject(&self) -> &Subject {
        unimplemented!()
    }

    /// Who sent it: an agent's name, or `node/agent` from another node.
    pub fn source(&self) -> &str {
        unimplemented!()
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        unimplemented!()
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        unimplemented!()
    }

    /// When nobody wants it any more.
    pub fn deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    /// Whether somebody waits for an answer.
    pub fn is_request(&self) -> bool {
        unimplemented!()
    }

    /// Whether the requester has given up.
    pub fn is_cancelled(&self) -> bool {
        unimplemented!()
    }

    /// Answers.
    pub fn reply(self, payload: impl Into<Payload>) -> Result<(), ReplyError> {
        let _ = payload.into();
        unimplemented!()
    }

    /// Says that nothing was done and another instance may be asked.
    pub fn refuse(self, reason: &str) -> Result<(), ReplyError> {
        unimplemented!("{reason}")
    }

    /// Says that it was tried and failed.
    pub fn fail(self, reason: &str) -> Result<(), ReplyError> {
        unimplemented!("{reason}")
    }
}
