//! What the fabric's tests share: a fabric, a second context, and the harness that runs a body in either build.

use std::future::Future;
use std::time::Duration;

use synod_fabric::{Context, Fabric, FabricConfig};
use synod_platform::{task, testing};
use tokio::sync::oneshot;

/// Runs `body` on a real executor, or in a simulated node.
pub fn run<F, Fut>(body: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    testing::run(7, body);
}

/// A fabric with the usual settings.
pub fn fabric() -> Fabric {
    Fabric::new(FabricConfig::named("test"))
}

/// `n` seconds.
pub fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Starts a context called `there`: `set_up` makes something there and a body that uses it; returns once it is made. The second value is what
/// the body returned.
pub async fn beside<S, SFut, T, B, BFut, O>(
    fabric: &Fabric,
    set_up: S,
) -> (task::ContextHandle<()>, oneshot::Receiver<O>)
where
    S: FnOnce(Context) -> SFut + Send + 'static,
    SFut: Future<Output = (T, B)> + 'static,
    T: 'static,
    B: FnOnce(T) -> BFut + 'static,
    BFut: Future<Output = O> + 'static,
    O: Send + 'static,
{
    let (ready, is_ready) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let fabric = fabric.clone();
    let handle = task::Context::start("there", None, move || async move {
        let context = fabric.enter("there").unwrap();
        let (made, body) = set_up(context).await;
        ready.send(()).unwrap();
        let output = body(made).await;
        assert!(done.send(output).is_ok());
    })
    .unwrap();
    is_ready.await.unwrap();
    (handle, is_done)
}
