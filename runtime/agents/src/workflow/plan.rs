//! A plan: steps that need each other, each with its agent, its time and what is done if it fails.
//!
//! Pure. A plan is a TOML file that a person reads and edits before it runs; it is read strictly. A circle, a need of nothing, a doubled
//! name or an agent that nobody is are refused, and the error names the culprit. Whether an agent is on board is found out by
//! running, not here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time;

use serde::{Deserialize, Serialize};
use synod_control::units::Duration;
use synod_control::{ConfigError, strict};

/// The plan's name within the run folder.
pub const FILE: &str = "plan.toml";

/// A goal turned into steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The goal in words.
    pub goal: String,
    /// The source tree it is about, as an absolute path.
    pub tree: String,
    /// The whole time.
    #[serde(default = "default_within")]
    pub within: Duration,
    /// In which manner steps share the time.
    #[serde(default)]
    pub strategy: Strategy,
    /// The most steps at a time; where the strategy is adaptive, the most it may come to.
    #[serde(default = "default_limit")]
    pub limit: u32,
    /// How long a run in which nothing but vetoed work is left waits for a veto to be lifted.
    #[serde(default = "default_veto_wait")]
    pub veto_wait: Duration,
    /// The steps, each with its agent.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
    /// What may go wrong, and what is then done.
    #[serde(rename = "risk", default)]
    pub risks: Vec<Risk>,
}

/// In which manner steps share the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One step at a time, in the order of the plan.
    Sequential,
    /// Up to `limit` steps at a time.
    #[default]
    Parallel,
    /// Each agent is a stage that does one step at a time; stages overlap, up to `limit` steps in all.
    Pipeline,
    /// As parallel, with a limit that starts at one and follows the measured times and failures of the steps.
    Adaptive,
}

/// One step of a plan: one task for one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name, unique in its plan: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Which agent does it.
    pub agent: String,
    /// What is to be achieved.
    pub goal: String,
    /// Steps whose outputs this one reads.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Inputs by name, for the agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// How long one attempt may take.
    #[serde(default = "default_step_within")]
    pub within: Duration,
    /// How often it is tried again after a failure.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// The pause before the second attempt; it doubles with each further one, up to a minute, and is scattered.
    #[serde(default = "default_back_off")]
    pub back_off: Duration,
    /// Whether the goal is missed without it. One that is not essential is dropped when it fails, and those that need it go on.
    #[serde(default = "default_essential")]
    pub essential: bool,
    /// The tree it writes, if it writes one: only one step at a time may, and it holds a lease on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<String>,
    /// How it is undone if an essential step that comes after it fails for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
}

/// How a step is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compensation {
    /// Which agent does it.
    pub agent: String,
    /// What is to be achieved.
    pub goal: String,
    /// How long one attempt may take.
    #[serde(default = "default_step_within")]
    pub within: Duration,
}

/// Something that may go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// What.
    pub what: String,
    /// What is done about it.
    pub answer: String,
}

fn default_within() -> Duration {
    Duration(time::Duration::from_secs(540))
}
fn default_limit() -> u32 {
    4
}
fn default_veto_wait() -> Duration {
    Duration(time::Duration::from_secs(30))
}
fn default_step_within() -> Duration {
    Duration(time::Duration::from_secs(300))
}
fn default_retries() -> u32 {
    2
}
fn default_back_off() -> Duration {
    Duration(time::Duration::from_millis(200))
}
fn default_essential() -> bool {
    true
}

/// Why a set of steps is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Steps wait for each other in a circle.
    #[error("the plan goes in a circle: {}; take one of these needs away", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A step needs one that is not in the plan.
    #[error("step `{step}` needs `{missing}`, which is no step of this plan; add it or drop the need")]
    Dangling {
        /// The step that needs.
        step: String,
        /// What it needs.
        missing: String,
    },
    /// Two steps have one name.
    #[error("two steps are called `{0}`; rename one")]
    Doubled(String),
    /// A step needs the same step twice.
    #[error("step `{step}` needs `{need}` twice; once is enough")]
    DoubledNeed {
        /// The step that needs.
        step: String,
        /// What it needs.
        need: String,
    },
    /// A name that cannot stand in subjects and file names.
    #[error("`{0}` is no name for a step: use letters, digits, `-`, `_` and `.`, 64 at most")]
    Name(String),
    /// An agent that nobody is.
    #[error("step `{step}` is for the agent `{agent}`, which nobody is{}; `synod agents` lists them all", nearest_hint(.nearest.as_deref()))]
    UnknownAgent {
        /// The step.
        step: String,
        /// The name that is nobody's.
        agent: String,
        /// The nearest name of an agent, if one is near.
        nearest: Option<String>,
    },
    /// A step that writes a tree which is somewhere else for each who reads the plan.
    #[error("step `{step}` writes `{tree}`, which is no absolute path; begin it with `/`")]
    RelativeTree {
        /// The step.
        step: String,
        /// The tree that it names.
        tree: String,
    },
    /// No step at all.
    #[error("the plan has no step")]
    Empty,
    /// Nothing may ever run.
    #[error("`limit = 0` lets no step run; the least is 1")]
    NoRoom,
    /// A step that gets no time.
    #[error("step `{0}` gets no time; say `within = \"1m\"` or another length of time")]
    NoTime(String),
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

impl PlanError {
    /// The step that is at fault, if one is.
    fn culprit(&self) -> Option<(&str, &'static str)> {
        match self {
            PlanError::Cycle(ring) => ring.first().map(|step| (step.as_str(), "needs")),
            PlanError::Dangling { step, .. } | PlanError::DoubledNeed { step, .. } => Some((step, "needs")),
            PlanError::Doubled(step) | PlanError::Name(step) => Some((step, "id")),
            PlanError::UnknownAgent { step, .. } => Some((step, "agent")),
            PlanError::NoTime(step) => Some((step, "within")),
            PlanError::RelativeTree { step, .. } => Some((step, "writes")),
            PlanError::Empty | PlanError::NoRoom => None,
        }
    }
}

/// Needs by position instead of by name: for each step, the positions of those it needs.
pub type Needs = Vec<Vec<u32>>;

impl Step {
    /// An essential step with the usual time, retries and pauses, no inputs, and nothing to write or undo.
    pub fn new(id: &str, agent: &str, goal: &str, needs: &[&str]) -> Self {
        Step {
            id: id.into(),
            agent: agent.into(),
            goal: goal.into(),
            needs: needs.iter().map(ToString::to_string).collect(),
            inputs: BTreeMap::new(),
            within: default_step_within(),
            retries: default_retries(),
            back_off: default_back_off(),
            essential: true,
            writes: None,
            compensate: None,
        }
    }

    /// With this much time for one attempt.
    pub fn within(mut self, within: time::Duration) -> Self {
        self.within = Duration(within);
        self
    }

    /// With so many retries.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The goal is not missed without it.
    pub fn optional(mut self) -> Self {
        self.essential = false;
        self
    }

    /// With an input.
    pub fn input(mut self, name: &str, value: impl Into<String>) -> Self {
        self.inputs.insert(name.into(), value.into());
        self
    }
}

impl Plan {
    /// A plan of these steps with the usual bounds and no risks told.
    pub fn new(goal: impl Into<String>, tree: impl Into<String>, steps: Vec<Step>) -> Self {
        Plan {
            goal: goal.into(),
            tree: tree.into(),
            within: default_within(),
            strategy: Strategy::default(),
            limit: default_limit(),
            veto_wait: default_veto_wait(),
            steps,
            risks: Vec::new(),
        }
    }

    /// Reads a plan; `file` is its name for messages, `agents` are the names that a step's agent may have.
    pub fn read(text: &str, file: &str, agents: &[&str]) -> Result<Self, ConfigError> {
        let plan: Plan = strict::parse(text, file)?;
        plan.check(agents).map_err(|error| {
            let place = error.culprit().and_then(|(id, key)| {
                // Of two steps with one name the second is the one too many.
                let at = plan.steps.iter().rposition(|step| step.id == id)?;
                Some(format!("step[{at}].{key}"))
            });
            let mut placed = strict::refuse(text, file, place.as_deref().unwrap_or(""), "");
            placed.problem = error.to_string().into_boxed_str();
            placed
        })?;
        Ok(plan)
    }

    /// Whether it can be run by agents of these names.
    pub fn check(&self, agents: &[&str]) -> Result<(), PlanError> {
        let known = |step: &Step, agent: &str| match agents.contains(&agent) {
            true => Ok(()),
            false => Err(PlanError::UnknownAgent {
                step: step.id.clone(),
                agent: agent.into(),
                nearest: strict::nearest(agent, agents.iter().copied()).map(String::from),
            }),
        };
        if self.steps.is_empty() {
            return Err(PlanError::Empty);
        }
        if self.limit == 0 {
            return Err(PlanError::NoRoom);
        }
        for step in &self.steps {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if step.id.is_empty() || step.id.len() > 64 || !step.id.chars().all(plain) {
                return Err(PlanError::Name(step.id.clone()));
            }
            if step.within.get().is_zero() {
                return Err(PlanError::NoTime(step.id.clone()));
            }
            if let Some(tree) = step.writes.as_deref().filter(|tree| !tree.starts_with('/')) {
                return Err(PlanError::RelativeTree { step: step.id.clone(), tree: tree.into() });
            }
            known(step, &step.agent)?;
            if let Some(undo) = &step.compensate {
                known(step, &undo.agent)?;
            }
        }
        self.levels().map(|_| ())
    }

    /// For each step the positions of those it needs.
    pub fn needs(&self) -> Result<Needs, PlanError> {
        let mut by_id = BTreeMap::new();
        for (at, step) in (0u32..).zip(&self.steps) {
            if by_id.insert(step.id.as_str(), at).is_some() {
                return Err(PlanError::Doubled(step.id.clone()));
            }
        }
        let mut all = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let mut needs = Vec::with_capacity(step.needs.len());
            for need in &step.needs {
                let at = *by_id
                    .get(need.as_str())
                    .ok_or_else(|| PlanError::Dangling { step: step.id.clone(), missing: need.clone() })?;
                needs.push(at);
            }
            needs.sort_unstable();
            if let Some(twice) = needs.windows(2).find(|pair| pair[0] == pair[1]) {
                let need = self.steps[twice[0] as usize].id.clone();
                return Err(PlanError::DoubledNeed { step: step.id.clone(), need });
            }
            all.push(needs);
        }
        Ok(all)
    }

    /// For each step in which wave it stands, from 0: the first one after all it needs.
    pub fn levels(&self) -> Result<Vec<u32>, PlanError> {
        let needs = self.needs()?;
        let mut heirs: Vec<Vec<u32>> = vec![Vec::new(); needs.len()];
        let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
        for (at, of) in (0u32..).zip(&needs) {
            for need in of {
                heirs[*need as usize].push(at);
            }
        }
        let mut levels = vec![0; needs.len()];
        let mut ready: Vec<u32> =
            (0u32..).zip(&open).filter(|(_, open)| **open == 0).map(|(at, _)| at).collect();
        let mut reached = 0;
        while let Some(at) = ready.pop() {
            reached += 1;
            for heir in &heirs[at as usize] {
                let heir_at = *heir as usize;
                levels[heir_at] = levels[heir_at].max(levels[at as usize] + 1);
                open[heir_at] -= 1;
                if open[heir_at] == 0 {
                    ready.push(*heir);
                }
            }
        }
        if reached < needs.len() {
            return Err(PlanError::Cycle(self.circle(&needs, &open)));
        }
        Ok(levels)
    }

    /// Walks needs among the steps that wait for ever until one comes twice: that stretch is a circle.
    fn circle(&self, needs: &Needs, open: &[usize]) -> Vec<String> {
        let name = |at: u32| self.steps[at as usize].id.clone();
        let mut seen_at = vec![None; needs.len()];
        let mut walked: Vec<u32> = Vec::new();
        let mut next =
            (0u32..).zip(open).filter(|(_, open)| **open > 0).map(|(at, _)| at).min_by_key(|at| name(*at));
        while let Some(at) = next {
            if let Some(start) = seen_at[at as usize] {
                let start: usize = start;
                return walked[start..].iter().chain([&at]).map(|at| name(*at)).collect();
            }
            seen_at[at as usize] = Some(walked.len());
            walked.push(at);
            next = needs[at as usize].iter().copied().find(|need| open[*need as usize] > 0);
        }
        Vec::new()
    }

    /// The steps in waves, by position; within a wave in the order of the plan.
    pub fn waves(&self) -> Result<Vec<Vec<usize>>, PlanError> {
        let levels = self.levels()?;
        let count = levels.iter().max().map_or(0, |deepest| *deepest as usize + 1);
        let mut waves = vec![Vec::new(); count];
        for (at, level) in levels.into_iter().enumerate() {
            waves[level as usize].push(at);
        }
        Ok(waves)
    }

    /// The step of that name.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The plan without a step that failed for good: nobody waits for it any more.
    pub fn without(&self, failed: &str) -> Plan {
        let mut plan = self.clone();
        plan.steps.retain(|step| step.id != failed);
        for step in &mut plan.steps {
            step.needs.retain(|need| need != failed);
        }
        plan
    }

    /// The file form, with comments for whoever edits it.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# A plan for `synod run PLAN.toml`. Edit it as you like: steps may be added, dropped, given more time or other\n\
             # needs; a circle, a need of nothing or an unknown agent is refused by name before anything runs.\n\n",
        );
        let _ = writeln!(out, "goal = {}", quoted(&self.goal));
        let _ = writeln!(
            out,
            "tree = {}  # the source tree, read and never written by a review",
            quoted(&self.tree)
        );
        let _ = writeln!(out, "within = \"{}\"  # the whole time", self.within);
        let _ = writeln!(
            out,
            "strategy = {}  # sequential, parallel, pipeline (one step an agent at a time) or adaptive",
            quoted(self.strategy.word())
        );
        let _ = writeln!(out, "limit = {}  # the most steps at a time", self.limit);
        let _ = writeln!(
            out,
            "veto_wait = \"{}\"  # how long vetoed work is waited for when nothing else is left",
            self.veto_wait
        );
        for (n, step) in self.steps.iter().enumerate() {
            out.push_str("\n[[step]]\n");
            let _ = writeln!(out, "id = {}", quoted(&step.id));
            let _ = writeln!(out, "agent = {}", quoted(&step.agent));
            let _ = writeln!(out, "goal = {}", quoted(&step.goal));
            let needs: Vec<String> = step.needs.iter().map(|need| quoted(need)).collect();
            let hint = if n == 0 { "  # steps whose outputs this one reads" } else { "" };
            let _ = writeln!(out, "needs = [{}]{hint}", needs.join(", "));
            let hint = if n == 0 { "  # for one attempt" } else { "" };
            let _ = writeln!(out, "within = \"{}\"{hint}", step.within);
            let hint =
                if n == 0 { "  # after a failure, with pauses that double from back_off on" } else { "" };
            let _ = writeln!(out, "retries = {}{hint}", step.retries);
            let _ = writeln!(out, "back_off = \"{}\"", step.back_off);
            let hint =
                if n == 0 { "  # false: dropped when it fails, and those that need it go on" } else { "" };
            let _ = writeln!(out, "essential = {}{hint}", step.essential);
            if !step.inputs.is_empty() {
                let inputs: Vec<String> = step
                    .inputs
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                    .collect();
                let _ = writeln!(out, "inputs = {{ {} }}", inputs.join(", "));
            }
            if let Some(tree) = &step.writes {
                let _ = writeln!(out, "writes = {}  # under a lease: one writer at a time", quoted(tree));
            }
            if let Some(undo) = &step.compensate {
                let _ = writeln!(
                    out,
                    "compensate = {{ agent = {}, goal = {}, within = \"{}\" }}",
                    quoted(&undo.agent),
                    quoted(&undo.goal),
                    undo.within
                );
            }
        }
        for risk in &self.risks {
            let _ =
                write!(out, "\n[[risk]]\nwhat = {}\nanswer = {}\n", quoted(&risk.what), quoted(&risk.answer));
        }
        out
    }
}

impl Strategy {
    /// The lower-case word of the file form.
    pub fn word(self) -> &'static str {
        match self {
            Strategy::Sequential => "sequential",
            Strategy::Parallel => "parallel",
            Strategy::Pipeline => "pipeline",
            Strategy::Adaptive => "adaptive",
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(id: &str, needs: &[&str]) -> Step {
        Step::new(id, "linter", "look", needs)
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan::new("try", "/t", steps)
    }

    const AGENTS: [&str; 3] = ["linter", "security", "director"];

    #[test]
    fn a_diamond_overlaps_in_its_middle() {
        let plan = plan(vec![
            step("end", &["left", "right"]),
            step("left", &["start"]),
            step("right", &["start"]),
            step("start", &[]),
        ]);
        assert_eq!(plan.waves().expect("a diamond is a plan"), [vec![3], vec![1, 2], vec![0]]);
    }

    #[test]
    fn a_circle_is_refused_by_name() {
        let plan = plan(vec![step("a", &["c"]), step("b", &["a"]), step("c", &["b"]), step("free", &[])]);
        assert_eq!(
            plan.check(&AGENTS).expect_err("it goes in a circle").to_string(),
            "the plan goes in a circle: a -> c -> b -> a; take one of these needs away"
        );
        let hermit = super::tests::plan(vec![step("a", &["a"])]);
        assert_eq!(hermit.check(&AGENTS), Err(PlanError::Cycle(vec!["a".into(), "a".into()])));
    }

    #[test]
    fn what_is_no_plan_is_refused_by_name() {
        let refused = |steps: Vec<Step>| plan(steps).check(&AGENTS).expect_err("no plan");
        assert_eq!(
            refused(vec![step("a", &["ghost"])]),
            PlanError::Dangling { step: "a".into(), missing: "ghost".into() }
        );
        assert_eq!(refused(vec![step("a", &[]), step("a", &[])]), PlanError::Doubled("a".into()));
        assert_eq!(refused(vec![step("a b", &[])]), PlanError::Name("a b".into()));
        assert_eq!(refused(vec![]), PlanError::Empty);
        assert_eq!(
            refused(vec![step("a", &[]), step("b", &["a", "a"])]),
            PlanError::DoubledNeed { step: "b".into(), need: "a".into() }
        );
        let stranger = Step { agent: "lintre".into(), ..step("a", &[]) };
        assert_eq!(
            refused(vec![stranger]).to_string(),
            "step `a` is for the agent `lintre`, which nobody is (did you mean `linter`?); `synod agents` lists them all"
        );
        assert_eq!(refused(vec![step("a", &[]).within(time::Duration::ZERO)]), PlanError::NoTime("a".into()));
        let writes = Step { writes: Some("src".into()), ..step("a", &[]) };
        let (step, tree) = ("a".into(), "src".into());
        assert_eq!(refused(vec![writes]), PlanError::RelativeTree { step, tree });
    }

    #[test]
    fn an_edited_plan_is_refused_with_line_key_and_nearest_key() {
        let text = plan(vec![step("a", &[]), step("b", &["a"])]).to_toml();
        let error = |text: &str| Plan::read(text, "p.toml", &AGENTS).expect_err("wrong").to_string();
        let wrong = text.replacen("retries", "retires", 1);
        let told = error(&wrong);
        assert!(told.contains("`step[0].retires` is not a key here; did you mean `retries`?"), "{told}");
        let told = error(&text.replace("needs = [\"a\"]", "needs = [\"c\"]"));
        let line = 1 + text.lines().position(|line| line == "needs = [\"a\"]").expect("it stands there");
        assert!(
            told.starts_with(&format!("p.toml:{line}:")) && told.contains("step `b` needs `c`"),
            "{told}"
        );
        let told = error(&text.replacen("strategy = \"parallel\"", "strategy = \"paralel\"", 1));
        assert!(told.contains("did you mean \"parallel\"?"), "{told}");
    }

    #[test]
    fn the_file_form_reads_back_as_the_same_plan() {
        let mut full = step("b.2", &["a"]).within(time::Duration::from_millis(90_500)).retries(0).optional();
        full = full.input("tree", "x \"y\"\n\\z").input("odd name", "1");
        full.writes = Some("/some/tree".into());
        let within = Duration(time::Duration::from_secs(1));
        full.compensate = Some(Compensation { agent: "security".into(), goal: "undo".into(), within });
        let mut plan = plan(vec![step("a", &[]), full]);
        plan.strategy = super::Strategy::Adaptive;
        plan.risks = vec![Risk { what: "it rains".into(), answer: "an umbrella".into() }];
        let text = plan.to_toml();
        assert_eq!(Plan::read(&text, "plan.toml", &AGENTS).expect("its own form"), plan, "{text}");
    }

    #[test]
    fn a_step_that_failed_for_good_is_planned_around() {
        let rest = plan(vec![step("a", &[]), step("b", &["a"]), step("c", &["a", "b"])]).without("b");
        assert_eq!(rest.waves().expect("still a plan"), [vec![0], vec![1]]);
    }

    proptest! {
        #[test]
        fn every_step_stands_in_one_wave_and_after_all_it_needs(edges in prop::collection::btree_set((0usize..12, 0usize..12), 0..40)) {
            // Needs point to smaller numbers only, so there is no circle.
            let mut steps: Vec<Step> = (0..12).map(|n| step(&format!("{n:02}"), &[])).collect();
            for (a, b) in edges {
                if b < a {
                    steps[a].needs.push(format!("{b:02}"));
                }
            }
            let plan = plan(steps);
            let levels = plan.levels().expect("no circle");
            prop_assert_eq!(plan.waves().expect("no circle").iter().map(Vec::len).sum::<usize>(), 12);
            for (at, needs) in plan.needs().expect("whole").iter().enumerate() {
                let deepest = needs.iter().map(|need| levels[*need as usize] + 1).max().unwrap_or(0);
                prop_assert_eq!(levels[at], deepest);
            }
        }
    }
}
