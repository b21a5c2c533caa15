//! The C API: what `synod.h` declares, over the blocking client.
//!
//! Here is everything that C can call. Each function checks what it is given, has the client do it, and answers with a code; nothing
//! unwinds into C. Handles are numbers in a table, so that a stale one is an error and no more; pointers cannot be checked for more
//! than null, alignment and an upper bound of what is read. `include/synod.h` is made from this crate by cbindgen.
#![cfg(not(madsim))]
#![expect(unsafe_code, reason = "a C API is raw pointers and exported symbols")]

mod fault;
mod given;
mod held;

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use synod_client::Payload;
use synod_client::blocking::{self, Received};

use fault::{Fault, LAST, Status, guarded};
use given::{at_most, bytes, place, priority, text};
use held::{Held, Loaned};

/// What `synod_init` takes: which form of the functions and structures a program was compiled for.
pub const SYNOD_ABI: u32 = 1;

/// Waits without an end.
pub const SYNOD_FOREVER: u64 = u64::MAX;

/// The number of a client, a subscription, a message or a loan. 0 is none's.
pub type Handle = u64;

/// How urgent a message is, the most urgent first.
#[repr(i32)]
pub enum Priority {
    /// The fleet's own safety: before everything else.
    Critical = 0,
    /// Somebody waits for it now.
    High = 1,
    /// The usual.
    Normal = 2,
    /// May wait for the usual.
    Low = 3,
    /// Large amounts, in the order of minutes.
    Batch = 4,
    /// When nothing else is to be done. To another process it waits in a file that outlives both, and comes at least once.
    Background = 5,
}

/// How a process attaches. All zero is the usual: what is NULL or 0 comes from the environment or is as said here.
#[repr(C)]
pub struct Options {
    /// The node's socket; else the one that SYNOD_ATTACH names, or the node's in the user's runtime folder.
    pub socket: *const c_char,
    /// The node's name; else SYNOD_NODE's, or `synod`.
    pub node: *const c_char,
    /// What a node that wants tokens is shown; else SYNOD_TOKEN's.
    pub token: *const c_char,
    /// How long the node may take to let the process in; else 5 s.
    pub within_ms: u64,
    /// Places of a subscription for each priority and sending context; else 256.
    pub capacity: usize,
    /// Bytes of each ring to another context, a power of two from 1 KiB to 64 MiB; else 16 KiB.
    pub lane_bytes: usize,
}

/// Who took a message that was sent. It is no answer of theirs: the message has its place with them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Receipt {
    /// How many receivers took it.
    pub accepted: usize,
    /// How many did not: they had no room in time, or could not be reached.
    pub refused: usize,
}

/// A message that was received; all of it is good until its handle is released.
#[repr(C)]
pub struct Message {
    /// What it is released and answered by.
    pub handle: Handle,
    /// What it was sent to; of an answer, what was asked.
    pub subject: *const c_char,
    /// Who sent it.
    pub source: *const c_char,
    /// What it says. If `is_in_place` these bytes lie in the sender's memory: an honest one leaves them alone, one that means harm can change
    /// them while they are read. Where that matters, synod_copy them and look at the copy alone.
    pub bytes: *const u8,
    /// How many bytes that is.
    pub len: usize,
    /// How urgent it is.
    pub priority: i32,
    /// Whether somebody waits for an answer.
    pub is_request: bool,
    /// Whether the bytes are read where the sender wrote them, as those of a long message from another process are: nothing was copied. They stay
    /// readable until the message is released, and stay as they are until ten seconds after the client is detached.
    pub is_in_place: bool,
}

/// Memory for a long payload, to be filled in place; good until its handle is sent or released.
#[repr(C)]
pub struct Loan {
    /// What it is sent or released by.
    pub handle: Handle,
    /// Where to write; what stands there at first is anything.
    pub bytes: *mut u8,
    /// How many bytes that is.
    pub len: usize,
}

impl Receipt {
    const NONE: Self = Self { accepted: 0, refused: 0 };

    fn of(receipt: &synod_client::Receipt) -> Self {
        Self { accepted: receipt.accepted_count(), refused: receipt.refused().len() }
    }
}

impl Message {
    const NONE: Self = Self {
        handle: 0,
        subject: std::ptr::null(),
        source: std::ptr::null(),
        bytes: std::ptr::null(),
        len: 0,
        priority: 0,
        is_request: false,
        is_in_place: false,
    };

    /// Keeps a message in the table, and shows where its parts lie.
    fn keep(received: Received) -> Self {
        let kept = Arc::new(held::Message {
            // Names hold no NUL: subjects and agents are made of printable characters.
            subject: CString::new(received.subject.as_str()).unwrap_or_default(),
            source: CString::new(received.source.as_str()).unwrap_or_default(),
            payload: received.payload.clone(),
            received: Mutex::new(None),
        });
        let mut shown = Self {
            handle: 0,
            subject: kept.subject.as_ptr(),
            source: kept.source.as_ptr(),
            bytes: kept.payload.start(),
            len: kept.payload.len(),
            priority: received.priority as i32,
            is_request: received.is_request(),
            is_in_place: kept.payload.is_lent(),
        };
        *kept.received.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
        shown.handle = held::keep(Held::Message(kept));
        shown
    }
}

impl Loan {
    const NONE: Self = Self { handle: 0, bytes: std::ptr::null_mut(), len: 0 };
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// To be called once before a process attaches, with SYNOD_ABI: is this library the one that the program was compiled for?
/// Calling it again is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn synod_init(abi: u32) -> Status {
    guarded(|| match abi {
        SYNOD_ABI => {
            INITIALISED.store(true, Ordering::Relaxed);
            Ok(())
        }
        other => Err(Fault::Abi(other)),
    })
}

/// The library's version, as in "0.1.0"; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn synod_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version holds no NUL"),
        };
    VERSION.as_ptr()
}

/// What the last call of this thread came to, but for this function and the next.
#[unsafe(no_mangle)]
pub extern "C" fn synod_last_error() -> Status {
    LAST.try_with(|last| last.borrow().0).unwrap_or(Status::Bug)
}

/// The same in words, with what to do about it; empty if all was well, never NULL. Good until this thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn synod_last_error_text() -> *const c_char {
    LAST.try_with(|last| last.borrow().1.as_ptr()).unwrap_or(c"".as_ptr())
}

/// Attaches this process to the node of its machine, by a name that is unique there: the process's and its agent's. `options` may be
/// NULL. A node that is lost is found again by itself when it is back.
///
/// # Safety
/// `name` and what `options` names are NUL-terminated; `client` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_attach(
    name: *const c_char,
    options: *const Options,
    client: *mut Handle,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (mut client, name) = unsafe { (place("client", client, 0)?, text("name", name)?) };
        if !INITIALISED.load(Ordering::Relaxed) {
            return Err(Fault::Uninitialised);
        }
        // SAFETY: the caller's promise.
        let options = unsafe { given::options(options)? };
        let attached = options.attach_blocking(name)?;
        client.put(held::keep(Held::Client(attached)));
        Ok(())
    })
}

/// Leaves the node when all that was accepted is on its way, and closes the client and its subscriptions; messages and loans stay until
/// they are released. Whoever still waits for an answer of this client is told that there will be none.
#[unsafe(no_mangle)]
pub extern "C" fn synod_detach(client: Handle) -> Status {
    guarded(|| {
        let (client, subscriptions) = held::remove_client(client)?;
        // They go before the client does, for they keep it attached.
        subscriptions.iter().for_each(|subscription| subscription.source.close());
        drop(subscriptions);
        Ok(client.detach()?)
    })
}

/// Whether the process is attached at this moment. If it is not, the library goes on looking for the node.
///
/// # Safety
/// `attached` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_is_attached(client: Handle, attached: *mut bool) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let mut attached = unsafe { place("attached", attached, false)? };
        let client = held::client(client)?;
        attached.put(client.is_attached()?);
        Ok(())
    })
}

/// Waits so long until the process is attached (again); SYNOD_STATUS_TIMED_OUT if it is not by then. After a node's restart each process comes
/// back in its own time with what it subscribes to: what is sent before that finds nobody.
#[unsafe(no_mangle)]
pub extern "C" fn synod_wait_attached(client: Handle, within_ms: u64) -> Status {
    guarded(|| {
        let client = held::client(client)?;
        if client.wait_attached(at_most(within_ms))? { Ok(()) } else { Err(Fault::NotAttached(within_ms)) }
    })
}

/// Sends to everybody who subscribes to `subject`, and waits so long until each has room. Nobody there at all is
/// SYNOD_STATUS_NOBODY_LISTENS. `receipt` may be NULL; it is written also when not everybody had room in time.
///
/// # Safety
/// `subject` is NUL-terminated; `len` bytes can be read at `bytes`, which may be NULL if that is 0; `receipt` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_send(
    client: Handle,
    subject: *const c_char,
    priority: i32,
    bytes: *const c_void,
    len: usize,
    within_ms: u64,
    receipt: *mut Receipt,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (subject, payload) = unsafe { (text("subject", subject)?, self::bytes(bytes, len)?) };
        let client = held::client(client)?.with_priority(self::priority(priority)?);
        let sent = client.with_patience(at_most(within_ms)).publish(subject, Payload::copy_from(payload));
        // SAFETY: the caller's promise.
        unsafe { receive_receipt(subject, sent, receipt) }
    })
}

/// Sends what is of use for so long alone: who has not received it by then never does. As long as nobody has room it is tried again; once
/// somebody took it, whoever had no room is counted as refused and not waited for.
///
/// # Safety
/// As for synod_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_send_expiring(
    client: Handle,
    subject: *const c_char,
    priority: i32,
    bytes: *const c_void,
    len: usize,
    lifetime_ms: u64,
    receipt: *mut Receipt,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (subject, payload) = unsafe { (text("subject", subject)?, self::bytes(bytes, len)?) };
        let client = held::client(client)?.with_priority(self::priority(priority)?);
        let sent = client.publish_expiring(subject, Payload::copy_from(payload), at_most(lifetime_ms));
        // SAFETY: the caller's promise.
        unsafe { receive_receipt(subject, sent, receipt) }
    })
}

/// Borrows memory for a payload of `len` bytes that other processes will read in place: fill it, then synod_send_loan it, or
/// synod_release it.
///
/// # Safety
/// `loan` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_loan(client: Handle, len: usize, loan: *mut Loan) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let mut place = unsafe { place("loan", loan, Loan::NONE)? };
        given::length(len)?;
        let mut borrowed = held::client(client)?.loan(len)?;
        let (bytes, len) = (borrowed.as_mut_ptr(), borrowed.len());
        let handle = held::keep(Held::Loan(Arc::new(Mutex::new(Loaned::Filling(borrowed)))));
        place.put(Loan { handle, bytes, len });
        Ok(())
    })
}

/// Sends a loan as synod_send sends bytes; nothing is copied on its way to other processes. Once it is sent its handle is closed. If
/// this fails, the loan may be sent again or released, but nothing may be written to it any more.
///
/// # Safety
/// `subject` is NUL-terminated; `receipt` is NULL or can be written; nobody writes to the loan's bytes from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_send_loan(
    client: Handle,
    loan: Handle,
    subject: *const c_char,
    priority: i32,
    within_ms: u64,
    receipt: *mut Receipt,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let subject = unsafe { text("subject", subject)? };
        let client = held::client(client)?.with_priority(self::priority(priority)?);
        let loaned = held::loan(loan)?;
        let payload = loaned.lock().unwrap_or_else(PoisonError::into_inner).seal();
        let sent = client.with_patience(at_most(within_ms)).publish(subject, payload);
        // SAFETY: the caller's promise.
        unsafe { receive_receipt(subject, sent, receipt)? };
        // Another thread may have released it meanwhile.
        let _ = held::remove_releasable(loan);
        Ok(())
    })
}

/// Receives what is sent to subjects that match `pattern`: `*` stands for one token, `>` for all that follow.
///
/// # Safety
/// `pattern` is NUL-terminated; `subscription` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_subscribe(
    client: Handle,
    pattern: *const c_char,
    subscription: *mut Handle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { open(client, pattern, subscription, blocking::Client::subscribe) }
}

/// Receives requests on subjects that match, as one instance among all who serve them: each request goes to one. Answer by
/// synod_reply or synod_fail.
///
/// # Safety
/// As for synod_subscribe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_serve(
    client: Handle,
    pattern: *const c_char,
    subscription: *mut Handle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { open(client, pattern, subscription, blocking::Client::serve) }
}

/// Ends a subscription, also for a thread that waits for a message of it.
#[unsafe(no_mangle)]
pub extern "C" fn synod_unsubscribe(subscription: Handle) -> Status {
    guarded(|| {
        let removed = held::remove_subscription(subscription)?;
        removed.source.close();
        Ok(())
    })
}

/// Waits so long for the next message, the most urgent first: SYNOD_STATUS_TIMED_OUT if none came. 0 takes one that is there, SYNOD_FOREVER
/// waits without an end. Each message has to be released.
///
/// # Safety
/// `message` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_receive(
    subscription: Handle,
    within_ms: u64,
    message: *mut Message,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let mut place = unsafe { place("message", message, Message::NONE)? };
        let subscription = held::subscription(subscription)?;
        let within = (within_ms != SYNOD_FOREVER).then(|| at_most(within_ms));
        let received = subscription.source.next(within)?.ok_or(Fault::NoMessage(within_ms))?;
        place.put(Message::keep(received));
        Ok(())
    })
}

/// Asks one of those who serve `subject`, and waits so long for what it answers, which has to be released. SYNOD_STATUS_NOBODY_LISTENS is said at
/// once.
///
/// # Safety
/// As for synod_send; `answer` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_request(
    client: Handle,
    subject: *const c_char,
    priority: i32,
    bytes: *const c_void,
    len: usize,
    within_ms: u64,
    answer: *mut Message,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let mut place = unsafe { place("answer", answer, Message::NONE)? };
        // SAFETY: the caller's promise.
        let (subject, payload) = unsafe { (text("subject", subject)?, self::bytes(bytes, len)?) };
        let client = held::client(client)?.with_priority(self::priority(priority)?);
        let payload = Payload::copy_from(payload);
        let answer = client.with_patience(at_most(within_ms)).request(subject, payload)?;
        place.put(Message::keep(answer));
        Ok(())
    })
}

/// Copies `len` bytes of a message from byte `from` on, each read once: what a sender does to its memory after that does not matter.
///
/// # Safety
/// `len` bytes can be written at `into`, which may be NULL if that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_copy(message: Handle, from: usize, into: *mut c_void, len: usize) -> Status {
    guarded(|| {
        let message = held::message(message)?;
        let has = message.payload.len();
        let end = from.checked_add(len).filter(|end| *end <= has).ok_or(Fault::Range { from, len, has })?;
        // SAFETY: the caller's promise, and not more than a message has.
        let into = unsafe { given::room(into, len)? };
        message.payload.copy_to(from..end, into);
        Ok(())
    })
}

/// Answers a request, once. The message stays readable until it is released.
///
/// # Safety
/// `len` bytes can be read at `bytes`, which may be NULL if that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_reply(request: Handle, bytes: *const c_void, len: usize) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let payload = unsafe { self::bytes(bytes, len)? };
        Ok(held::message(request)?.take()?.reply(Payload::copy_from(payload))?)
    })
}

/// Answers a request, once: it was tried and failed.
///
/// # Safety
/// `reason` is NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn synod_fail(request: Handle, reason: *const c_char) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let reason = unsafe { text("reason", reason)? };
        Ok(held::message(request)?.take()?.fail(reason)?)
    })
}

/// Gives back a message or a loan. A request that has no answer yet is told so.
#[unsafe(no_mangle)]
pub extern "C" fn synod_release(handle: Handle) -> Status {
    guarded(|| held::remove_releasable(handle).map(drop))
}

/// Opens a subscription of some kind.
///
/// # Safety
/// `pattern` is null or NUL-terminated; `subscription` is null or can be written.
unsafe fn open(
    client: Handle,
    pattern: *const c_char,
    subscription: *mut Handle,
    how: fn(&blocking::Client, &str) -> Result<blocking::Subscription, synod_client::ClientError>,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (mut place, pattern) =
            unsafe { (place("subscription", subscription, 0)?, text("pattern", pattern)?) };
        let source = how(&held::client(client)?, pattern)?;
        place.put(held::keep_subscription(client, source)?);
        Ok(())
    })
}

/// Writes down who took a message; nobody is an error.
///
/// # Safety
/// `receipt` is null or can be written.
unsafe fn receive_receipt(
    subject: &str,
    sent: Result<synod_client::Receipt, synod_client::ClientError>,
    receipt: *mut Receipt,
) -> Result<(), Fault> {
    let counts = match &sent {
        Ok(receipt) => Receipt::of(receipt),
        Err(error) => fault::receipt(error).map_or(Receipt::NONE, Receipt::of),
    };
    if !receipt.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place("receipt", receipt, counts)? };
    }
    match (sent?.accepted_count(), counts.refused) {
        (0, 0) => Err(Fault::NobodyListens(subject.to_owned())),
        _ => Ok(()),
    }
}
