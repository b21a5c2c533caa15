//! Trace events: what happened, for the one sink that a process may install (the simulator's recorder).
//!
//! An event is a name and a few fields; the sink adds time and place. Without the feature `observe`, [`event!`](crate::event!) is nothing
//! and its arguments are not evaluated.

#[cfg(feature = "observe")]
use std::sync::OnceLock;

/// A field's value. Floating point is left out: traces are compared byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An unsigned number.
    U64(u64),
    /// A signed number.
    I64(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Str(&'a str),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident as $to:ty),*) => {
        $(impl From<$from> for Value<'_> {
            fn from(v: $from) -> Self {
                Value::$variant(v as $to)
            }
        })*
    };
}
value_from!(u8 => U64 as u64, u16 => U64 as u64, u32 => U64 as u64, u64 => U64 as u64, usize => U64 as u64,
            i32 => I64 as i64, i64 => I64 as i64);

impl From<bool> for Value<'_> {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(v: &'a str) -> Self {
        Value::Str(v)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(v: &'a String) -> Self {
        Value::Str(v)
    }
}

/// One thing that happened.
#[derive(Debug)]
pub struct Event<'a> {
    /// What, as `part.happening`.
    pub name: &'static str,
    /// With which particulars, in the order written.
    pub fields: &'a [(&'static str, Value<'a>)],
}

/// What receives every event of this process.
pub type Sink = dyn Fn(&Event<'_>) + Send + Sync;

#[cfg(feature = "observe")]
static SINK: OnceLock<Box<Sink>> = OnceLock::new();

/// Installs the process's sink; false if there was one already.
#[cfg(feature = "observe")]
pub fn install(sink: Box<Sink>) -> bool {
    SINK.set(sink).is_ok()
}

/// Hands an event to the sink, if there is one. Called by `event!`.
#[cfg(feature = "observe")]
pub fn emit(event: &Event<'_>) {
    if let Some(sink) = SINK.get() {
        sink(event);
    }
}

/// Tells the trace: `event!("fabric.subscribe", subject = subject.as_str(), agent = id)`.
#[cfg(feature = "observe")]
#[macro_export]
macro_rules! event {
    ($name:literal $(, $key:ident = $value:expr)* $(,)?) => {
        $crate::trace::emit(&$crate::trace::Event {
            name: $name,
            fields: &[$((stringify!($key), $crate::trace::Value::from($value))),*],
        })
    };
}

/// Tells the trace: nothing in this build; the arguments are type-checked and not evaluated.
#[cfg(not(feature = "observe"))]
#[macro_export]
macro_rules! event {
    ($name:literal $(, $key:ident = $value:expr)* $(,)?) => {
        if false {
            $(let _ = $crate::trace::Value::from($value);)*
        }
    };
}
