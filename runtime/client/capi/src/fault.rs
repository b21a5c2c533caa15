//! What went wrong, as a code for programs and a text for people, and the guard around every function.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use synod_client::{
    AttachError, ClientError, DetachReason, NoSlot, PAYLOAD_MAX, PublishError, ReplyError, RequestError,
};

use crate::SYNOD_ABI;
use crate::given::SYNOD_TEXT_MAX;

/// What a call came to. Codes keep their numbers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Ok = 0,
    /// A pointer that has to be given is NULL, or is not aligned for what it points to.
    BadPointer = 1,
    /// A text is not UTF-8.
    NotUtf8 = 2,
    /// A text is longer than 4096 bytes.
    TooLong = 3,
    /// A number, a name, a subject or a pattern is not what it may be.
    Invalid = 4,
    /// A handle was never given, was closed, or is of another kind.
    UnknownHandle = 5,
    /// synod_init was not called, or with another SYNOD_ABI than the library's.
    NotInitialised = 6,
    /// No node runs where one was looked for: start one with `synod up`.
    NoNode = 7,
    /// The node did not let the process in, or did not agree to a name or subscription.
    NotAdmitted = 8,
    /// Another agent has that name.
    NameTaken = 9,
    /// The node is lost at the moment; the library goes on looking for it.
    Lost = 10,
    /// Nobody subscribes to that subject, or serves it.
    NobodyListens = 11,
    /// No receiver has room: send again later.
    WouldBlock = 12,
    /// The time was over first.
    TimedOut = 13,
    /// Whoever listens cannot be reached.
    Unreachable = 14,
    /// A payload is longer than one message may be, 16 MiB.
    TooLarge = 15,
    /// Whoever was asked would not do it.
    Refused = 16,
    /// Whoever was asked tried and failed.
    Failed = 17,
    /// Whoever was asked ended without an answer: it may have been done.
    Abandoned = 18,
    /// Whoever could be asked failed too often lately and is given a rest.
    Resting = 19,
    /// The message is no request.
    NotARequest = 20,
    /// The request was answered already, or nobody waits for the answer any more.
    Cancelled = 21,
    /// There is no memory.
    NoMemory = 22,
    /// What was waited on was closed meanwhile.
    Closed = 23,
    /// Answers wait for room still, and are lost.
    Unsent = 24,
    /// The operating system refused a thread.
    System = 25,
    /// A fault of the library itself, whose text tells where; please report it.
    Bug = 26,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A null pointer.
    #[error("`{0}` is NULL")]
    Null(&'static str),
    /// A pointer that is not aligned.
    #[error("`{0}` is not aligned for what it points to")]
    Unaligned(&'static str),
    /// Text that is none.
    #[error("`{0}` is not UTF-8")]
    NotUtf8(&'static str),
    /// Text without an end.
    #[error("`{0}` is longer than {SYNOD_TEXT_MAX} bytes, or has no NUL at its end")]
    TooLong(&'static str),
    /// A number that is no priority.
    #[error("{0} is no priority: 0, CRITICAL, to 5, BACKGROUND, are")]
    Priority(i32),
    /// A ring of an impossible size.
    #[error("rings of {0} bytes are impossible: a power of two from 1 KiB to 64 MiB is")]
    LaneBytes(usize),
    /// A payload above the limit.
    #[error("a payload of {0} bytes is above the limit of {PAYLOAD_MAX}: send it in parts")]
    TooLarge(usize),
    /// Bytes that a message does not have.
    #[error("{len} bytes from byte {from} on are not in a message of {has}: ask for less")]
    Range {
        /// The first that was asked for.
        from: usize,
        /// How many were.
        len: usize,
        /// How many there are.
        has: usize,
    },
    /// A handle that is not what was wanted.
    #[error("{handle} is not the handle of {wanted}: {is}")]
    Unknown {
        /// What was wanted.
        wanted: &'static str,
        /// The number.
        handle: u64,
        /// What it is.
        is: &'static str,
    },
    /// Another library's header.
    #[error(
        "the program was compiled for form {0} of this library, which has {SYNOD_ABI}: compile it with this library's synod.h"
    )]
    Abi(u32),
    /// Nobody has called synod_init.
    #[error("call synod_init(SYNOD_ABI) first")]
    Uninitialised,
    /// No receiver.
    #[error("nobody subscribes to `{0}`")]
    NobodyListens(String),
    /// No message in time.
    #[error("no message within {0} ms")]
    NoMessage(u64),
    /// No node in time.
    #[error("not attached within {0} ms: is a node running?")]
    NotAttached(u64),
    /// Nobody waits for an answer.
    #[error("the message was published, or is an answer itself: nobody waits for an answer")]
    NotARequest,
    /// An answer too many.
    #[error("the request was answered already")]
    Answered,
    /// The client's.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer's.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A panic.
    #[error("a fault of libsynod itself: {0}")]
    Bug(String),
}

impl Fault {
    /// The code.
    fn status(&self) -> Status {
        match self {
            Self::Null(_) | Self::Unaligned(_) => Status::BadPointer,
            Self::NotUtf8(_) => Status::NotUtf8,
            Self::TooLong(_) => Status::TooLong,
            Self::Priority(_) | Self::LaneBytes(_) | Self::Range { .. } => Status::Invalid,
            Self::TooLarge(_) | Self::Reply(ReplyError::TooLarge { .. }) => Status::TooLarge,
            Self::Unknown { .. } => Status::UnknownHandle,
            Self::Abi(_) | Self::Uninitialised => Status::NotInitialised,
            Self::NobodyListens(_) => Status::NobodyListens,
            Self::NoMessage(_) | Self::NotAttached(_) => Status::TimedOut,
            Self::NotARequest | Self::Reply(ReplyError::NotARequest) => Status::NotARequest,
            Self::Answered | Self::Reply(ReplyError::Cancelled) => Status::Cancelled,
            Self::Reply(ReplyError::DeadlinePassed) => Status::TimedOut,
            Self::Client(error) => of_client(error),
            Self::Bug(_) => Status::Bug,
        }
    }
}

fn of_client(error: &ClientError) -> Status {
    match error {
        ClientError::NoNode(_) | ClientError::NobodyListens(_) => Status::NoNode,
        ClientError::NotAdmitted(DetachReason::Silent) => Status::TimedOut,
        ClientError::NotAdmitted(_) => Status::NotAdmitted,
        ClientError::Lost(_) => Status::Lost,
        ClientError::Attach(error) => match error {
            AttachError::NameTaken(_) => Status::NameTaken,
            AttachError::Subject(_) | AttachError::Capacity { .. } | AttachError::Lane { .. } => {
                Status::Invalid
            }
            AttachError::Contexts { .. } | AttachError::Refused(_) => Status::NotAdmitted,
            AttachError::Memory(_) | AttachError::Shared(_) => Status::NoMemory,
        },
        ClientError::Publish(error) => match error {
            PublishError::WouldBlock(_) => Status::WouldBlock,
            PublishError::Unreachable(_) => Status::Unreachable,
            PublishError::TooLarge { .. } => Status::TooLarge,
            PublishError::DeadlinePassed(_) => Status::TimedOut,
            PublishError::Subject(_) => Status::Invalid,
        },
        ClientError::Request(error) => match error {
            RequestError::NobodyListens(_) => Status::NobodyListens,
            RequestError::Unreachable(_) => Status::Unreachable,
            RequestError::Resting { .. } => Status::Resting,
            RequestError::WouldBlock(_) => Status::WouldBlock,
            RequestError::DeadlinePassed(_) => Status::TimedOut,
            RequestError::Abandoned(_) => Status::Abandoned,
            RequestError::Refused { .. } => Status::Refused,
            RequestError::Failed { .. } => Status::Failed,
            RequestError::TooLarge { .. } => Status::TooLarge,
            RequestError::Subject(_) => Status::Invalid,
        },
        ClientError::Loan(NoSlot::Full { .. }) => Status::WouldBlock,
        ClientError::Loan(_) => Status::NoMemory,
        ClientError::Unsent => Status::Unsent,
        ClientError::Thread(_) => Status::System,
        ClientError::Ended => Status::Closed,
    }
}

/// Who took a message that not everybody took in time.
pub fn receipt(error: &ClientError) -> Option<&synod_client::Receipt> {
    match error {
        ClientError::Publish(
            PublishError::WouldBlock(receipt)
            | PublishError::Unreachable(receipt)
            | PublishError::DeadlinePassed(receipt),
        ) => Some(receipt),
        _ => None,
    }
}

thread_local! {
    /// What the last call of this thread came to.
    pub static LAST: RefCell<(Status, CString)> = RefCell::new((Status::Ok, CString::default()));
}

/// Does what C asked for, and answers with a code, also when that panics.
pub fn guarded(work: impl FnOnce() -> Result<(), Fault>) -> Status {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Fault::Bug(said(&*panic))));
    let (status, text) = match done {
        Ok(()) => (Status::Ok, String::new()),
        Err(fault) => (fault.status(), fault.to_string().replace('\0', "?")),
    };
    // A thread that is about to end has no place for it any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = (status, CString::new(text).unwrap_or_default()));
    status
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Fault, LAST, Status, guarded};

    #[test]
    fn a_panic_is_a_code_with_its_words_and_the_next_call_forgets_it() {
        assert_eq!(guarded(|| panic!("{} are too many", 3)), Status::Bug);
        let text = LAST.with(|last| last.borrow().1.clone());
        assert!(text.to_str().unwrap().ends_with("3 are too many"), "{text:?}");
        assert_eq!(guarded(|| Err(Fault::NobodyListens("a\0b".into()))), Status::NobodyListens);
        assert_eq!(guarded(|| Ok(())), Status::Ok);
        assert!(LAST.with(|last| last.borrow().1.is_empty()));
    }

    #[test]
    fn what_one_thread_did_wrong_is_not_another_threads() {
        assert_eq!(guarded(|| Err(Fault::Uninitialised)), Status::NotInitialised);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| LAST.with(|last| last.borrow().0)).join());
        assert_eq!(elsewhere.unwrap(), Status::Ok);
    }
}
