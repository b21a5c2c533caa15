//! A few threads that each start one process after the other.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Runs `work` on what `source` gives, `jobs` at a time, and hands each result to `take` in the order of completion, on this thread.
/// `source` is asked for the next item only when a thread is free; it ends the work with `None`.
pub fn run<I: Send, O: Send>(
    jobs: usize,
    source: impl FnMut() -> Option<I> + Send,
    work: impl Fn(I) -> O + Sync,
    mut take: impl FnMut(O),
) {
    let source = Mutex::new(source);
    thread::scope(|scope| {
        let (done, results): (_, Receiver<O>) = sync_channel(jobs);
        for _ in 0..jobs.max(1) {
            let (done, source, work) = (done.clone(), &source, &work);
            scope.spawn(move || {
                loop {
                    let next = (source.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))();
                    let Some(item) = next else { return };
                    if done.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for result in results {
            take(result);
        }
    });
}

/// As many jobs as asked for, or as there are cores.
pub fn jobs(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).clamp(1, 256)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_item_is_worked_on_once() {
        let mut items = 0..100;
        let mut sum = 0;
        super::run(4, || items.next(), |item| item * 2, |result: u64| sum += result);
        assert_eq!(sum, 9900);
    }
}
