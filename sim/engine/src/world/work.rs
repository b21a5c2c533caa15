//! The agents of a node: receivers, servers, clients, writers, each supervised, each writing down what it does.
//!
//! Receivers and servers are on the first context, clients go round the others. One that panics because a fault had it do so is started
//! again after [`RESTART`]; a panic of its own is written down as what it is.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use synod_control::units::DelayRange;
use synod_fabric::{Agent, Context, Message, PublishError, Receipt, Refusal, RequestError, RequestOptions};
use synod_platform::disk::append::AppendFile;
use synod_platform::simulation::{self, clock};
use synod_platform::task::{self, JoinError};
use synod_platform::{random, time};
use synod_probe::event;

use super::fleet::{WARM_UP, until};
use super::shared::Shared;
use super::{consensus, flow, nanoseconds, payload, store};
use crate::history::{Id, NodeNumber, Outcome, What};
use crate::scenario::Scenario;
use crate::scenario::form::{Priority, Workload, WorkloadKind};

/// How a panic that a fault ordered begins.
pub const PLANNED: &str = "planned: ";

/// How long a panicked agent stays away.
pub(super) const RESTART: Duration = Duration::from_millis(100);
/// Requests one client may have under way.
const UNDER_WAY_MAX: usize = 64;
/// The most that one append-only file may hold, bytes.
const FILE_MAX: u64 = 64 << 20;

/// An agent's part in a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives what is published.
    Receive(usize),
    /// Serves requests.
    Serve(usize),
    /// Publishes.
    Publish(usize, u32),
    /// Asks.
    Ask(usize, u32),
    /// Appends to a file.
    Append(usize, u32),
    /// Appends to a log of a store.
    Store(usize, u32),
    /// Drives a log of consensus.
    Consensus(usize, u32),
    /// Does steps of workflows.
    Work(usize),
    /// Has workflows run.
    Conduct(usize, u32),
}

impl Role {
    /// The context it runs on, of so many.
    pub fn context(self, contexts: usize) -> usize {
        match self {
            Role::Receive(_) | Role::Serve(_) | Role::Work(_) => 0,
            Role::Publish(_, client)
            | Role::Ask(_, client)
            | Role::Append(_, client)
            | Role::Store(_, client)
            | Role::Consensus(_, client)
            | Role::Conduct(_, client) => (client as usize + 1) % contexts,
        }
    }
}

/// The roles on a node: those who receive before those who send.
pub fn roles(scenario: &Scenario, number: NodeNumber) -> Vec<Role> {
    let name = format!("n{number}");
    let here = |nodes: &[String]| nodes.is_empty() || nodes.contains(&name);
    let mut roles = Vec::new();
    for (index, work) in scenario.workload.iter().enumerate() {
        match work.kind {
            WorkloadKind::Publish if here(&work.to) => roles.push(Role::Receive(index)),
            WorkloadKind::Request if here(&work.to) => roles.push(Role::Serve(index)),
            WorkloadKind::Workflow if here(&work.to) => roles.push(Role::Work(index)),
            _ => {}
        }
    }
    for (index, work) in scenario.workload.iter().enumerate() {
        for client in 0..u32::from(work.clients) {
            match work.kind {
                _ if !here(&work.from) => {}
                WorkloadKind::Publish => roles.push(Role::Publish(index, client)),
                WorkloadKind::Request => roles.push(Role::Ask(index, client)),
                WorkloadKind::Append => roles.push(Role::Append(index, client)),
                WorkloadKind::Store => roles.push(Role::Store(index, client)),
                WorkloadKind::Consensus => roles.push(Role::Consensus(index, client)),
                WorkloadKind::Workflow => roles.push(Role::Conduct(index, client)),
                // Named as unsupported before a run begins.
                WorkloadKind::Lock
                | WorkloadKind::Queue
                | WorkloadKind::Kv
                | WorkloadKind::Transaction
                | WorkloadKind::Stream => {}
            }
        }
    }
    roles
}

/// Starts the roles on this context and watches over them until the context ends.
pub async fn run(shared: Arc<Shared>, context: Context, roles: Vec<Role>) {
    let mut watched = Vec::new();
    for role in roles {
        watched.push(task::spawn(supervise(shared.clone(), context.clone(), role)));
    }
    for supervisor in watched {
        // A supervisor ends with its role or with the context.
        drop(supervisor.await);
    }
    std::future::pending::<()>().await;
}

async fn supervise(shared: Arc<Shared>, context: Context, role: Role) {
    loop {
        let ended = task::spawn(live(shared.clone(), context.clone(), role)).await;
        let (Role::Receive(work)
        | Role::Serve(work)
        | Role::Publish(work, _)
        | Role::Ask(work, _)
        | Role::Append(work, _)
        | Role::Store(work, _)
        | Role::Consensus(work, _)
        | Role::Work(work)
        | Role::Conduct(work, _)) = role;
        match ended {
            Ok(()) => return,
            Err(JoinError::Panicked(text)) => {
                if matches!(role, Role::Receive(_) | Role::Serve(_)) {
                    shared.note(What::Detached { work });
                }
                if !text.starts_with(PLANNED) {
                    shared.note(What::AgentDied { work, text });
                    return;
                }
                event!("engine.agent_restarts", work = work);
                time::sleep(RESTART).await;
            }
            Err(JoinError::Cancelled) => return,
        }
    }
}

async fn live(shared: Arc<Shared>, context: Context, role: Role) {
    let work = |index: usize| shared.scenario.workload[index].clone();
    match role {
        Role::Receive(index) => receive(&shared, &context, index, &work(index)).await,
        Role::Serve(index) => serve(&shared, &context, index, &work(index)).await,
        Role::Publish(index, client) => publish(&shared, &context, index, client, &work(index)).await,
        Role::Ask(index, client) => ask(&shared, &context, index, client, &work(index)).await,
        Role::Append(index, client) => append(&shared, index, client, &work(index)).await,
        Role::Store(index, client) => store::run(&shared, index, client, &work(index)).await,
        Role::Consensus(index, client) => consensus::run(&shared, index, client, &work(index)).await,
        Role::Work(index) => flow::work(&shared, &context, index, &work(index)).await,
        Role::Conduct(index, client) => flow::conduct(&shared, &context, index, client, &work(index)).await,
    }
}

pub fn agent(context: &Context, name: &str) -> Agent {
    match context.agent(name) {
        Ok(agent) => agent,
        Err(error) => panic!("the agent {name} cannot be made: {error}"),
    }
}

pub fn here() -> NodeNumber {
    simulation::current_node().number()
}

/// Panics if a fault wants this agent to.
pub fn panic_if_ordered(shared: &Shared, work: usize) {
    let ordered = shared.switches().panic.remove(&(work, here())).is_some();
    if ordered {
        event!("engine.panic", work = work);
        shared.note(What::Panicked { work });
        panic!("planned: a fault wants this agent to panic");
    }
}

/// Takes the time that handling one message costs here and now.
pub async fn handle(shared: &Shared, index: usize, service: DelayRange) {
    let slow = shared.switches().slow.get(&(index, here())).copied();
    let range = slow.unwrap_or(service);
    let cost = draw(range);
    if !cost.is_zero() {
        task::service(cost).await;
    }
}

fn draw(range: DelayRange) -> Duration {
    let width = nanoseconds(range.high - range.low);
    range.low + Duration::from_nanos(random::below(width.saturating_add(1)))
}

async fn receive(shared: &Arc<Shared>, context: &Context, index: usize, work: &Workload) {
    let agent = agent(context, &format!("receive-{}", work.name));
    let mut subscription = match agent.subscribe(&work.name, work.capacity as usize).await {
        Ok(subscription) => subscription,
        Err(error) => panic!("the workload {} cannot subscribe: {error}", work.name),
    };
    event!("engine.attached", work = index);
    shared.note(What::Attached { work: index, serves: false });
    while let Some(message) = subscription.recv().await {
        let (id, whole) = payload::read(message.payload()).unwrap_or((Id::MAX, false));
        let priority = from_wire(message.priority());
        event!("engine.delivered", work = index, id = id, priority = message.priority() as u8, whole = whole);
        shared.note(What::Delivered { id, work: index, priority, whole });
        drop(message);
        panic_if_ordered(shared, index);
        handle(shared, index, work.service).await;
    }
    shared.note(What::Detached { work: index });
}

async fn serve(shared: &Arc<Shared>, context: &Context, index: usize, work: &Workload) {
    let agent = agent(context, &format!("serve-{}", work.name));
    let mut subscription = match agent.serve(&work.name, work.capacity as usize).await {
        Ok(subscription) => subscription,
        Err(error) => panic!("the workload {} cannot serve: {error}", work.name),
    };
    event!("engine.attached", work = index);
    shared.note(What::Attached { work: index, serves: true });
    // Requests that a sick instance holds and never answers.
    let mut held: Vec<Message> = Vec::new();
    while let Some(message) = subscription.recv().await {
        let (id, whole) = payload::read(message.payload()).unwrap_or((Id::MAX, false));
        let late = message.deadline().is_some_and(|deadline| deadline < time::now());
        event!("engine.served", work = index, id = id, whole = whole, late = late);
        shared.note(What::Served { id, work: index, whole, late });
        panic_if_ordered(shared, index);
        if shared.switches().sick.contains_key(&(index, here())) {
            event!("engine.held", work = index, id = id);
            held.push(message);
            continue;
        }
        held.clear();
        *shared.switches().busy.entry(here()).or_default() += subscription.len() as u64 + 1;
        let waiting = subscription.len() as u64 + 1;
        handle(shared, index, work.service).await;
        let mut switches = shared.switches();
        if let Some(busy) = switches.busy.get_mut(&here()) {
            *busy = busy.saturating_sub(waiting);
        }
        drop(switches);
        let mut reply = payload::make(id, 8);
        reply.extend(here().to_le_bytes());
        let told = message.reply(reply);
        event!("engine.replied", work = index, id = id, taken = told.is_ok());
    }
    shared.note(What::Detached { work: index });
}

/// When each of a client's messages goes out: evenly at its rate, each moved by chance within its place.
pub struct Pace {
    next: Duration,
    pub(super) end: Duration,
}

impl Pace {
    pub fn of(scenario: &Scenario, work: &Workload) -> Self {
        let begin = work.at.get().max(WARM_UP);
        let end = work.lasts.map_or_else(|| scenario.clients_end(), |lasts| begin + lasts.get());
        Self { next: begin.max(clock::elapsed()), end: end.min(scenario.clients_end()) }
    }

    /// Waits for the next one's time; false when there is none.
    pub async fn tick(&mut self, shared: &Shared, index: usize, work: &Workload) -> bool {
        let times = shared.switches().overload.get(&index).copied().unwrap_or(1);
        let interval = work.rate.interval() / times;
        let moved = Duration::from_nanos(random::below(nanoseconds(interval).max(1)));
        until(self.next + moved).await;
        self.next = (self.next + interval).max(clock::elapsed().saturating_sub(interval));
        self.next < self.end
    }
}

fn draw_priority(work: &Workload) -> Priority {
    let place = random::below(work.priorities.len() as u64) as usize;
    work.priorities.get(place).copied().unwrap_or(Priority::Normal)
}

pub(super) fn draw_length(work: &Workload) -> usize {
    random::below(u64::from(work.payload) + 1) as usize
}

async fn publish(shared: &Arc<Shared>, context: &Context, index: usize, client: u32, work: &Workload) {
    let agent = agent(context, &format!("publish-{}-{client}", work.name));
    let publisher = match agent.publisher(&work.name) {
        Ok(publisher) => publisher,
        Err(error) => panic!("the workload {} has no subject: {error}", work.name),
    };
    let mut pace = Pace::of(&shared.scenario, work);
    while pace.tick(shared, index, work).await {
        let (id, priority) = (shared.next_id(), draw_priority(work));
        let bytes = payload::make(id, draw_length(work));
        event!(
            "engine.sending",
            work = index,
            id = id,
            priority = to_wire(priority) as u8,
            bytes = bytes.len()
        );
        shared.note(What::Sending { id, work: index, client, priority });
        let sent = match work.deadline {
            None => publisher.publish(to_wire(priority), &bytes),
            Some(within) => publisher.publish_wait(to_wire(priority), bytes, within.get()).await,
        };
        let (receipt, why) = match sent {
            Ok(receipt) => (receipt, ""),
            Err(PublishError::WouldBlock(receipt)) => (receipt, "full"),
            Err(PublishError::Unreachable(receipt)) => (receipt, "unreachable"),
            Err(PublishError::DeadlinePassed(receipt)) => (receipt, "no room in time"),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Subject(_))) => {
                panic!("the workload {} sends what cannot be sent: {error}", work.name)
            }
        };
        let (accepted, refused) = who(&receipt);
        event!("engine.sent", id = id, accepted = accepted.len(), refused = refused.len(), why = why);
        shared.note(What::Sent { id, accepted, refused });
    }
}

/// The nodes whose receivers took a message, and those that refused it: a local receiver is named as an agent, those of another node by
/// the node. A receiver that is gone refused nothing.
fn who(receipt: &Receipt) -> (Vec<NodeNumber>, Vec<NodeNumber>) {
    let number =
        |name: &str| name.strip_prefix("node:n").and_then(|rest| rest.parse().ok()).unwrap_or_else(here);
    let refused = receipt.refused().into_iter().filter(|(_, why)| *why != Refusal::Gone);
    (receipt.accepted().map(number).collect(), refused.map(|(name, _)| number(name)).collect())
}

async fn ask(shared: &Arc<Shared>, context: &Context, index: usize, client: u32, work: &Workload) {
    let agent = Rc::new(agent(context, &format!("ask-{}-{client}", work.name)));
    let within = work.deadline.unwrap_or_default().get();
    let under_way = Rc::new(RefCell::new(0_usize));
    let mut pace = Pace::of(&shared.scenario, work);
    while pace.tick(shared, index, work).await {
        if *under_way.borrow() >= UNDER_WAY_MAX {
            event!("engine.client_full", work = index, client = client);
            continue;
        }
        let (id, priority) = (shared.next_id(), draw_priority(work));
        let bytes = payload::make(id, draw_length(work));
        let deadline_ns = nanoseconds(clock::elapsed() + within);
        event!("engine.asking", work = index, id = id);
        shared.note(What::Asked { id, work: index, client, deadline_ns, idempotent: work.idempotent });
        *under_way.borrow_mut() += 1;
        let mut options = RequestOptions::within(within);
        if work.idempotent {
            options = options.idempotent().attempt(within / 3);
        }
        let (shared, agent, under_way) = (shared.clone(), agent.clone(), under_way.clone());
        let subject = work.name.clone();
        task::spawn(async move {
            let outcome = outcome(agent.request_with(&subject, to_wire(priority), bytes, options).await);
            event!("engine.ended", id = id, how = name_of(&outcome));
            shared.note(What::Ended { id, outcome });
            *under_way.borrow_mut() -= 1;
        })
        .detach();
    }
    // Requests under way end before their client does.
    while *under_way.borrow() > 0 {
        time::sleep(Duration::from_millis(10)).await;
    }
}

fn outcome(ended: Result<Message, RequestError>) -> Outcome {
    match ended {
        Ok(reply) => match (
            payload::read(&reply.payload()[..8.min(reply.payload().len())]),
            reply.payload().get(8..12),
        ) {
            (Some((names, _)), Some(by)) => {
                Outcome::Answered { names, by: NodeNumber::from_le_bytes([by[0], by[1], by[2], by[3]]) }
            }
            _ => Outcome::Answered { names: Id::MAX, by: 0 },
        },
        Err(RequestError::NobodyListens(_)) => Outcome::NobodyListens,
        Err(RequestError::DeadlinePassed(_)) => Outcome::DeadlinePassed,
        Err(RequestError::Resting { .. }) => Outcome::Resting,
        Err(RequestError::Unreachable(_)) => Outcome::Failed("unreachable"),
        Err(RequestError::WouldBlock(_)) => Outcome::Failed("would-block"),
        Err(RequestError::Abandoned(_)) => Outcome::Failed("abandoned"),
        Err(RequestError::Refused { .. }) => Outcome::Failed("refused"),
        Err(RequestError::Failed { .. }) => Outcome::Failed("failed"),
        Err(RequestError::TooLarge { .. }) => Outcome::Failed("too-large"),
        Err(RequestError::Subject(_)) => Outcome::Failed("subject"),
    }
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { .. } => "answered",
        Outcome::NobodyListens => "nobody-listens",
        Outcome::DeadlinePassed => "deadline-passed",
        Outcome::Resting => "resting",
        Outcome::Failed(why) => why,
    }
}

async fn append(shared: &Arc<Shared>, index: usize, client: u32, work: &Workload) {
    let path = format!("{}-{client}.log", work.name);
    // Each client's file is a workload of its own to the oracle.
    let file_number = index * 1000 + client as usize;
    let mut pace = Pace::of(&shared.scenario, work);
    loop {
        let mut file = match AppendFile::open(&path, FILE_MAX).await {
            Ok((file, recovered)) => {
                let records = recovered.records.iter().map(|record| match payload::read(record) {
                    Some((id, true)) => id,
                    _ => Id::MAX,
                });
                event!(
                    "engine.recovered",
                    work = file_number,
                    records = recovered.records.len(),
                    cut = recovered.cut
                );
                shared.note(What::Recovered { work: file_number, records: records.collect() });
                file
            }
            Err(error) => {
                event!("engine.open_failed", work = file_number, why = &error.to_string());
                time::sleep(RESTART).await;
                if clock::elapsed() > pace.end {
                    return;
                }
                continue;
            }
        };
        loop {
            if !pace.tick(shared, index, work).await {
                return;
            }
            let id = shared.next_id();
            let bytes = payload::make(id, draw_length(work));
            event!("engine.appending", work = file_number, id = id, bytes = bytes.len());
            shared.note(What::Appending { id, work: file_number });
            let done = file.append(&bytes).await;
            let acknowledged = done.is_ok();
            event!("engine.appended", work = file_number, id = id, acknowledged = acknowledged);
            shared.note(What::Appended { id, work: file_number, acknowledged });
            if !acknowledged {
                break;
            }
        }
        drop(file);
    }
}

fn to_wire(priority: Priority) -> synod_fabric::Priority {
    match priority {
        Priority::Critical => synod_fabric::Priority::Critical,
        Priority::High => synod_fabric::Priority::High,
        Priority::Normal => synod_fabric::Priority::Normal,
        Priority::Low => synod_fabric::Priority::Low,
        Priority::Batch => synod_fabric::Priority::Batch,
        Priority::Background => synod_fabric::Priority::Background,
    }
}

fn from_wire(priority: synod_fabric::Priority) -> Priority {
    match priority {
        synod_fabric::Priority::Critical => Priority::Critical,
        synod_fabric::Priority::High => Priority::High,
        synod_fabric::Priority::Normal => Priority::Normal,
        synod_fabric::Priority::Low => Priority::Low,
        synod_fabric::Priority::Batch => Priority::Batch,
        synod_fabric::Priority::Background => Priority::Background,
    }
}
