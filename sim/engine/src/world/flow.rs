//! Workflows of made-up steps over the fleet: a conductor runs plans by the product's engine, workers on other nodes do the steps.
//!
//! Every plan is drawn from the seed. Workers say what progress they like; some runs get a veto that is lifted later, or never. A
//! run that its node's death cut off is resumed from its journal; what the journal says in the end goes into the history.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use synod_agents::task::{Task, Urgency, Veto, task_subject, veto_subject};
use synod_agents::workflow::journal::{self, Happened, Journal, Line};
use synod_agents::workflow::{Plan, Step, Strategy, run};
use synod_agents::{Phase, Post, WorkError};
use synod_fabric::{Agent, Context, Priority, RequestOptions};
use synod_platform::disk::{File, OpenOptions};
use synod_platform::simulation::clock;
use synod_platform::{random, task, time, watch};
use synod_probe::{event, reach};

use super::nanoseconds;
use super::shared::Shared;
use super::work::{Pace, agent, handle, here, panic_if_ordered};
use crate::history::{Id, What};
use crate::scenario::form::Workload;

/// Steps of a plan: at least, and at most.
const STEPS: (u64, u64) = (3, 12);
/// The longest journal that is read back, bytes.
const JOURNAL_MAX: u64 = 16 << 20;
/// How often a run that ended without an end is resumed.
const RESUMED_MAX: u32 = 5;
/// What the conductor gets beyond the plan's own time, to tell what became of it.
const GRACE: Duration = Duration::from_secs(2);

/// A run as it was ordered, to be resumed if its node dies.
#[derive(Clone)]
pub struct Order {
    id: Id,
    plan: String,
    times: u32,
}

/// Does the steps of a workload on this node.
pub async fn work(shared: &Arc<Shared>, context: &Context, index: usize, work: &Workload) {
    let service = work.service;
    let worker = shared.clone();
    let body = move |desk: synod_agents::Desk| {
        let shared = worker.clone();
        async move {
            event!("engine.step", work = index, step = desk.task().id.as_str());
            panic_if_ordered(&shared, index);
            if shared.switches().sick.contains_key(&(index, here())) {
                event!("engine.held", work = index);
                std::future::pending::<()>().await;
            }
            // Progress is told, not believed.
            desk.progress(random::below(3) as f32 - 1.0, "as good as done");
            handle(&shared, index, service).await;
            desk.breathe().await?;
            let mut handoff = desk.handoff("conductor");
            handoff.outputs = vec![format!("worker/{}", desk.task().id)];
            Ok(handoff)
        }
    };
    live(Post::open_with(context, worker_name(work), body).await).await;
}

/// The agent's life: one panic after another if need be.
async fn live(post: Result<Post, synod_agents::PostError>) {
    let mut post = match post {
        Ok(post) => post,
        Err(error) => panic!("the post of a workflow cannot be opened: {error}"),
    };
    // The sender lives as long as the agent: nobody changes the phase.
    let (_phase, serve) = watch::channel(Phase::Serve);
    while post.live(serve.clone()).await.is_err() {
        event!("engine.agent_restarts");
    }
}

/// Names of agents live as long as the process; a run makes few.
fn worker_name(work: &Workload) -> &'static str {
    format!("worker-{}", work.name).leak()
}

/// Gives the conductor of this client one run after another, and what a dead node left unfinished first.
pub async fn conduct(shared: &Arc<Shared>, context: &Context, index: usize, client: u32, work: &Workload) {
    let conductor: &'static str = format!("conductor-{}-{client}", work.name).leak();
    let worker = worker_name(work);
    let open = Post::open_with(context, conductor, move |desk| async move {
        let text = desk.input("plan")?.to_owned();
        let plan =
            Plan::read(&text, "plan", &[worker]).map_err(|error| WorkError::Task(error.to_string()))?;
        let no_own_steps = |_| unreachable!("every step is a worker's");
        run::run(&desk, &plan, no_own_steps).await?;
        // As DIRECTOR does, who alone knows that nothing follows.
        let (mut journal, lines) = Journal::open(Path::new(&desk.task().folder)).await?;
        if lines.last().is_none_or(|line| line.event != Happened::Ended) {
            journal.append(&Line::now("", Happened::Ended)).await?;
        }
        journal.close().await?;
        Ok(desk.handoff("client"))
    });
    let post = task::spawn(live(open.await));
    let asks = agent(context, &format!("flow-{}-{client}", work.name));
    // Only SECURITY and DIRECTOR may give a veto, and a node has one of each.
    let security = if client == 0 { context.agent("security").ok() } else { None };
    let key = (index, here(), client);
    let mut pace = Pace::of(&shared.scenario, work);
    loop {
        let unfinished = shared.switches().flows.get(&key).cloned();
        let order = match unfinished {
            Some(order) => Order { times: order.times + 1, ..order },
            None if !pace.tick(shared, index, work).await => break,
            None => Order { id: shared.next_id(), plan: draw(work, worker).to_toml(), times: 0 },
        };
        shared.switches().flows.insert(key, order.clone());
        one_run(shared, &asks, security.as_ref(), conductor, index, work, &order).await;
    }
    drop(post);
    std::future::pending::<()>().await;
}

/// Asks the conductor for one run, and takes down what its journal says then.
async fn one_run(
    shared: &Arc<Shared>,
    asks: &Agent,
    security: Option<&Agent>,
    conductor: &str,
    index: usize,
    work: &Workload,
    order: &Order,
) {
    let plan = Plan::read(&order.plan, "plan", &[worker_name(work)]);
    let plan = plan.unwrap_or_else(|error| panic!("a plan does not survive its file form: {error}"));
    let folder = PathBuf::from(format!("/runs/{}", order.id));
    let within = plan.within.get() + GRACE;
    let run = format!("run-{}", order.id);
    let order_text = Task {
        id: "flow".into(),
        run: run.clone(),
        goal: plan.goal.clone(),
        tree: plan.tree.clone(),
        folder: folder.to_string_lossy().into_owned(),
        inputs: [("plan".to_owned(), order.plan.clone())].into(),
        within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        priority: Urgency::Normal,
        lease: None,
    };
    let text = serde_json::to_vec(&order_text).unwrap_or_default();
    event!("engine.flow", work = index, id = order.id, times = order.times);
    let deadline_ns = nanoseconds(clock::elapsed() + within);
    shared.note(What::FlowAsked { id: order.id, work: index, deadline_ns });
    let subject = task_subject(conductor);
    let asking = asks.request_with(
        &subject,
        Priority::Normal,
        text,
        RequestOptions::within(within + GRACE).idempotent(),
    );
    let ended = match select(pin!(asking), pin!(veto(security, &run, &plan))).await {
        Either::Left((ended, _)) => ended.is_ok(),
        Either::Right(((), asking)) => asking.await.is_ok(),
    };
    let lines = read_journal(&folder).await;
    let closed = lines.as_ref().is_some_and(|lines| lines.last().is_some_and(|l| l.event == Happened::Ended));
    event!("engine.flow_ended", work = index, id = order.id, told = ended, closed = closed);
    if let Some(lines) = lines {
        shared.note(What::flow(order.id, index, &plan, &lines, ended));
    }
    if closed || order.times >= RESUMED_MAX {
        let key = shared.switches().flows.iter().find(|(_, o)| o.id == order.id).map(|(key, _)| *key);
        if let Some(key) = key {
            shared.switches().flows.remove(&key);
        }
    } else {
        reach!("engine.flow_resumed");
        time::sleep(Duration::from_millis(200)).await;
    }
}

/// Perhaps vetoes the output of some step, and lifts that, or not.
async fn veto(security: Option<&Agent>, run: &str, plan: &Plan) {
    if let Some(security) = security.filter(|_| random::chance(0.4)) {
        let step = plan.steps[random::below(plan.steps.len() as u64) as usize].id.clone();
        let say = |lifted| {
            let veto = Veto { step: step.clone(), why: "drawn from the seed".into(), lifted };
            let text = serde_json::to_vec(&veto).unwrap_or_default();
            // A conductor that is not there hears no veto: then none stands in its journal.
            let told = security.publish(&veto_subject(run), Priority::High, text).is_ok();
            event!("engine.veto", step = step.as_str(), lifted = lifted, told = told);
        };
        let part = |from: u64| plan.within.get() / 16 * (from + random::below(4)) as u32;
        time::sleep(part(0)).await;
        say(false);
        if random::chance(0.8) {
            time::sleep(part(1)).await;
            say(true);
        }
    }
}

async fn read_journal(folder: &Path) -> Option<Vec<Line>> {
    let file = File::open(folder.join(journal::FILE), OpenOptions::READ).await.ok()?;
    let content = file.read_all(JOURNAL_MAX).await.ok()?;
    journal::parse(&content).ok().map(|(lines, _)| lines)
}

/// A plan with steps that need some of those before them.
fn draw(work: &Workload, worker: &str) -> Plan {
    let count = STEPS.0 + random::below(STEPS.1 - STEPS.0 + 1);
    let within = work.deadline.unwrap_or_default().get();
    let mut steps: Vec<Step> = Vec::new();
    for number in 0..count {
        let needs: Vec<String> =
            (0..number).filter(|_| random::chance(0.3)).take(3).map(|need| format!("s{need}")).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let mut step = Step::new(&format!("s{number}"), worker, "work for its own sake", &needs)
            .within(within / 4)
            .retries(random::below(3) as u32);
        if random::chance(0.25) {
            step = step.optional();
        }
        if random::chance(0.2) {
            step.writes = Some("/tree".into());
        }
        steps.push(step);
    }
    let mut plan = Plan::new("what the seed wants", "/tree", steps);
    plan.within = work.deadline.unwrap_or_default();
    plan.limit = 1 + random::below(4) as u32;
    let strategies = [Strategy::Sequential, Strategy::Parallel, Strategy::Pipeline, Strategy::Adaptive];
    plan.strategy = strategies[random::below(4) as usize];
    plan.veto_wait.0 = within / 4;
    plan
}
