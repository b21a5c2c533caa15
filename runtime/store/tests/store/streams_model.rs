//! The streams' state machine against a naive model, with a log in memory that is read anew after every step and that loses its
//! beginning bit by bit.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use synod_platform::time::Wall;
use synod_store::streams::{Append, Fact, Limits, Machine, Start, StreamError, StreamId, Verdict};

#[derive(Clone, Debug)]
enum Step {
    Define {
        stream: usize,
        limits: Limits,
    },
    Append {
        stream: usize,
        expected: Option<u64>,
        id: Option<u8>,
        subject: u8,
        len: usize,
    },
    Delete {
        stream: usize,
        sequence: u64,
    },
    DeleteBelow {
        stream: usize,
        floor: u64,
    },
    MoveCursor {
        stream: usize,
        consumer: usize,
        sequence: u64,
    },
    RemoveCursor {
        stream: usize,
        consumer: usize,
    },
    Drop {
        stream: usize,
    },
    Wait {
        nanos: u64,
    },
    Settle,
    /// What still counts in the next so many entries goes to the log's end.
    Carry {
        entries: u64,
    },
    /// The log loses all that was looked at.
    Purge,
}

const NAMES: [&str; 3] = ["orders", "events", "audit"];
const CONSUMERS: [&str; 2] = ["left", "right"];

fn limits() -> impl Strategy<Value = Limits> {
    let one =
        |range: std::ops::Range<u64>| prop_oneof![2 => Just(None), 1 => range.prop_map(NonZeroU64::new)];
    (prop::option::weighted(0.3, 0u64..60), one(25..80), one(1..5), one(1..3), 0u64..60, 0u64..4).prop_map(
        |(age, bytes, messages, per_subject, window, window_ids)| Limits {
            age: age.map(Duration::from_nanos),
            bytes,
            messages,
            per_subject,
            window: Duration::from_nanos(window),
            window_ids,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, sequence) = (0..NAMES.len(), 0u64..12);
    let expected = prop_oneof![3 => Just(None), 1 => sequence.clone().prop_map(Some)];
    prop_oneof![
        2 => (stream.clone(), limits()).prop_map(|(stream, limits)| Step::Define { stream, limits }),
        8 => (stream.clone(), expected, prop::option::of(0u8..5), 0u8..3, 0usize..24)
            .prop_map(|(stream, expected, id, subject, len)| Step::Append { stream, expected, id, subject, len }),
        1 => (stream.clone(), sequence.clone()).prop_map(|(stream, sequence)| Step::Delete { stream, sequence }),
        1 => (stream.clone(), sequence.clone()).prop_map(|(stream, floor)| Step::DeleteBelow { stream, floor }),
        1 => (stream.clone(), 0usize..2, sequence)
            .prop_map(|(stream, consumer, sequence)| Step::MoveCursor { stream, consumer, sequence }),
        1 => (stream.clone(), 0usize..2).prop_map(|(stream, consumer)| Step::RemoveCursor { stream, consumer }),
        1 => stream.prop_map(|stream| Step::Drop { stream }),
        2 => (1u64..30).prop_map(|nanos| Step::Wait { nanos }),
        1 => Just(Step::Settle),
        2 => (1u64..8).prop_map(|entries| Step::Carry { entries }),
        1 => Just(Step::Purge),
    ]
}

/// What a stream should be, kept in lists and found by looking at all of them.
#[derive(Clone, Debug)]
struct Simple {
    limits: Limits,
    next: u64,
    messages: Vec<(u64, Wall, String, Vec<u8>)>,
    ids: Vec<(u8, u64, Wall)>,
    cursors: BTreeMap<usize, u64>,
}

impl Simple {
    fn size((_, _, subject, payload): &(u64, Wall, String, Vec<u8>)) -> u64 {
        (subject.len() + payload.len()) as u64
    }

    fn young(at: Wall, age: Duration, now: Wall) -> bool {
        at.as_nanos() + age.as_nanos() as u64 > now.as_nanos()
    }

    /// Deletes what lies beyond the limits, the newest excepted if it just came.
    fn trim(&mut self, came: bool, id_came: bool, now: Wall) {
        let limits = self.limits.clone();
        while self.messages.len() > usize::from(came) {
            let bytes: u64 = self.messages.iter().map(Self::size).sum();
            let over = limits.messages.is_some_and(|most| self.messages.len() as u64 > most.get())
                || limits.bytes.is_some_and(|most| bytes > most.get())
                || limits.age.is_some_and(|age| !Self::young(self.messages[0].1, age, now));
            if !over {
                break;
            }
            self.messages.remove(0);
        }
        let newest = if id_came { self.ids.pop() } else { None };
        self.ids.retain(|(_, _, at)| Self::young(*at, limits.window, now));
        let most = (limits.window_ids as usize).saturating_sub(usize::from(id_came));
        let excess = self.ids.len().saturating_sub(most);
        self.ids.drain(..excess);
        self.ids.extend(newest);
    }

    fn trim_subjects(&mut self) {
        let Some(most) = self.limits.per_subject else { return };
        for subject in 0..3 {
            let subject = format!("s{subject}");
            while self.messages.iter().filter(|message| message.2 == subject).count() as u64 > most.get() {
                let first = self.messages.iter().position(|message| message.2 == subject).unwrap();
                self.messages.remove(first);
            }
        }
    }

    fn seen(&self, id: u8, now: Wall) -> Option<u64> {
        let young = self.ids.iter().filter(|(_, _, at)| Self::young(*at, self.limits.window, now));
        young.filter(|(other, ..)| *other == id).map(|(_, sequence, _)| *sequence).next_back()
    }
}

#[derive(Default)]
struct World {
    machine: Machine,
    log: BTreeMap<u64, Vec<u8>>,
    end: u64,
    /// How far the log was looked at for carrying.
    passed: u64,
    now: Wall,
    clock: Wall,
    model: BTreeMap<usize, Simple>,
}

impl World {
    fn write(&mut self, facts: impl IntoIterator<Item = Fact>) {
        for fact in facts {
            self.log.insert(self.end, fact.encode());
            self.machine.apply(self.end, fact);
            self.end += 1;
        }
    }

    /// Ends what is overdue, two facts at a time.
    fn settle(&mut self, now: Wall) {
        loop {
            let facts = self.machine.overdue(now, 2);
            if facts.is_empty() {
                break;
            }
            self.write(facts);
        }
        let now = self.clock.max(now);
        self.model.values_mut().for_each(|simple| simple.trim(false, false, now));
    }

    fn number(&self, stream: usize) -> Option<StreamId> {
        self.machine.find(NAMES[stream])
    }

    fn step(&mut self, step: Step) {
        let number = match step {
            Step::Define { stream, .. }
            | Step::Append { stream, .. }
            | Step::Delete { stream, .. }
            | Step::DeleteBelow { stream, .. }
            | Step::MoveCursor { stream, .. }
            | Step::RemoveCursor { stream, .. }
            | Step::Drop { stream } => {
                assert_eq!(self.number(stream).is_some(), self.model.contains_key(&stream));
                // One that there never was stands for one that there is not.
                self.number(stream).unwrap_or(99)
            }
            _ => 99,
        };
        match step {
            Step::Define { stream, limits } => {
                let (_, define) = self.machine.define(NAMES[stream], &limits).unwrap();
                self.write(define);
                let new = Simple {
                    limits: limits.clone(),
                    next: 1,
                    messages: vec![],
                    ids: vec![],
                    cursors: BTreeMap::new(),
                };
                let simple = self.model.entry(stream).or_insert(new);
                if simple.limits != limits {
                    simple.limits = limits;
                    simple.trim_subjects();
                    self.settle(self.clock);
                }
            }
            Step::Append { stream, expected, id, subject, len } => {
                let (subject, payload) = (format!("s{subject}"), vec![self.end as u8; len]);
                let sent_id = id.map(|id| Arc::from([id]));
                let append = Append {
                    expected,
                    id: sent_id,
                    subject: subject.as_str().into(),
                    payload: payload.clone(),
                };
                let verdict = self.machine.append(number, &append, self.now);
                let Some(simple) = self.model.get_mut(&stream) else {
                    assert_eq!(verdict, Err(StreamError::Unknown));
                    return;
                };
                let at = self.clock.max(self.now);
                let message = (simple.next, at, subject, payload);
                let size = Simple::size(&message);
                if let Some(first) = id.and_then(|id| simple.seen(id, at)) {
                    assert!(
                        matches!(verdict, Ok(Verdict::Duplicate { sequence, .. }) if sequence == first),
                        "{verdict:?}"
                    );
                } else if let Some(expected) = expected.filter(|expected| *expected != simple.next - 1) {
                    assert_eq!(
                        verdict,
                        Err(StreamError::WrongSequence { expected, present: simple.next - 1 })
                    );
                } else if let Some(most) = simple.limits.bytes.filter(|most| size > most.get()) {
                    assert_eq!(verdict, Err(StreamError::TooLarge { size, most: most.get() }));
                } else {
                    let Ok(Verdict::New(new)) = verdict else { panic!("{verdict:?}") };
                    assert_eq!(new.sequence, simple.next);
                    let id = id.filter(|_| simple.limits.window_ids > 0);
                    simple.ids.extend(id.map(|id| (id, simple.next, at)));
                    simple.messages.push(message);
                    simple.next += 1;
                    self.clock = at;
                    simple.trim_subjects();
                    simple.trim(true, id.is_some(), at);
                    self.write([Fact::Message(new)]);
                }
            }
            Step::Delete { stream, sequence } => {
                let deleted = self.machine.delete(number, sequence);
                let known = self
                    .model
                    .get(&stream)
                    .is_some_and(|simple| simple.messages.iter().any(|message| message.0 == sequence));
                assert_eq!(deleted.is_ok(), known);
                self.write(deleted);
                if let Some(simple) = self.model.get_mut(&stream) {
                    simple.messages.retain(|message| message.0 != sequence);
                }
            }
            Step::DeleteBelow { stream, floor } => {
                self.write(self.machine.delete_below(number, floor).into_iter().flatten());
                if let Some(simple) = self.model.get_mut(&stream) {
                    simple.messages.retain(|message| message.0 >= floor);
                }
            }
            Step::MoveCursor { stream, consumer, sequence } => {
                let moved = self.machine.move_cursor(number, CONSUMERS[consumer], sequence);
                let possible = self.model.get(&stream).is_some_and(|simple| sequence < simple.next);
                assert_eq!(moved.is_ok(), possible);
                self.write(moved);
                if possible {
                    self.model.get_mut(&stream).unwrap().cursors.insert(consumer, sequence);
                }
            }
            Step::RemoveCursor { stream, consumer } => {
                self.write(self.machine.remove_cursor(number, CONSUMERS[consumer]).into_iter().flatten());
                if let Some(simple) = self.model.get_mut(&stream) {
                    simple.cursors.remove(&consumer);
                }
            }
            Step::Drop { stream } => {
                self.write(self.machine.drop_stream(number));
                self.model.remove(&stream);
            }
            Step::Wait { nanos } => self.now = Wall::from_nanos(self.now.as_nanos() + nanos),
            Step::Settle => {
                self.settle(self.now);
            }
            Step::Carry { entries } => {
                for position in self.passed..(self.passed + entries).min(self.end) {
                    let fact = Fact::decode(&self.log[&position]).unwrap();
                    self.write(self.machine.carried(position, fact));
                    self.passed = position + 1;
                }
            }
            Step::Purge => {
                self.write(self.machine.base(self.passed));
                self.log = self.log.split_off(&self.passed);
            }
        }
    }

    fn check(&self, machine: &Machine) {
        assert_eq!(machine.nameless(), None);
        let new = |machine: &Machine| machine.define("new", &Limits::default()).unwrap().0;
        assert_eq!(new(machine), new(&self.machine), "a number is given once");
        for (stream, name) in NAMES.iter().enumerate() {
            let Some(simple) = self.model.get(&stream) else {
                assert_eq!(machine.find(name), None);
                continue;
            };
            let number = machine.find(name).expect("a stream that was defined");
            let found = machine.places(number, 0).unwrap().map(|place| {
                let Ok(Fact::Message(message)) = Fact::decode(&self.log[&place.position]) else {
                    panic!("no message at {}", place.position)
                };
                assert_eq!(
                    (message.stream, message.sequence, message.size()),
                    (number, place.sequence, place.size)
                );
                (place.sequence, message.at, message.subject.to_string(), message.payload)
            });
            assert_eq!(found.collect::<Vec<_>>(), simple.messages);
            let state = machine.state(number).unwrap();
            assert_eq!(state.next, simple.next);
            assert_eq!(state.bytes, simple.messages.iter().map(Simple::size).sum::<u64>());
            assert_eq!(machine.limits(number).unwrap(), &simple.limits);
            for (consumer, name) in CONSUMERS.iter().enumerate() {
                assert_eq!(machine.cursor(number, name).unwrap(), simple.cursors.get(&consumer).copied());
            }
            let now = self.clock.max(self.now);
            let early = Append { expected: None, id: None, subject: "s0".into(), payload: vec![] };
            let Verdict::New(early) = machine.append(number, &early, Wall::default()).unwrap() else {
                panic!("no id, no duplicate")
            };
            assert_eq!(early.at, self.clock, "time does not run backwards");
            for id in 0..5u8 {
                let append = Append {
                    expected: None,
                    id: Some(Arc::from([id])),
                    subject: "s0".into(),
                    payload: vec![],
                };
                let first = match machine.append(number, &append, now).unwrap() {
                    Verdict::New(_) => None,
                    Verdict::Duplicate { sequence, .. } => Some(sequence),
                };
                assert_eq!(first, simple.seen(id, now), "id {id} of {name}");
            }
            for subject in 0..3 {
                let subject = format!("s{subject}");
                let last =
                    simple.messages.iter().rfind(|message| message.2 == subject).map(|message| message.0);
                assert_eq!(machine.last(number, &subject).unwrap(), last);
            }
            for moment in [0, now.as_nanos() / 2, now.as_nanos(), u64::MAX].map(Wall::from_nanos) {
                let first = simple
                    .messages
                    .iter()
                    .find(|message| message.1 >= moment)
                    .map_or(simple.next, |message| message.0);
                assert_eq!(machine.start(number, Start::Time(moment)).unwrap(), first);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn streams_do_what_the_naive_model_does_also_when_read_anew_from_a_log_that_lost_its_beginning(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
            world.check(&world.machine);
            let mut again = Machine::default();
            for (position, bytes) in &world.log {
                again.apply(*position, Fact::decode(bytes).unwrap());
            }
            world.check(&again);
        }
    }
}
