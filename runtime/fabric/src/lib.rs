//! Subjects, subscriptions, routing, mailboxes, links between nodes.
//!
//! A [`Fabric`] is one node's; each executor thread that takes part *enters* it and gets a [`Context`], in which it makes
//! [`Agent`]s. Agents publish to subjects and subscribe to patterns of them, serve requests and make them. Nothing that was
//! accepted is dropped in silence: a full queue is told to the sender, and every loss is counted with its reason.
//!
//! ```
//! use std::time::Duration;
//! use synod_fabric::{Fabric, FabricConfig, Priority};
//!
//! synod_platform::task::block_on(async {
//!     let context = Fabric::new(FabricConfig::named("node-1")).enter("main").unwrap();
//!     let mut orders = context.agent("clerk").unwrap().subscribe("orders.*", 16).await.unwrap();
//!     let mut sums = context.agent("adder").unwrap().serve("sum", 16).await.unwrap();
//!     let customer = context.agent("customer").unwrap();
//!
//!     let receipt = customer.publish("orders.eu", Priority::Normal, "two apples").unwrap();
//!     assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["clerk"]);
//!     assert_eq!(&**orders.recv().await.unwrap().payload(), b"two apples");
//!
//!     let adder = async move { sums.recv().await.unwrap().reply("2").unwrap() };
//!     synod_platform::task::spawn(adder).detach();
//!     let answer = customer.request("sum", Priority::High, "1+1", Duration::from_secs(1)).await;
//!     assert_eq!(&**answer.unwrap().payload(), b"2");
//! });
//! ```
//!
//! How a message goes: the publisher's cached route names the receivers; inside one context the message is put into the
//! receiver's queue; to another context one record goes over a ring, and that context's drain task puts it into the queues. What
//! lies between a sending context and a subscription is bounded by credits for each priority. Across nodes see [`link`].
//!
//! Bounds, plainly: a subscription holds at most its capacity for each priority *and each sending context*; bytes are not bounded
//! apart from 16 MiB a message. A ring does not grow yet. A grant that a sending context was given is good until its route changes;
//! taking grants away from a living sender comes with the guard. Other processes of the machine take part as [`attach`] says, which
//! also says what becomes of BACKGROUND messages between them.

mod agent;
pub mod attach;
mod block;
mod config;
mod context;
mod edge;
mod error;
mod fabric;
mod intake;
mod lane;
pub mod link;
mod mailbox;
mod message;
mod registry;
mod request;
mod route;
pub mod subject;
mod tap;
mod trie;

pub use agent::{Agent, Message, Publisher, Subscription};
pub use config::FabricConfig;
pub use edge::Counts;
pub use error::{AttachError, PublishError, ReplyError, RequestError};
pub use fabric::{Changes, Context, ContextSnapshot, EdgeSnapshot, Fabric, Snapshot, SubscriptionSnapshot};
pub use mailbox::{PATIENCE, WAIT_MAX};
pub use message::{INLINE_MAX, Payload, Published, Receipt, Refusal};
pub use request::RequestOptions;
pub use subject::{Pattern, Subject, SubjectError};
pub use synod_ring::pool::Loan;
pub use synod_wire::{PAYLOAD_MAX, Priority};
pub use tap::TAP_HEAD;
