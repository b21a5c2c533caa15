//! Subjects, subscriptions, routing, mailboxes, links between nodes.
//!
//! A [`Fabric`] is one node's; each executor thread that takes part *enters* it and gets a [`Context`], in which it makes
//! [`Agent`]s. Agents publish to subjects and subscribe to patterns of them, serve requests and make them.

mod agent;
mod config;
mod context;
mod edge;
mod error;
mod fabric;
mod lane;
pub mod link;
mod mailbox;
mod message;
mod registry;
mod request;
mod route;
pub mod subject;
mod trie;

pub use agent::{Agent, Message, Publisher, Subscription};
pub use config::FabricConfig;
pub use edge::Counts;
pub use error::{AttachError, PublishError, ReplyError, RequestError};
pub use fabric::{Changes, Context, ContextSnapshot, EdgeSnapshot, Fabric, Snapshot, SubscriptionSnapshot};
pub use mailbox::{PATIENCE, WAIT_MAX};
pub use message::{INLINE_MAX, Payload, Receipt, Refusal};
pub use request::RequestOptions;
pub use subject::{Pattern, Subject, SubjectError};
pub use synod_wire::{PAYLOAD_MAX, Priority};
