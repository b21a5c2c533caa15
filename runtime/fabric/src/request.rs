//! Requests: choose an instance, ask it, wait; another if the first certainly did nothing, or the caller says that twice is harmless.
//!
//! Each request ends exactly once: by an answer, by the news that there will be none, by its deadline, or by being dropped. A breaker for each
//! requester's context and instance learns from every end that says something about the instance.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use synod_platform::time::{self, Mono};
use synod_probe::{event, plant, reach};
use synod_resilience::breaker::{Breaker, Permit};
use synod_resilience::choose::{choose, choose_least};
use synod_wire::body::Reason;
use synod_wire::{PAYLOAD_MAX, Priority};

use crate::agent::Message;
use crate::context::{Answer, Inner, Pending};
use crate::error::RequestError;
use crate::fabric::Context;
use crate::lane::Body;
use crate::message::{Payload, Refusal};
use crate::registry::{Station, SubId};
use crate::route::{Resolved, Route, Sending};

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// The whole time it may take.
    pub within: Duration,
    /// Doing it twice is harmless: another instance may be asked when one took it and gave no answer.
    pub idempotent: bool,
    /// The time one instance gets; the whole time if `None`.
    pub attempt: Option<Duration>,
    /// The most instances asked; those that had no room do not count.
    pub attempts_max: u32,
    /// Ask the instance of which this context awaits the fewest answers, instead of each in its turn.
    pub least_loaded: bool,
}

impl RequestOptions {
    /// One that may take `within`, is not idempotent, and asks up to three instances.
    pub fn within(within: Duration) -> Self {
        Self { within, idempotent: false, attempt: None, attempts_max: 3, least_loaded: false }
    }

    /// Says that doing it twice is harmless.
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// Asks the least loaded instance first: for work that takes long.
    pub fn least_loaded(self) -> Self {
        Self { least_loaded: true, ..self }
    }

    /// Gives each instance at most `attempt` of the time.
    pub fn attempt(self, attempt: Duration) -> Self {
        Self { attempt: Some(attempt), ..self }
    }
}

/// Asks over a route.
pub(crate) async fn ask(
    context: &Context,
    route: &Route,
    priority: Priority,
    payload: &Payload,
    options: RequestOptions,
) -> Result<Message, RequestError> {
    let ended = ask_instances(context.inner(), route, priority, payload, options).await;
    event!(
        "fabric.request_ended",
        source = &*route.source,
        subject = route.subject.as_str(),
        ok = ended.is_ok()
    );
    ended
}

async fn ask_instances(
    inner: &Inner,
    route: &Route,
    priority: Priority,
    payload: &Payload,
    options: RequestOptions,
) -> Result<Message, RequestError> {
    let subject = || route.subject.to_string();
    if payload.len() > PAYLOAD_MAX {
        return Err(RequestError::TooLarge { len: payload.len(), max: PAYLOAD_MAX });
    }
    let deadline = time::now() + options.within;
    let mut tried: Vec<SubId> = Vec::new();
    let mut attempts = 0;
    let mut last = None;
    loop {
        let resolved = route.resolved(inner).clone();
        if resolved.services.is_empty() {
            reach!("fabric.nobody_listens");
            return Err(last.unwrap_or_else(|| RequestError::NobodyListens(subject())));
        }
        if time::now() >= deadline {
            return Err(last.unwrap_or_else(|| RequestError::DeadlinePassed(subject())));
        }
        let Some((index, permit)) = pick(inner, &resolved, &tried, options.least_loaded) else {
            return Err(last.unwrap_or_else(|| none_may_be_asked(inner, &resolved, &subject())));
        };
        let target = &resolved.services[index];
        let asked = target.entry.id;
        tried.push(asked);
        let until = options.attempt.map_or(deadline, |attempt| deadline.min(time::now() + attempt));
        let correlation = inner.next_correlation();
        let station = target.entry.station.clone();
        let attempt = Attempt::start(inner, asked, station, correlation, permit);
        let body = Body::Shared(payload);
        if let Err(why) = target.send(Sending { priority, deadline: until.as_nanos(), correlation, body }) {
            attempt.end(Verdict::Unknown);
            if why == Refusal::Opening {
                reach!("attach.request_waits");
                tried.pop();
                // Nothing is lost between the refusal and this: the news comes on this thread.
                let room = inner.station.home().space.notified();
                if time::timeout_at(until, room).await.is_err() {
                    return Err(RequestError::DeadlinePassed(subject()));
                }
                continue;
            }
            reach!("fabric.instance_refuses");
            last = Some(match why {
                Refusal::QueueFull
                | Refusal::LaneFull
                | Refusal::Opening
                | Refusal::MemoryFull
                | Refusal::NoMemory
                | Refusal::NotKept
                | Refusal::TooLong => RequestError::WouldBlock(subject()),
                Refusal::NotAllowed => RequestError::Refused {
                    subject: subject(),
                    reason: "the node does not let this agent ask that".to_owned(),
                },
                Refusal::Unreachable => RequestError::Unreachable(subject()),
                Refusal::Gone => RequestError::NobodyListens(subject()),
            });
            continue;
        }
        event!(
            "fabric.asked",
            source = &*route.source,
            subject = route.subject.as_str(),
            instance = &*target.entry.owner
        );
        attempts += 1;
        let (error, untouched) = match attempt.answer(until).await {
            None => {
                reach!("fabric.no_answer");
                attempt.give_up();
                (RequestError::DeadlinePassed(subject()), false)
            }
            Some(Answer::Reply { source, priority, payload }) => {
                attempt.end(Verdict::Good);
                return Ok(Message::answered(source, route.subject.clone(), priority, payload));
            }
            Some(Answer::NobodyListens) => {
                attempt.end(Verdict::Unknown);
                (RequestError::NobodyListens(subject()), true)
            }
            Some(Answer::Lost) => {
                attempt.end(Verdict::Bad);
                (RequestError::Unreachable(subject()), false)
            }
            Some(Answer::Refused { reason, text }) => {
                attempt.end(Verdict::of(reason));
                judge(reason, text, &subject(), target.entry.is_link)
            }
        };
        let retry = untouched || options.idempotent || plant!("fabric.failover-repeats");
        if !retry || attempts >= options.attempts_max {
            return Err(error);
        }
        reach!("fabric.failover");
        event!("fabric.failover", subject = route.subject.as_str(), from = &*target.entry.owner);
        last = Some(error);
    }
}

/// Picks an instance that was not tried and whose breaker admits a call.
fn pick(inner: &Inner, resolved: &Resolved, tried: &[SubId], least_loaded: bool) -> Option<(usize, Permit)> {
    let now = time::now().as_nanos();
    let turn = inner.turn.get();
    inner.turn.set(turn.wrapping_add(1));
    let mut breakers = inner.breakers.borrow_mut();
    for target in &resolved.services {
        breakers.entry(target.entry.id).or_insert_with(|| Breaker::new(inner.shared.config.breaker.clone()));
    }
    let services = &resolved.services;
    let may_be_asked = |index: usize| {
        let target = &services[index];
        !tried.contains(&target.entry.id)
            && !target.entry.gone.load(std::sync::atomic::Ordering::Acquire)
            && breakers.get(&target.entry.id).is_some_and(|breaker| breaker.would_admit(now))
    };
    let index = if least_loaded {
        let pending = inner.pending.borrow();
        let load = |index: &usize| {
            pending.values().filter(|waiting| waiting.asked == services[*index].entry.id).count()
        };
        choose_least(services.len(), turn, may_be_asked, load)
    } else {
        choose(services.len(), turn, may_be_asked)
    }?;
    let breaker = breakers.get_mut(&services[index].entry.id)?;
    let permit = breaker.admit(now).ok()?;
    tell_breaker(inner, services[index].entry.id, breaker, "admitted", permit.generation());
    Some((index, permit))
}

/// Tells the trace one step of a breaker, and what the breaker came to.
fn tell_breaker(inner: &Inner, instance: SubId, breaker: &Breaker, step: &str, permit: u64) {
    use synod_resilience::breaker::State;
    let state = match breaker.state() {
        State::Closed => "closed",
        State::Open { .. } => "open",
        State::HalfOpen => "half-open",
    };
    event!(
        "fabric.breaker",
        context = &*inner.station.name,
        instance = instance,
        step = step,
        permit = permit,
        state = state,
        generation = breaker.generation()
    );
}

/// Why no instance may be asked, when none was.
fn none_may_be_asked(inner: &Inner, resolved: &Resolved, subject: &str) -> RequestError {
    use synod_resilience::breaker::State;
    let now = time::now().as_nanos();
    let gone = |index: usize| resolved.services[index].entry.gone.load(std::sync::atomic::Ordering::Acquire);
    if (0..resolved.services.len()).all(gone) {
        reach!("fabric.request_unreachable");
        return RequestError::Unreachable(subject.to_owned());
    }
    reach!("fabric.all_resting");
    let breakers = inner.breakers.borrow();
    let waits = resolved.services.iter().filter_map(|target| match breakers.get(&target.entry.id)?.state() {
        State::Open { until_ns } => Some(until_ns.saturating_sub(now)),
        State::Closed | State::HalfOpen => None,
    });
    RequestError::Resting {
        subject: subject.to_owned(),
        retry_in: Duration::from_nanos(waits.min().unwrap_or(0)),
    }
}

/// What a refusal means to the caller, and whether the instance certainly did nothing.
fn judge(reason: Reason, text: String, subject: &str, is_link: bool) -> (RequestError, bool) {
    let subject = subject.to_owned();
    match reason {
        Reason::Failed if text.is_empty() => (RequestError::Abandoned(subject), false),
        Reason::Failed => (RequestError::Failed { subject, reason: text }, false),
        Reason::Unreachable => (RequestError::Unreachable(subject), false),
        Reason::WouldBlock => (RequestError::WouldBlock(subject), true),
        Reason::DeadlinePassed => (RequestError::DeadlinePassed(subject), false),
        Reason::Draining if is_link => (RequestError::Unreachable(subject), true),
        Reason::Draining => (RequestError::NobodyListens(subject), true),
        _ => (RequestError::Refused { subject, reason: text }, true),
    }
}

/// What an end says about the instance.
enum Verdict {
    Good,
    Bad,
    Unknown,
}

impl Verdict {
    fn of(reason: Reason) -> Self {
        match reason {
            Reason::WouldBlock | Reason::Draining => Self::Unknown,
            _ => Self::Bad,
        }
    }
}

/// One instance asked once. Dropped without an end, the request is cancelled.
struct Attempt<'a> {
    inner: &'a Inner,
    asked: SubId,
    station: Arc<Station>,
    correlation: u64,
    permit: Option<Permit>,
}

impl<'a> Attempt<'a> {
    fn start(
        inner: &'a Inner,
        asked: SubId,
        station: Arc<Station>,
        correlation: u64,
        permit: Permit,
    ) -> Self {
        let pending = Pending { asked, station: station.clone(), answer: None, waker: None };
        inner.pending.borrow_mut().insert(correlation, pending);
        Self { inner, asked, station, correlation, permit: Some(permit) }
    }

    /// Waits for the answer; `None` when `until` comes first.
    async fn answer(&self, until: Mono) -> Option<Answer> {
        let answer = poll_fn(|cx| {
            let mut pending = self.inner.pending.borrow_mut();
            match pending.get_mut(&self.correlation) {
                Some(Pending { answer: Some(_), .. }) => {
                    Poll::Ready(pending.remove(&self.correlation).and_then(|pending| pending.answer))
                }
                Some(waiting) => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        });
        time::timeout_at(until, answer).await.ok().flatten()
    }

    /// The instance had its time: it is told, and its breaker learns.
    fn give_up(mut self) {
        if let Some(permit) = self.permit.take() {
            self.learn(permit, Verdict::Bad);
        }
        if self.inner.pending.borrow_mut().remove(&self.correlation).is_some() {
            self.inner.cancel(&self.station, self.correlation);
        }
    }

    fn end(mut self, verdict: Verdict) {
        self.inner.pending.borrow_mut().remove(&self.correlation);
        if let Some(permit) = self.permit.take() {
            self.learn(permit, verdict);
        }
    }

    fn learn(&self, permit: Permit, verdict: Verdict) {
        let mut breakers = self.inner.breakers.borrow_mut();
        let Some(breaker) = breakers.get_mut(&self.asked) else { return };
        let (now, generation) = (time::now().as_nanos(), permit.generation());
        let step = match verdict {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Unknown => "given up",
        };
        match verdict {
            Verdict::Good => breaker.success(permit, now),
            Verdict::Bad => breaker.failure(permit, now),
            Verdict::Unknown => breaker.cancel(permit),
        }
        tell_breaker(self.inner, self.asked, breaker, step, generation);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        self.learn(permit, Verdict::Unknown);
        if self.inner.pending.borrow_mut().remove(&self.correlation).is_some() {
            self.inner.cancel(&self.station, self.correlation);
        }
    }
}
