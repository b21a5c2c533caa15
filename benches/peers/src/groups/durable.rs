//! Appends that are durable when they are acknowledged, by so many writers at once: ours, databases and JetStream at the same durability, and the bare
//! device in the same rounds. `TMPDIR` says which device. Processor time is the whole process's, with the writers; of JetStream the server's alone.

use super::{Compare, Group, Subject};
use crate::durable::{Bare, JetStream, Ours, Shape, slices};
#[cfg(feature = "databases")]
use crate::durable::{Fjall, Redb, Sqlite};

/// For each size, each number of writers; in a smoke run the ends of both.
pub fn groups(smoke: bool) -> Vec<Group> {
    let (sizes, writers) = if smoke {
        (&[128, 4 << 10][..], &[1, 8][..])
    } else {
        (&[128, 1 << 10, 4 << 10, 64 << 10][..], &[1, 8, 64, 512][..])
    };
    let shapes =
        sizes.iter().flat_map(|size| writers.iter().map(|writers| Shape { writers: *writers, size: *size }));
    shapes.map(group).collect()
}

/// How many writers, in words.
pub fn writers(shape: Shape) -> &'static str {
    match shape.writers {
        1 => "1 writer",
        8 => "8 writers",
        64 => "64 writers",
        _ => "512 writers",
    }
}

fn group(shape: Shape) -> Group {
    Group {
        name: "durable",
        about: "appends that outlive a loss of power, each waited for",
        size: shape.size,
        mode: writers(shape),
        unit: "us",
        compare: Compare::Ratio,
        baselines: vec!["bare device", "synod store"],
        subjects: [
            Subject::new("bare device", slices::<Bare>(shape)),
            Subject::new("synod store", slices::<Ours>(shape)),
        ]
        .into_iter()
        .chain(databases(shape))
        .chain([Subject {
            lacks: JetStream::lacks(),
            ..Subject::new("JetStream", slices::<JetStream>(shape))
        }])
        .collect(),
    }
}

#[cfg(feature = "databases")]
fn databases(shape: Shape) -> [Subject; 3] {
    [
        Subject::new("redb", slices::<Redb>(shape)),
        Subject::new("fjall", slices::<Fjall>(shape)),
        Subject::new("SQLite", slices::<Sqlite>(shape)),
    ]
}

#[cfg(not(feature = "databases"))]
fn databases(_: Shape) -> [Subject; 3] {
    absent()
}

/// The databases.
pub const DATABASES: [&str; 3] = ["redb", "fjall", "SQLite"];

/// The databases where they were not built.
#[cfg(not(feature = "databases"))]
pub fn absent() -> [Subject; 3] {
    DATABASES.map(|name| Subject::lacking(name, "`--features databases`, and a C compiler for SQLite"))
}
