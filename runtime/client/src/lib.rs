//! Lets a process take part in the node of its machine: it publishes, subscribes, asks and answers, over shared memory.
//!
//! Three lines, in a process beside one that runs `synod up`:
//!
//! ```no_run
//! # synod_client::run(async {
//! let client = synod_client::attach("reader").await?;
//! let mut news = client.subscribe("news.>").await?;
//! client.publish("news.eu", "hello").await?;
//! # Ok::<_, synod_client::ClientError>(()) }).unwrap();
//! ```
//!
//! The node's socket is the one that `SYNOD_ATTACH` names, or else that of the node `SYNOD_NODE`, or `synod`, in the user's runtime folder.
//! A node that wants tokens finds one in `SYNOD_TOKEN`. When the node is lost the process attaches again by itself, with all it had;
//! meanwhile [`Client::lost`] says why. What was sent and had no receipt by then may or may not have arrived; what has a receipt
//! arrives at every receiver that it names and that lives; as BACKGROUND to one of another process of this user it waits, if need be, for the next
//! of that name and pattern, and may then come [twice](synod_fabric::attach).
//!
//! A client stays on its thread: it works in [`run`], or wherever tasks can be spawned that stay on their thread (tokio's
//! `LocalRuntime`). Elsewhere [`blocking`] has the same without futures, from any thread.
//!
//! ```
//! use synod_client::Options;
//! # use synod_fabric::{Fabric, FabricConfig, attach::{Host, HostConfig}};
//! # let socket = std::env::temp_dir().join(format!("synod-client-{}.attach", std::process::id()));
//! synod_client::run(async {
//! #   let node = Fabric::new(FabricConfig::named("synod")).enter("home").unwrap();
//! #   let _host = Host::start(&node, HostConfig::at(&socket)).await.unwrap();
//!     let ada = Options::new().socket(&socket).attach("ada").await?;
//!     let ben = Options::new().socket(&socket).attach("ben").await?;
//!
//!     let mut news = ada.subscribe("news.>").await?;
//!     let receipt = ben.publish("news.eu", "hello").await?;
//!     assert_eq!(receipt.accepted().collect::<Vec<_>>(), ["ada"]);
//!     assert_eq!(&**news.recv().await.unwrap().payload(), b"hello");
//!
//!     ben.detach().await
//! }).unwrap();
//! ```

#[cfg(not(madsim))]
pub mod blocking;
mod client;
mod error;
mod options;

pub use client::Client;
pub use error::ClientError;
pub use options::Options;
pub use synod_fabric::attach::{DetachReason, NoSlot};
pub use synod_fabric::{
    AttachError, Loan, Message, PAYLOAD_MAX, Payload, Priority, PublishError, Published, Publisher, Receipt,
    Refusal, ReplyError, RequestError, RequestOptions, Subscription,
};

/// Attaches to this machine's node with the usual [`Options`]; `name` is the process's and its first agent's, unique in the node.
pub async fn attach(name: &str) -> Result<Client, ClientError> {
    Options::new().attach(name).await
}

/// Runs a future in which clients work, on this thread, until it is done.
pub fn run<F: Future>(future: F) -> F::Output {
    synod_platform::task::block_on(future)
}
