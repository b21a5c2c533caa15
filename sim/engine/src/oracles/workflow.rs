//! Every step of a run is done once or told why it was not, after what it needs, and never on vetoed input; and the run ends.
//!
//! Definition, over the journal of each run as it stands when the run was given back: a step that is done is never started again; a
//! step starts only when each step it needs is done, or is not essential and was given up; not while the output of a step that it needs,
//! directly or through others, is vetoed; with attempt numbers that grow; and it is tried again after a failure no more often than it may.
//! When the run has ended, every step is done, or failed or skipped with a reason. Liveness, where it is named: a run that was asked for ends by its deadline, unless its node
//! died meanwhile.
//! Source: the workflow engine's promises (`runtime/agents/src/workflow`).
//! Known false positives: none. A journal lost with its disk is a new run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Oracle, time};
use crate::history::{Facts, FlowLine, FlowStep, History, What};
use crate::verdict::Kind;
use synod_agents::workflow::journal::Happened;

/// The oracle of order.
pub const ACCOUNTED: Oracle = Oracle {
    name: "workflow.accounted",
    kind: Kind::Safety,
    only_if_named: false,
    means: "every step is done once or told why, after its needs, never on vetoed input",
    judge: accounted,
};

/// The oracle of ends.
pub const ENDS: Oracle = Oracle {
    name: "workflow.ends",
    kind: Kind::Liveness,
    only_if_named: true,
    means: "a run ends by its deadline, unless its node dies meanwhile",
    judge: ends,
};

/// What a deadline may be passed by: the time it takes to tell.
const SLACK_NS: u64 = 5_000_000_000;

fn accounted(history: &History, _: &Facts) -> Judgement {
    let mut found = Judgement::default();
    for entry in &history.entries {
        if let What::Flow { id, steps, lines, .. } = &entry.what {
            found.judged += 1;
            for wrong in read(steps, lines) {
                found.accuse(format!("{}: run {id}: {wrong}", time(entry.at_ns)));
            }
        }
    }
    found
}

/// What is wrong with a journal.
fn read(steps: &[FlowStep], lines: &[FlowLine]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Of each step, everything it needs, directly or through others. Steps need only earlier ones.
    let mut all_needs: Vec<BTreeSet<usize>> = Vec::new();
    for step in steps {
        let mut needs: BTreeSet<usize> = step.needs.iter().copied().collect();
        for need in &step.needs {
            needs.extend(all_needs.get(*need).into_iter().flatten().copied());
        }
        all_needs.push(needs);
    }
    let (mut done, mut given_up) = (BTreeSet::new(), BTreeSet::new());
    let mut vetoed: BTreeSet<usize> = BTreeSet::new();
    let mut attempts: BTreeMap<usize, u32> = BTreeMap::new();
    let mut retried: BTreeMap<usize, u32> = BTreeMap::new();
    let mut ended = false;
    for line in lines {
        let Some(step) = line.step else {
            ended |= line.happened == Happened::Ended;
            continue;
        };
        match line.happened {
            Happened::Started => {
                if done.contains(&step) {
                    wrong.push(format!("step {step} was done, and is started again"));
                }
                for need in &steps[step].needs {
                    let lets_go = done.contains(need) || (given_up.contains(need) && !steps[*need].essential);
                    if !lets_go {
                        wrong.push(format!("step {step} starts before step {need}, which it needs, is done"));
                    }
                }
                if let Some(held) = all_needs[step].intersection(&vetoed).next() {
                    wrong.push(format!("step {step} starts on the vetoed output of step {held}"));
                }
                let last = attempts.insert(step, line.attempt).unwrap_or(0);
                if line.attempt < last {
                    wrong.push(format!("step {step} starts attempt {} after attempt {last}", line.attempt));
                }
            }
            Happened::Done if !done.insert(step) => wrong.push(format!("step {step} is done twice")),
            Happened::Retried => {
                let failures = retried.entry(step).or_insert(0);
                *failures += 1;
                if *failures > steps[step].retries {
                    let most = steps[step].retries;
                    wrong.push(format!(
                        "step {step} is tried again after failure {failures}, and {most} is the most"
                    ));
                }
            }
            Happened::Failed | Happened::Skipped => {
                given_up.insert(step);
                if !line.reasoned {
                    wrong.push(format!("step {step} was given up, and nobody says why"));
                }
            }
            Happened::Vetoed => {
                vetoed.insert(step);
            }
            Happened::Lifted => {
                vetoed.remove(&step);
            }
            _ => {}
        }
    }
    if ended {
        for step in (0..steps.len()).filter(|step| !done.contains(step) && !given_up.contains(step)) {
            wrong.push(format!("the run ended, and step {step} is neither done nor given up"));
        }
    }
    wrong
}

fn ends(history: &History, _: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let last = history.entries.last().map_or(0, |entry| entry.at_ns);
    for (place, entry) in history.entries.iter().enumerate() {
        let What::FlowAsked { id, deadline_ns, .. } = &entry.what else { continue };
        let until = deadline_ns + SLACK_NS;
        if last < until {
            continue;
        }
        let mut after =
            history.entries[place + 1..].iter().take_while(|later| later.at_ns <= until).filter(|later| {
                match &later.what {
                    What::Flow { id: told, lines, .. } => told == id && is_ended(lines),
                    What::NodeEnded { .. } => later.node == entry.node,
                    _ => false,
                }
            });
        found.judged += 1;
        if after.next().is_none() {
            found.accuse(format!(
                "run {id}, asked for at {}, had no end by {}",
                time(entry.at_ns),
                time(until)
            ));
        }
    }
    found
}

fn is_ended(lines: &[FlowLine]) -> bool {
    lines.iter().any(|line| line.step.is_none() && line.happened == Happened::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    /// Step 1 needs step 0, step 2 needs step 1; step 1 is optional if told.
    fn chain(optional: bool) -> Vec<FlowStep> {
        let step = |needs: &[usize], essential| FlowStep { needs: needs.to_vec(), essential, retries: 1 };
        vec![step(&[], true), step(&[0], !optional), step(&[1], true)]
    }

    fn line(step: usize, happened: Happened, attempt: u32) -> FlowLine {
        FlowLine { step: Some(step), happened, attempt, reasoned: true }
    }

    fn end() -> FlowLine {
        FlowLine { step: None, happened: Happened::Ended, attempt: 0, reasoned: true }
    }

    use Happened::{Done, Failed, Lifted, Retried, Skipped, Started, Vetoed};

    fn good() -> Vec<FlowLine> {
        let mut lines: Vec<FlowLine> =
            (0..3).flat_map(|step| [line(step, Started, 1), line(step, Done, 1)]).collect();
        lines.push(end());
        lines
    }

    #[test]
    fn a_run_in_order_is_good_and_each_disorder_is_told() {
        assert_eq!(read(&chain(false), &good()), Vec::<String>::new());
        let mut twice = good();
        twice.insert(2, line(0, Started, 2));
        assert_eq!(read(&chain(false), &twice), ["step 0 was done, and is started again"]);
        let mut early = good();
        early.swap(1, 2);
        assert_eq!(read(&chain(false), &early), ["step 1 starts before step 0, which it needs, is done"]);
        let mut forgotten = good();
        forgotten.drain(4..6);
        assert_eq!(
            read(&chain(false), &forgotten),
            ["the run ended, and step 2 is neither done nor given up"]
        );
        let mut many = good();
        many.splice(
            3..3,
            (2..4).flat_map(|attempt| [line(1, Retried, attempt - 1), line(1, Started, attempt)]),
        );
        assert_eq!(read(&chain(false), &many), ["step 1 is tried again after failure 2, and 1 is the most"]);
        let mut back = good();
        back[2].attempt = 2;
        back.insert(3, line(1, Started, 1));
        assert_eq!(read(&chain(false), &back), ["step 1 starts attempt 1 after attempt 2"]);
        let mut silent = good();
        silent.splice(4..6, [FlowLine { reasoned: false, ..line(2, Skipped, 0) }]);
        assert_eq!(read(&chain(false), &silent), ["step 2 was given up, and nobody says why"]);
    }

    #[test]
    fn a_step_goes_on_without_an_optional_one_that_failed_but_not_without_an_essential_one() {
        let mut lines = good();
        lines[3] = line(1, Failed, 1);
        assert_eq!(read(&chain(true), &lines), Vec::<String>::new());
        assert_eq!(read(&chain(false), &lines), ["step 2 starts before step 1, which it needs, is done"]);
    }

    #[test]
    fn what_depends_on_a_vetoed_output_waits_until_that_is_lifted() {
        let mut lines = good();
        lines.insert(2, line(0, Vetoed, 0));
        assert_eq!(
            read(&chain(false), &lines),
            ["step 1 starts on the vetoed output of step 0", "step 2 starts on the vetoed output of step 0"]
        );
        lines.insert(3, line(0, Lifted, 0));
        assert_eq!(read(&chain(false), &lines), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_never_ends_is_told_unless_its_node_died() {
        let asked = || (0, 1, What::FlowAsked { id: 7, work: 0, deadline_ns: 10 });
        let late = || (SLACK_NS + 20, 2, What::Healed);
        let ran = |lines| What::Flow { id: 7, work: 0, steps: chain(false), lines, told: true };
        let wrong = |entries: Vec<_>| ends(&by_hand(entries), &Facts::default()).wrong.len();
        assert_eq!(wrong(vec![asked(), (5, 1, ran(good())), late()]), 0);
        assert_eq!(wrong(vec![asked(), (5, 1, ran(good()[..3].to_vec())), late()]), 1);
        assert_eq!(wrong(vec![asked(), late()]), 1);
        let died = What::NodeEnded { declared: true, panic: None, wiped: false };
        assert_eq!(wrong(vec![asked(), (5, 1, died.clone()), late()]), 0);
        assert_eq!(wrong(vec![asked(), (5, 2, died), late()]), 1);
        assert_eq!(wrong(vec![asked()]), 0, "there was no time to tell");
    }
}
