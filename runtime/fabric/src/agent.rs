//! Agents, their publishers and subscriptions, and messages as handlers get them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use synod_platform::task;
use synod_platform::time::{self, Mono};
use synod_probe::{event, plant, reach};
use synod_ring::pool::Loan;
use synod_wire::body::Reason;

use crate::attach::NoSlot;
use crate::attach::control::Ask;
use crate::attach::spool;
use crate::context::{Answer, Cancel, Envelope, Inner, Queue};
use crate::error::{AttachError, PublishError, ReplyError, RequestError};
use crate::fabric::Context;
use crate::lane::{Body, Passage};
use crate::mailbox::ALL;
use crate::message::{Payload, Published, Receipt};
use crate::registry::{ContextId, Takes};
use crate::request;
use crate::route::{Route, Sending, judge};
use crate::subject::SubjectError;
use crate::{PAYLOAD_MAX, Pattern, Priority, RequestOptions, Subject};

/// Routes an agent keeps for subjects given as text.
const ROUTES_MAX: usize = 64;

/// One who sends and receives. Cheap to clone; stays on its thread. Its name is free again when the last handle to it, its
/// subscriptions' and publishers' included, is dropped.
#[derive(Clone)]
pub struct Agent(Rc<Being>);

pub(crate) struct Being {
    name: Arc<str>,
    context: Context,
    /// Routes to subjects given as text.
    routes: RefCell<BTreeMap<Box<str>, Rc<Route>>>,
}

impl Drop for Being {
    fn drop(&mut self) {
        event!("fabric.agent_gone", agent = &*self.name);
        let shared = &self.context.inner().shared;
        shared.remove_agent(&self.name);
        if let Some(uplink) = shared.uplink() {
            uplink.say(Ask::AgentGone { name: self.name.to_string() }, Vec::new());
        }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.0.name)
    }
}

impl Agent {
    pub(crate) fn new(context: &Context, name: &str) -> Result<Self, AttachError> {
        Subject::new(name)?;
        let name: Arc<str> = name.into();
        context.inner().shared.add_agent(&name, context.inner().id())?;
        event!("fabric.agent", agent = &*name, context = context.name());
        Ok(Self(Rc::new(Being { name, context: context.clone(), routes: RefCell::default() })))
    }

    /// Tells the node of its name and waits until it agrees.
    pub(crate) async fn announce(&self) -> Result<(), AttachError> {
        let inner = self.inner();
        let Some(uplink) = inner.shared.uplink() else { return Ok(()) };
        let (name, context) = (self.name().to_owned(), inner.id());
        let outcome = uplink.ask(|ask| Ask::Agent { ask, name, context }).outcome().await;
        outcome.map_err(AttachError::Refused)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its context.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    fn inner(&self) -> &Rc<Inner> {
        self.0.context.inner()
    }

    /// Receives what is published to subjects that match. `capacity` is the number of places for each priority and sending context;
    /// a sender that finds none is told so. Every publish that starts after this returned reaches the subscription.
    pub async fn subscribe(&self, pattern: &str, capacity: usize) -> Result<Subscription, AttachError> {
        self.attach(pattern, capacity, Takes { events: true, ..Takes::default() }).await
    }

    /// Receives requests on subjects that match, as one instance among all who serve them: each request goes to one.
    pub async fn serve(&self, pattern: &str, capacity: usize) -> Result<Subscription, AttachError> {
        self.attach(pattern, capacity, Takes { requests: true, ..Takes::default() }).await
    }

    /// Receives what is published to `agent.<name>` and requests on it: how an agent is reached by name.
    pub async fn inbox(&self, capacity: usize) -> Result<Subscription, AttachError> {
        let takes = Takes { events: true, requests: true, tap: false };
        self.attach(&format!("agent.{}", self.0.name), capacity, takes).await
    }

    /// Receives glances at what others publish.
    pub(crate) async fn tap(&self, pattern: Pattern, capacity: usize) -> Result<Subscription, AttachError> {
        self.attach(pattern.as_str(), capacity, Takes { tap: true, ..Takes::default() }).await
    }

    async fn attach(
        &self,
        pattern: &str,
        capacity: usize,
        takes: Takes,
    ) -> Result<Subscription, AttachError> {
        let pattern = Pattern::new(pattern)?;
        let inner = self.inner();
        let entry = inner.shared.new_entry(&inner.station, self.0.name.clone(), capacity, false)?;
        let queue = Queue::new(entry.clone(), inner.shared.clone());
        inner.queues.borrow_mut().insert(entry.id, queue.clone());
        event!(
            "fabric.subscribe",
            agent = self.name(),
            pattern = pattern.as_str(),
            events = takes.events,
            requests = takes.requests
        );
        let subscription = Subscription { queue, agent: Some(self.clone()), context: self.0.context.clone() };
        if takes.events {
            let queue = &subscription.queue;
            spool::recall(&queue.spools, &entry, &pattern, &inner.shared).await;
            inner.tend(queue);
        }
        let answer = inner.shared.list(&entry, BTreeMap::from([(pattern, takes)]));
        if let Some(answer) = answer {
            answer.outcome().await.map_err(AttachError::Refused)?;
        }
        Ok(subscription)
    }

    /// A way to one subject with its route cached: what to keep where much is sent.
    pub fn publisher(&self, subject: &str) -> Result<Publisher, SubjectError> {
        Ok(Publisher { route: self.route(subject)?, agent: self.clone() })
    }

    /// The cached route to a subject.
    fn route(&self, subject: &str) -> Result<Rc<Route>, SubjectError> {
        if let Some(route) = self.0.routes.borrow().get(subject) {
            return Ok(route.clone());
        }
        let route = self.inner().route(&self.0.name, &Subject::new(subject)?, false);
        let mut routes = self.0.routes.borrow_mut();
        if routes.len() >= ROUTES_MAX {
            routes.clear();
        }
        routes.insert(subject.into(), route.clone());
        Ok(route)
    }

    /// Memory for a long payload that other processes can read in place: fill it, then send it as any payload; nothing is copied on its way.
    pub fn loan(&self, len: usize) -> Result<Loan, NoSlot> {
        self.inner().loan(len)
    }

    /// Sends to everybody who subscribes to `subject`; answers at once. `Ok` when somebody took it or nobody subscribes: the receipt tells.
    pub fn publish(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
    ) -> Result<Receipt, PublishError> {
        self.publisher(subject)?.publish_by(priority, &payload.into(), None)
    }

    /// The same, waiting up to `within` until every receiver has room.
    pub async fn publish_wait(
        &self,
        subject: &str,
        priority: Priority,
        payload: impl Into<Payload>,
        within: Duration,
    ) -> Result<Receipt, PublishError> {
        self.publisher(subject)?.publish_wait(priority, payload, within).await
    }

    /// Asks one of those who serve `subject` and waits for the answer, up to `within`. Another is asked only when the first certainly did
    /// nothing. Dropping the future cancels the request.
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
        let route = self.route(subject)?;
        request::ask(&self.0.context, &route, priority, &payload.into(), options).await
    }
}

/// A way to one subject, with its route cached.
#[derive(Clone)]
pub struct Publisher {
    route: Rc<Route>,
    agent: Agent,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({} to {})", self.agent.name(), self.route.subject)
    }
}

impl Publisher {
    /// The subject.
    pub fn subject(&self) -> &Subject {
        &self.route.subject
    }

    /// Sends to everybody who subscribes; answers at once.
    #[inline]
    pub fn publish(&self, priority: Priority, payload: &[u8]) -> Result<Receipt, PublishError> {
        let body = Body::Slice(payload);
        self.route.publish(self.agent.inner(), Sending { priority, deadline: 0, correlation: 0, body })
    }

    /// Sends payloads in a row to everybody who subscribes, until somebody refuses one. Cheaper for each than alone: a few at a time become
    /// visible together, all when this returns.
    pub fn publish_all<'p>(
        &self,
        priority: Priority,
        payloads: impl IntoIterator<Item = &'p [u8]>,
    ) -> Published {
        self.route.publish_all(self.agent.inner(), priority, payloads)
    }

    /// The same as [`Self::publish`] for a payload that may be shared already, which is then not copied for receivers in this process; and with
    /// a moment after which nobody wants it: whoever has not got it by then never does.
    pub fn publish_by(
        &self,
        priority: Priority,
        payload: &Payload,
        deadline: Option<Mono>,
    ) -> Result<Receipt, PublishError> {
        let deadline = deadline.map_or(0, Mono::as_nanos);
        let body = Body::Shared(payload);
        self.route.publish(self.agent.inner(), Sending { priority, deadline, correlation: 0, body })
    }

    /// Sends, and waits up to `within` until every receiver has room, except for those to which this process has no memory to send. Those that
    /// took it at first are not sent it twice.
    pub async fn publish_wait(
        &self,
        priority: Priority,
        payload: impl Into<Payload>,
        within: Duration,
    ) -> Result<Receipt, PublishError> {
        let payload = payload.into();
        publish_wait(self.agent.inner(), &self.route, priority, &payload, 0, time::now() + within).await
    }
}

/// Sends over a route and waits until every receiver took it or never will, or until `until`.
pub(crate) async fn publish_wait(
    inner: &Inner,
    route: &Route,
    priority: Priority,
    payload: &Payload,
    deadline: u64,
    until: Mono,
) -> Result<Receipt, PublishError> {
    if payload.len() > PAYLOAD_MAX {
        return Err(PublishError::TooLarge { len: payload.len(), max: PAYLOAD_MAX });
    }
    let sending = Sending { priority, deadline, correlation: 0, body: Body::Shared(payload) };
    let resolved = route.resolved(inner).clone();
    let mut receipt = resolved.publish_now(sending);
    while receipt.refused.iter().any(|(_, why)| why.is_told_over()) {
        let mut room = pin!(inner.station.home().space.notified());
        room.as_mut().enable();
        let must_wait = resolved.ask_for_room(sending, &receipt);
        resolved.retry(sending, &mut receipt);
        if !receipt.refused.iter().any(|(_, why)| why.is_told_over()) {
            break;
        }
        if !must_wait {
            // Room came up between the two looks; somebody else of this context may take it first.
            if time::now() >= until {
                return Err(PublishError::DeadlinePassed(receipt));
            }
            task::yield_now().await;
            continue;
        }
        reach!("fabric.publish_waits");
        let in_time = time::timeout_at(until, room).await.is_ok();
        // Late, too: there may be places, too few to be woken for.
        resolved.retry(sending, &mut receipt);
        if !in_time && receipt.refused.iter().any(|(_, why)| why.is_told_over()) {
            return Err(PublishError::DeadlinePassed(receipt));
        }
    }
    if receipt.refused.is_empty() { Ok(receipt) } else { judge(receipt) }
}

/// The receiving end: six queues, by priority. Dropping it ends the subscription; requests that wait in it are told at once.
pub struct Subscription {
    queue: Rc<Queue>,
    /// Keeps the name taken; links have none.
    agent: Option<Agent>,
    context: Context,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({:?}, {} waiting)", self.queue.entry, self.len())
    }
}

impl Subscription {
    /// A link's: it subscribes to nothing until its peer tells what it wants.
    pub(crate) fn of_link(context: &Context, owner: Arc<str>, capacity: usize) -> Result<Self, AttachError> {
        let inner = context.inner();
        let entry = inner.shared.new_entry(&inner.station, owner, capacity, true)?;
        let queue = Queue::new(entry.clone(), inner.shared.clone());
        inner.queues.borrow_mut().insert(entry.id, queue.clone());
        Ok(Self { queue, agent: None, context: context.clone() })
    }

    pub(crate) fn queue(&self) -> &Rc<Queue> {
        &self.queue
    }

    /// The next message: the most urgent, with ageing so that none starves. `None` when the fabric drains and nothing is left. With this the
    /// one before is done with: a BACKGROUND one of another process would have come [again](crate::attach) after this process's death.
    pub async fn recv(&mut self) -> Option<Message> {
        let envelope = poll_fn(|cx| self.queue.poll_take(ALL, cx)).await?;
        Some(Message::received(&self.context, envelope))
    }

    /// The next message, if one is there or on its way here by now. Who calls it over and over is busy and never woken: it must let the
    /// context's other tasks run now and then, which hear from the node.
    #[inline]
    pub fn try_recv(&mut self) -> Option<Message> {
        let envelope = self.queue.take(ALL).or_else(|| {
            self.context.inner().look();
            self.queue.take(ALL)
        })?;
        Some(Message::received(&self.context, envelope))
    }

    /// Messages that wait here; others may be on their way.
    pub fn len(&self) -> usize {
        self.queue.mailbox.borrow().len()
    }

    /// Whether none waits here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The agent that receives; none for a link's.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.context.inner().close(&self.queue);
    }
}

/// A message as its receiver gets it. A request that is dropped without an answer tells its requester so at once.
pub struct Message {
    passage: Arc<Passage>,
    priority: Priority,
    deadline: u64,
    payload: Payload,
    owed: Option<Owed>,
}

/// The answer that a request is owed.
struct Owed {
    context: Context,
    correlation: u64,
    cancel: Rc<Cancel>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.passage.subject)
            .field("source", &self.passage.source)
            .field("priority", &self.priority)
            .field("payload", &self.payload)
            .field("is_request", &self.is_request())
            .finish()
    }
}

impl Message {
    #[inline]
    pub(crate) fn received(context: &Context, envelope: Envelope) -> Self {
        let Envelope { passage, priority, deadline, correlation, payload } = envelope;
        let owed = (correlation != 0).then(|| {
            let from = passage.edge.as_ref().map_or(0, |edge| edge.from.id);
            let cancel = context.inner().take_in_hand(from, correlation);
            Owed { context: context.clone(), correlation, cancel }
        });
        Self { passage, priority, deadline, payload, owed }
    }

    pub(crate) fn answered(source: Arc<str>, subject: Subject, priority: Priority, payload: Payload) -> Self {
        let passage = Arc::new(Passage { source, subject, edge: None });
        Self { passage, priority, deadline: 0, payload, owed: None }
    }

    /// What it was sent to; for an answer, what was asked.
    pub fn subject(&self) -> &Subject {
        &self.passage.subject
    }

    /// Who sent it: an agent's name, or `node/agent` when it came from another node.
    pub fn source(&self) -> &str {
        &self.passage.source
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// What it says, to keep. A request taken apart like this is not yet answered.
    pub fn take_payload(&mut self) -> Payload {
        std::mem::replace(&mut self.payload, Payload::copy_from(&[]))
    }

    /// When nobody wants it any more.
    pub fn deadline(&self) -> Option<Mono> {
        (self.deadline != 0).then(|| Mono::from_nanos(self.deadline))
    }

    /// Whether somebody waits for an answer.
    pub fn is_request(&self) -> bool {
        self.owed.is_some()
    }

    /// Whether the requester has given up.
    pub fn is_cancelled(&self) -> bool {
        self.owed.as_ref().is_some_and(|owed| owed.cancel.cancelled.get())
    }

    /// Waits until the requester gives up; for ever if nobody waits for an answer. For one task at a time.
    pub async fn cancelled(&self) {
        poll_fn(|cx| {
            if self.is_cancelled() {
                return Poll::Ready(());
            }
            if let Some(owed) = &self.owed {
                *owed.cancel.waker.borrow_mut() = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Answers.
    pub fn reply(self, payload: impl Into<Payload>) -> Result<(), ReplyError> {
        let payload = payload.into();
        if payload.len() > PAYLOAD_MAX {
            return Err(ReplyError::TooLarge { len: payload.len(), max: PAYLOAD_MAX });
        }
        let priority = self.priority;
        self.end(|source| Answer::Reply { source, priority, payload })
    }

    /// Says that nothing was done, so that another instance may be asked.
    pub fn refuse(self, reason: &str) -> Result<(), ReplyError> {
        self.end(|_| Answer::Refused { reason: Reason::NotAllowed, text: reason.to_owned() })
    }

    /// Says that it was tried and failed.
    pub fn fail(self, reason: &str) -> Result<(), ReplyError> {
        let text = if reason.is_empty() { "no reason was given" } else { reason };
        self.end(|_| Answer::Refused { reason: Reason::Failed, text: text.to_owned() })
    }

    fn end(mut self, answer: impl FnOnce(Arc<str>) -> Answer) -> Result<(), ReplyError> {
        let owed = self.owed.take().ok_or(ReplyError::NotARequest)?;
        if owed.cancel.cancelled.get() && !plant!("fabric.late-reply-delivered") {
            reach!("fabric.reply_after_cancel");
            return Err(ReplyError::Cancelled);
        }
        let late = self.deadline != 0 && time::now().as_nanos() >= self.deadline;
        let Some(edge) = &self.passage.edge else { return Err(ReplyError::NotARequest) };
        // A late answer is sent all the same: the requester counts it.
        let answer = answer(edge.to.owner.clone());
        owed.context.inner().answer_to(&edge.from, &edge.to, owed.correlation, self.priority, answer);
        if late { Err(ReplyError::DeadlinePassed) } else { Ok(()) }
    }

    /// Ends a request with an answer that another node gave.
    pub(crate) fn pass_on(self, answer: Answer) -> Result<(), ReplyError> {
        self.end(|_| answer)
    }

    /// Lets the requester wait in vain: only a planted bug does.
    pub(crate) fn forget(&mut self) {
        self.owed = None;
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let Some(owed) = self.owed.take() else { return };
        if owed.cancel.cancelled.get() {
            return;
        }
        let Some(edge) = &self.passage.edge else { return };
        reach!("fabric.abandoned");
        event!("fabric.abandoned", agent = &*edge.to.owner, subject = self.passage.subject.as_str());
        let answer = Answer::Refused { reason: Reason::Failed, text: String::new() };
        owed.context.inner().answer_to(&edge.from, &edge.to, owed.correlation, self.priority, answer);
    }
}

/// The names of living agents, for [`crate::Fabric::snapshot`].
pub(crate) fn names(agents: &BTreeMap<Arc<str>, ContextId>, context: ContextId) -> BTreeSet<String> {
    agents.iter().filter(|(_, id)| **id == context).map(|(name, _)| name.to_string()).collect()
}
