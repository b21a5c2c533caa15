//! Subjects, subscriptions, routing, mailboxes, links between nodes.
//!
//! A [`Fabric`] is one node's; each executor thread that takes part *enters* it and gets a [`Context`], in which it makes
//! [`Agent`]s. Agents publish to subjects and subscribe to patterns of them, serve requests and make them.

mod agent;
mod error;
pub mod link;
mod message;
pub mod subject;

pub use agent::{Agent, Context, Fabric, FabricConfig, Message, Publisher, RequestOptions, Subscription};
pub use error::{AttachError, PublishError, ReplyError, RequestError};
pub use message::{INLINE_MAX, Payload, Receipt, Refusal};
pub use subject::{Pattern, Subject, SubjectError};
pub use synod_wire::{PAYLOAD_MAX, Priority};
