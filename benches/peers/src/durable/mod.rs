//! Who makes appends durable: one file each, all at the same durability: what they have said yes to outlives a loss of power.
//!
//! A subject is opened once for a group and lives, with its folder, as long as that; a slice is a closed loop of so many writers. Of who has no
//! loop of its own all writers' appends are one transaction, from one thread: the best that a group commit around it could do. At a
//! slice's end each subject is asked how many appends it holds, which must be how many it was told to make.

mod bare;
mod books;
#[cfg(feature = "databases")]
mod databases;
mod jetstream;
mod synod;

use crate::machine::pin_to_both;
use crate::measure::{Plan, Reading, quantiles};
use crate::processes::Folder;
pub use bare::{Bare, OneCall};
pub use books::{Spent, Watch};
#[cfg(feature = "databases")]
pub use databases::{Base, Engine, Fjall, Redb, Sqlite};
pub use jetstream::JetStream;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};
pub use synod::Ours;

/// Who appends how much at a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// Writers that each wait for their append to be durable before the next.
    pub writers: usize,
    /// Bytes of an append.
    pub size: usize,
}

/// What became of some time of appending.
#[derive(Default)]
pub struct Tally {
    /// How long each append, or each transaction of all writers, took: nanoseconds.
    pub samples: Vec<u32>,
    /// How many appends there were.
    pub appends: u64,
    /// From the first to the last of them.
    pub spent: Spent,
}

/// One who appends.
pub trait Appends: Sized {
    /// Opens it in an empty folder.
    fn open(folder: &Path, shape: Shape) -> Self;

    /// Appends for so long.
    fn append_for(&mut self, slice: Duration) -> Tally;

    /// How many appends it holds, of all that were ever made.
    fn held(&mut self) -> u64;
}

/// Of whom every transaction is a call.
pub trait Transacts {
    /// Makes one append of each writer durable, numbered from `first` on.
    fn transact(&mut self, first: u64);
}

/// One slice after the other of the same subject, opened when the first begins.
pub fn slices<A: Appends + 'static>(shape: Shape) -> impl Fn(&Plan) -> Reading + 'static {
    let kept = RefCell::new(None::<(A, u64, Folder)>);
    move |plan| {
        pin_to_both(plan.cores);
        let mut kept = kept.borrow_mut();
        let (subject, made, _) = kept.get_or_insert_with(|| {
            let folder = Folder::new();
            let mut subject = A::open(&folder.0, shape);
            let made = subject.append_for(plan.slice).appends;
            (subject, made, folder)
        });
        let tally = subject.append_for(plan.slice);
        *made += tally.appends;
        assert_eq!(subject.held(), *made, "what was told durable is not what is there");
        let each = tally.appends as f64;
        let mut reading = vec![("appends", each * 1e-3 / tally.spent.took.as_secs_f64())];
        let quantiles = quantiles(tally.samples);
        reading.extend(quantiles[..2].iter().map(|(name, nanos)| (*name, nanos / 1e3)));
        reading.push(("processor", tally.spent.processor.as_secs_f64() * 1e6 / each));
        reading.push(("written", tally.spent.written as f64 / each));
        reading
    }
}

/// Transactions for so long, in this process.
fn transactions(subject: &mut impl Transacts, next: &mut u64, shape: Shape, slice: Duration) -> Tally {
    let (mut tally, watch) = (Tally::default(), Watch::here());
    let mut last = watch.begun;
    while last - watch.begun < slice {
        subject.transact(*next);
        *next += shape.writers as u64;
        tally.appends += shape.writers as u64;
        let now = Instant::now();
        tally.samples.push(nanos(now - last));
        last = now;
    }
    tally.spent = watch.stop();
    tally
}

fn nanos(time: Duration) -> u32 {
    time.as_nanos().min(u128::from(u32::MAX)) as u32
}
