//! The runs of a node: started on order, followed, cancelled, and found again when they are over.
//!
//! A run works in a task of the door's context, under an agent of its own, so dropping it cancels it. How many run at a time is
//! bounded, and so are the ended ones that are kept; older ones are found by their folders.

pub mod order;
pub mod past;
pub mod record;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use synod_agents::ReviewError;
use synod_agents::report::{self, shelf};
use synod_agents::review::{self, Job};
use synod_fabric::Context;
use synod_platform::{files, task, time};
use synod_probe::{event, reach};
use tokio::sync::{Notify, oneshot};

use self::order::{Given, Order, Told};
use self::record::{End, Record};
use crate::metrics::Counted;
use crate::problem::Problem;

/// Runs that may be under way at a time.
pub const ACTIVE_MAX: usize = 4;
/// Ended runs that are kept in memory.
const ENDED_MAX: usize = 64;
/// How long a cancelled run may take to tell its end.
const LET_GO: Duration = Duration::from_secs(1);

/// All runs.
#[derive(Debug, Clone)]
pub struct Runs(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    known: RefCell<BTreeMap<String, Rc<Record>>>,
    /// Ids of ended runs, oldest first.
    ended: RefCell<Vec<String>>,
    /// Runs of earlier lives, as they were when they were listed last.
    past: RefCell<BTreeMap<String, (past::Mark, Told)>>,
    cancels: RefCell<BTreeMap<String, oneshot::Sender<String>>>,
    number: Cell<u64>,
    one_ended: Notify,
    counted: Rc<Counted>,
}

impl Runs {
    /// No runs yet; folders are made in `folder` unless an order says otherwise.
    pub fn new(folder: PathBuf, counted: Rc<Counted>) -> Self {
        Runs(Rc::new(Inner {
            folder,
            known: RefCell::default(),
            ended: RefCell::default(),
            past: RefCell::default(),
            cancels: RefCell::default(),
            number: Cell::new(0),
            one_ended: Notify::new(),
            counted,
        }))
    }

    /// The node's folder for runs.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// How many are under way.
    pub fn active(&self) -> usize {
        self.0.cancels.borrow().len()
    }

    /// Starts what is ordered in `context`.
    pub async fn start(&self, context: &Context, order: &Order) -> Result<Rc<Record>, Problem> {
        let job = order.job(&self.0.folder)?;
        let (tree, id) = (tree(&job).await?, job.id());
        if self.known(&id).is_some_and(|record| !record.is_over()) {
            let what = format!("the run `{id}` is under way");
            return Err(Problem::new(409, what, "run", "follow it, or cancel it"));
        }
        if self.active() >= ACTIVE_MAX {
            reach!("edge.runs-full");
            let what = format!("{ACTIVE_MAX} runs are under way, which is the most at a time");
            return Err(Problem::new(429, what, "", "wait for one to end, or cancel one"));
        }
        let number = self.0.number.get() + 1;
        self.0.number.set(number);
        let agent = context.agent(&format!("run-{number}")).map_err(|error| {
            Problem::new(503, format!("the run cannot take its place: {error}"), "", "try again")
        })?;
        let record = Rc::new(Record::new(id.clone(), tree, job.out().to_path_buf()));
        let (cancel, cancelled) = oneshot::channel();
        self.0.ended.borrow_mut().retain(|ended| *ended != id);
        self.0.known.borrow_mut().insert(id.clone(), record.clone());
        self.0.cancels.borrow_mut().insert(id.clone(), cancel);
        event!("edge.run-started", run = id.as_str());
        let (runs, own) = (self.clone(), record.clone());
        let work = task::spawn(async move {
            let end = tokio::select! {
                biased;
                why = cancelled => End::Cancelled(why.unwrap_or_else(|_| "the node stops".into())),
                end = job.run_as(&agent, id.clone(), |progress| own.progress(progress)) => match end {
                    Ok(reviewed) => End::Done(Box::new(Given::of(reviewed))),
                    Err(error) => failed(&error),
                },
            };
            drop(agent);
            end
        });
        let own = record.clone();
        task::spawn(async move {
            let end = match work.await {
                Ok(end) => {
                    runs.count(&own).await;
                    end
                }
                Err(error) => {
                    End::Failed { why: format!("the run's own task ended: {error}"), order_is_wrong: false }
                }
            };
            runs.over(&own, end);
        })
        .detach();
        Ok(record)
    }

    /// Counts what the run's journal tells of its steps.
    async fn count(&self, record: &Record) {
        // Whoever asks for the run's result is told of a journal that cannot be read.
        if let Ok(lines) = report::journal(&record.folder()).await {
            self.0.counted.journal(&lines);
        }
    }

    fn over(&self, record: &Record, end: End) {
        record.end(end);
        event!("edge.run-ended", run = record.id());
        let told = record.told();
        self.0.counted.run(told.outcome.as_deref().unwrap_or(told.state.word()));
        self.0.cancels.borrow_mut().remove(record.id());
        let mut ended = self.0.ended.borrow_mut();
        ended.push(record.id().to_string());
        if ended.len() > ENDED_MAX {
            let oldest = ended.remove(0);
            self.0.known.borrow_mut().remove(&oldest);
        }
        self.0.one_ended.notify_waiters();
    }

    /// A run of this life.
    pub fn known(&self, id: &str) -> Option<Rc<Record>> {
        self.0.known.borrow().get(id).cloned()
    }

    /// A run of this life or of an earlier one.
    pub async fn find(&self, id: &str) -> Option<Told> {
        match self.known(id) {
            Some(record) => Some(record.told()),
            None => past::find(&self.0.folder, id).await,
        }
    }

    /// The folder of a run that is there.
    pub async fn folder_of(&self, id: &str) -> Option<PathBuf> {
        match self.known(id) {
            Some(record) => Some(record.folder()),
            None => past::is_there(&self.0.folder, id).await.then(|| self.0.folder.join(id)),
        }
    }

    /// All that are known or found, those under way first, then newest first; and whether older ones were left out.
    pub async fn list(&self) -> (Vec<Told>, bool) {
        let mut list: Vec<Told> = self.0.known.borrow().values().map(|record| record.told()).collect();
        let (ids, more) = past::ids(&self.0.folder).await;
        self.0.past.borrow_mut().retain(|id, _| ids.contains(id));
        for id in ids {
            if self.known(&id).is_none() {
                list.extend(self.past(id).await);
            }
        }
        list.iter_mut().for_each(|told| told.given = None);
        list.sort_by(|a, b| {
            let over = |told: &Told| told.state != order::State::Running;
            over(a).cmp(&over(b)).then_with(|| b.began.cmp(&a.began)).then_with(|| b.id.cmp(&a.id))
        });
        (list, more)
    }

    /// A run of an earlier life, read again only if it is not as it was when it was read last.
    async fn past(&self, id: String) -> Option<Told> {
        let mark = past::mark(&self.0.folder, &id).await;
        let kept = self.0.past.borrow().get(&id).filter(|(at, _)| Some(*at) == mark).cloned();
        if let Some((_, told)) = kept
            && (told.state == order::State::Done || !shelf::is_open(&self.0.folder.join(&id)).await)
        {
            return Some(told);
        }
        let told = past::find(&self.0.folder, &id).await?;
        if let Some(mark) = mark
            && told.state != order::State::Running
        {
            self.0.past.borrow_mut().insert(id, (mark, told.clone()));
        }
        Some(told)
    }

    /// Cancels a run; says whether it was under way.
    pub fn cancel(&self, id: &str, why: &str) -> bool {
        let cancel = self.0.cancels.borrow_mut().remove(id);
        match cancel {
            Some(cancel) => {
                reach!("edge.run-cancelled");
                // Its task may have ended this very moment.
                let _ = cancel.send(why.into());
                true
            }
            None => false,
        }
    }

    /// Waits up to `within` until no run is under way, then cancels what is left, sees it end, and says how many that were.
    pub async fn drain(&self, within: Duration, why: &str) -> usize {
        self.wait(within).await;
        let left: Vec<String> = self.0.cancels.borrow().keys().cloned().collect();
        let cancelled = left.iter().filter(|id| self.cancel(id, why)).count();
        self.wait(LET_GO).await;
        cancelled
    }

    /// Waits up to `within` until no run is under way.
    async fn wait(&self, within: Duration) {
        let until = time::now() + within;
        while self.under_way() > 0 {
            let mut one = std::pin::pin!(self.0.one_ended.notified());
            one.as_mut().enable();
            if self.under_way() == 0 || time::timeout_at(until, one).await.is_err() {
                return;
            }
        }
    }

    /// How many have not told their end yet, cancelled ones among them.
    fn under_way(&self) -> usize {
        self.0.known.borrow().values().filter(|record| !record.is_over()).count()
    }
}

/// The tree of a job. Whatever is to be begun must have it; a run that has ended gives its result again, also when its tree is gone.
async fn tree(job: &Job) -> Result<String, Problem> {
    let (key, tree) = match job {
        Job::Review(review) => ("path", review.tree.as_path()),
        Job::Plan(plan, _) => ("plan.tree", Path::new(&plan.tree)),
        Job::Rest(folder) => {
            let wrong = |error: ReviewError| {
                Problem::new(422, error.to_string(), "run", "GET /api/runs lists the runs there are")
            };
            return review::plan_of(folder).await.map(|plan| plan.tree).map_err(wrong);
        }
    };
    let why = match files::metadata(tree).await {
        Ok(found) if found.kind == files::Kind::File => "not a directory".to_string(),
        Ok(_) => return Ok(tree.to_string_lossy().into_owned()),
        Err(error) => error.to_string(),
    };
    Err(Problem::new(422, why, key, "name the root of a source tree that the node can read"))
}

fn failed(error: &ReviewError) -> End {
    let order_is_wrong =
        matches!(error, ReviewError::Files(_) | ReviewError::NoTree(_) | ReviewError::OutWithinTree(_));
    End::Failed { why: error.to_string(), order_is_wrong }
}
