//! The six priorities and the two classes of lanes that carry them.

use crate::Error;

/// How urgent a message is; lower numbers go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// The fleet's own safety: before everything else.
    Critical = 0,
    /// Somebody waits for it now.
    High = 1,
    /// The usual.
    #[default]
    Normal = 2,
    /// May wait for the usual.
    Low = 3,
    /// Large amounts, in the order of minutes.
    Batch = 4,
    /// When nothing else is to be done.
    Background = 5,
}

/// Which lane of a pair of contexts carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// CRITICAL and HIGH.
    Urgent,
    /// The other four.
    Bulk,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All six, the most urgent first.
    pub const ALL: [Priority; Priority::COUNT] = [
        Priority::Critical,
        Priority::High,
        Priority::Normal,
        Priority::Low,
        Priority::Batch,
        Priority::Background,
    ];

    /// The priority with that number, or [`Error::UnknownPriority`].
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Priority, Error> {
        Ok(match byte {
            0 => Priority::Critical,
            1 => Priority::High,
            2 => Priority::Normal,
            3 => Priority::Low,
            4 => Priority::Batch,
            5 => Priority::Background,
            other => return Err(Error::UnknownPriority(other)),
        })
    }

    /// The lane class that carries this priority.
    #[inline]
    pub const fn class(self) -> Class {
        match self {
            Priority::Critical | Priority::High => Class::Urgent,
            _ => Class::Bulk,
        }
    }

    /// Its number, as an index into an array of six.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Critical => "CRITICAL",
            Priority::High => "HIGH",
            Priority::Normal => "NORMAL",
            Priority::Low => "LOW",
            Priority::Batch => "BATCH",
            Priority::Background => "BACKGROUND",
        }
    }

    /// The priority of that name, in any case.
    pub fn from_name(name: &str) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| priority.name().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
