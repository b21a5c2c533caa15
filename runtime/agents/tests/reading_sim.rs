//! Agents whose time for reading is gone work on what they have, and say so: most of it goes by before they begin, which only virtual
//! time does quickly.
#![cfg(madsim)]

use std::collections::BTreeMap;
use std::time::Duration;

use synod_agents::shell::{Agent as _, Builtin, Desk};
use synod_agents::task::{Handoff, Task, Urgency, task_subject};
use synod_agents::tree::{Entry, Kind, Tree};
use synod_agents::{Phase, Post, Role};
use synod_fabric::{Fabric, FabricConfig, Priority};
use synod_platform::{files, simulation, task, testing, time, watch};

const WITHIN: Duration = Duration::from_secs(300);

/// The warnings of an agent that begins when `idle` of its time is gone.
async fn warnings(role: Role, idle: Duration) -> Vec<String> {
    let disk = files::tree(simulation::current_node());
    let mut listed = Tree::default();
    for (path, text) in [("README.md", "# a\n"), ("a.py", "x = 1\n")] {
        disk.put(format!("/t/{path}"), text);
        let entry = Entry { path: path.into(), kind: Kind::File, len: text.len() as u64, mode: 0o644 };
        listed.entries.push(entry);
    }
    disk.put("/runs/r/survey/tree.json", serde_json::to_vec(&listed).expect("plain data"));
    let context = Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context");
    let late = move |desk: Desk| async move {
        time::sleep(idle).await;
        Builtin(role).work(desk).await
    };
    let post = Post::open_with(&context, role.name(), late).await.expect("its place is free");
    let (_phase, phase) = watch::channel(Phase::Serve);
    task::spawn(post.run(phase)).detach();
    let order = Task {
        id: role.name().into(),
        run: "r".into(),
        goal: "read".into(),
        tree: "/t".into(),
        folder: "/runs/r".into(),
        inputs: BTreeMap::from([("tree".into(), "survey/tree.json".into())]),
        within_ms: u64::try_from(WITHIN.as_millis()).expect("short"),
        priority: Urgency::Normal,
        lease: None,
    };
    let payload = serde_json::to_vec(&order).expect("plain data");
    let client = context.agent("client").expect("free");
    let answer = client.request(&task_subject(role.name()), Priority::Normal, payload, WITHIN).await;
    let handoff: Handoff = serde_json::from_slice(answer.expect("an answer").payload()).expect("a handoff");
    handoff.warnings
}

#[test]
fn an_agent_whose_time_for_reading_is_gone_tells_how_far_it_came() {
    testing::run(1, || async {
        for role in [Role::Architect, Role::Docgen, Role::Linter, Role::Security] {
            let cut = |told: &String| told.starts_with("the time for reading was up after 0 of 2 entries");
            let (early, late) =
                (warnings(role, Duration::ZERO).await, warnings(role, WITHIN.mul_f32(0.9)).await);
            assert!(late.iter().any(cut), "{}: {late:?}", role.name());
            assert!(!early.iter().any(cut), "{}: {early:?}", role.name());
        }
    });
}
