//! The groups of comparisons: which subjects run beside each other, and the rows that come of it.

mod blocked;
#[cfg(feature = "store")]
mod durable;
#[cfg(feature = "fabric")]
mod fabric;
mod floor;
#[cfg(feature = "store")]
mod kept;
#[cfg(feature = "fabric")]
mod processes;
mod round_trip;
mod same_thread;
mod throughput;

#[cfg(feature = "fabric")]
use crate::idle::Crowd;
use crate::measure::{Plan, Reading};
#[cfg(feature = "fabric")]
use crate::processes::{Job, Pair, Slice, publish::Publish};
use crate::statistics::{Summary, summarise};
#[cfg(feature = "store")]
pub use durable::writers;
use serde::Serialize;
#[cfg(feature = "fabric")]
use std::cell::OnceCell;

/// Everything measured so far.
pub type Rows = Vec<Row>;

/// One figure of one subject over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Group, as `--only` takes it.
    pub group: &'static str,
    /// Who was measured.
    pub subject: &'static str,
    /// Bytes of a message; 0 where there is none.
    pub size_bytes: usize,
    /// How, as `batch 16`.
    pub mode: &'static str,
    /// What, as `messages` or `p50`; a ratio names what it is taken to.
    pub metric: String,
    /// In which unit.
    pub unit: &'static str,
    /// The middle of the rounds.
    pub median: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
    /// How many rounds.
    pub rounds: usize,
}

#[cfg(feature = "fabric")]
impl Row {
    /// A figure of what was seen once.
    pub fn seen(
        (group, subject, mode): (&'static str, &'static str, &'static str),
        size_bytes: usize,
        metric: String,
        unit: &'static str,
        figure: f64,
    ) -> Self {
        let [median, low, high] = [figure; 3];
        Self { group, subject, size_bytes, mode, metric, unit, median, low, high, rounds: 1 }
    }
}

/// A slice's reading; or what the subject would need to end.
pub type Measured = Result<Reading, String>;

/// Someone who is measured.
pub struct Subject {
    /// By which name.
    pub name: &'static str,
    /// Runs one slice.
    pub slice: Box<dyn Fn(&Plan) -> Measured>,
    /// What it lacks on this machine or in this build, or lacked in an earlier round: then it is told, not run.
    pub lacks: Option<String>,
}

/// Somebody who cannot be measured here.
#[derive(Clone, Debug, Serialize)]
pub struct Unavailable {
    /// The group.
    pub group: &'static str,
    /// Who.
    pub subject: &'static str,
    /// What is missing.
    pub needs: String,
}

impl Subject {
    /// A subject and its slice.
    pub fn new(name: &'static str, slice: impl Fn(&Plan) -> Reading + 'static) -> Self {
        Self { name, slice: Box::new(move |plan| Ok(slice(plan))), lacks: None }
    }

    /// A subject between processes.
    #[cfg(feature = "fabric")]
    pub fn between(pair: impl Pair + 'static, job: Job) -> Self {
        let (name, lacks) = (pair.name(), pair.lacks());
        let slice =
            move |plan: &Plan| Slice { subject: name.to_owned(), job, plan: *plan, node: None }.measure();
        Self { name, slice: Box::new(slice), lacks }
    }

    /// Our full publish path at the node of a crowd, which is gathered when the first slice begins and stays for all: by that name so
    /// many agents that do nothing.
    #[cfg(feature = "fabric")]
    pub fn among(name: &'static str, idlers: usize, job: Job) -> Self {
        let (crowd, subject) = (OnceCell::new(), Publish.name());
        let slice = move |plan: &Plan| {
            let crowd: &Crowd = crowd.get_or_init(|| Crowd::gather(idlers, plan.cores));
            crowd.attend(|node| {
                Slice { subject: subject.to_owned(), job, plan: *plan, node: Some(node.to_owned()) }.measure()
            })
        };
        Self { name, slice: Box::new(slice), lacks: None }
    }

    /// One that this build cannot have.
    #[cfg(feature = "fabric")]
    pub fn lacking(name: &'static str, needs: &str) -> Self {
        let needs = needs.to_owned();
        Self { name, slice: Box::new(|_| unreachable!("it is not run")), lacks: Some(needs) }
    }
}

/// How subjects are set against the baseline, round by round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// So many times its figure.
    Ratio,
    /// So much more than its figure.
    #[cfg(feature = "fabric")]
    Difference,
}

/// Subjects that run beside each other.
pub struct Group {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What is measured, in a line.
    pub about: &'static str,
    /// Bytes of a message; 0 where there is none.
    pub size: usize,
    /// How.
    pub mode: &'static str,
    /// The figures' unit.
    pub unit: &'static str,
    /// How they are compared.
    pub compare: Compare,
    /// Whom they are compared to, as far as those are there.
    pub baselines: Vec<&'static str>,
    /// Who takes part.
    pub subjects: Vec<Subject>,
}

/// All groups in the order of the report.
pub fn all(smoke: bool, log_gib: Option<u16>) -> Vec<Group> {
    let mut groups = floor::groups();
    groups.extend(same_thread::groups());
    #[cfg(feature = "fabric")]
    groups.extend(fabric::groups());
    groups.extend(throughput::groups());
    groups.extend(round_trip::groups());
    groups.extend(blocked::groups());
    #[cfg(feature = "fabric")]
    groups.extend(processes::groups(smoke));
    #[cfg(feature = "store")]
    groups.extend(durable::groups(smoke));
    #[cfg(feature = "store")]
    groups.extend(kept::groups(smoke, log_gib));
    #[cfg(not(feature = "fabric"))]
    let _ = smoke;
    #[cfg(not(feature = "store"))]
    let _ = log_gib;
    groups
}

/// Keeps only the groups named, and of the others only the subjects named and what they are compared to. There are
/// `more` groups than these.
pub fn narrow(groups: &mut Vec<Group>, only: &[String], more: &[&'static str]) -> Result<(), String> {
    let mut names: Vec<&str> = groups.iter().map(|group| group.name).chain(more.iter().copied()).collect();
    names.dedup();
    let mut subjects: Vec<&str> =
        groups.iter().flat_map(|group| &group.subjects).map(|subject| subject.name).collect();
    subjects.sort_unstable();
    subjects.dedup();
    if let Some(name) =
        only.iter().find(|name| ![&names[..], &subjects[..]].concat().contains(&name.as_str()))
    {
        return Err(format!(
            "--only {name}: neither a group ({}) nor a subject ({})",
            names.join("; "),
            subjects.join("; ")
        ));
    }
    let named = |name: &str| only.iter().any(|only| only == name);
    groups.retain_mut(|Group { name, subjects, baselines, .. }| {
        let taking_part = subjects.iter().any(|subject| named(subject.name));
        if !named(name) {
            subjects.retain(|subject| named(subject.name) || baselines.contains(&subject.name));
        }
        named(name) || taking_part
    });
    Ok(())
}

impl Group {
    /// Who cannot be measured.
    pub fn unavailable(&self) -> impl Iterator<Item = Unavailable> {
        self.subjects.iter().filter_map(|subject| {
            let needs = subject.lacks.clone()?;
            Some(Unavailable { group: self.name, subject: subject.name, needs })
        })
    }

    /// Runs all rounds; every other round in the opposite order, so that nobody is always first. Who does not end is left out from then on.
    pub fn run(&mut self, plan: &Plan) -> Rows {
        let mut readings: Vec<Vec<Reading>> = self.subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..plan.rounds {
            let mut order: Vec<usize> = (0..readings.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let subject = &mut self.subjects[index];
                if subject.lacks.is_none() {
                    match (subject.slice)(plan) {
                        Ok(reading) => readings[index].push(reading),
                        Err(needs) => subject.lacks = Some(needs),
                    }
                }
            }
        }
        let measured = self.subjects.iter().zip(readings).filter(|(subject, _)| subject.lacks.is_none());
        let (subjects, readings): (Vec<&Subject>, Vec<Vec<Reading>>) = measured.unzip();
        let mut rows = Rows::new();
        for (subject, rounds) in subjects.iter().zip(&readings) {
            for (metric, (name, _)) in rounds[0].iter().enumerate() {
                let figures: Vec<f64> = rounds.iter().map(|round| round[metric].1).collect();
                rows.push(self.row(subject.name, (*name).to_owned(), self.unit_of(name), &figures));
                for (baseline, theirs) in subjects.iter().zip(&readings) {
                    if baseline.name == subject.name || !self.baselines.contains(&baseline.name) {
                        continue;
                    }
                    let (sign, unit) = match self.compare {
                        Compare::Ratio => ('/', "x"),
                        #[cfg(feature = "fabric")]
                        Compare::Difference => ('-', self.unit),
                    };
                    let compared = rounds.iter().zip(theirs).map(|(ours, theirs)| match self.compare {
                        Compare::Ratio => ours[metric].1 / theirs[metric].1,
                        #[cfg(feature = "fabric")]
                        Compare::Difference => ours[metric].1 - theirs[metric].1,
                    });
                    let compared: Vec<f64> = compared.collect();
                    rows.push(self.row(
                        subject.name,
                        format!("{name} {sign} {}", baseline.name),
                        unit,
                        &compared,
                    ));
                }
            }
        }
        rows
    }

    /// Beside what a group is about, some figures have a unit of their own.
    fn unit_of(&self, metric: &str) -> &'static str {
        match metric {
            "appends" => "k/s",
            "written" => "B each",
            "records" => "M/s",
            "payload" => "MB/s",
            "read" => "MB",
            _ => self.unit,
        }
    }

    fn row(&self, subject: &'static str, metric: String, unit: &'static str, figures: &[f64]) -> Row {
        let Summary { median, low, high } = summarise(figures);
        let (group, size_bytes, mode, rounds) = (self.name, self.size, self.mode, figures.len());
        Row { group, subject, size_bytes, mode, metric, unit, median, low, high, rounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Cores;
    use std::time::Duration;

    #[test]
    fn a_subject_that_does_not_end_is_told_of_and_the_others_are_measured() {
        let told = || Subject::new("ends", |_| vec![("messages", 1.0)]);
        let stalls = |_: &Plan| Err("an end".to_owned());
        let mut group = Group {
            name: "group",
            about: "",
            size: 64,
            mode: "",
            unit: "M/s",
            compare: Compare::Ratio,
            baselines: vec!["stalls"],
            subjects: vec![told(), Subject { name: "stalls", slice: Box::new(stalls), lacks: None }],
        };
        let cores = Cores { sender: None, receiver: None };
        let rows = group.run(&Plan { rounds: 3, slice: Duration::ZERO, cores });
        let rows: Vec<_> = rows.iter().map(|row| (row.subject, &*row.metric, row.rounds)).collect();
        assert_eq!(rows, [("ends", "messages", 3)], "and nobody is compared to it");
        let unavailable: Vec<_> = group.unavailable().map(|who| (who.subject, who.needs)).collect();
        assert_eq!(unavailable, [("stalls", "an end".to_owned())]);
    }

    fn narrowed(only: &[&str]) -> Result<Vec<(&'static str, Vec<&'static str>)>, String> {
        let of = |name, baseline, subjects: &[&'static str]| Group {
            name,
            about: "",
            size: 64,
            mode: "",
            unit: "ns",
            compare: Compare::Ratio,
            baselines: vec![baseline],
            subjects: subjects.iter().map(|name| Subject::new(name, |_: &Plan| Reading::new())).collect(),
        };
        let mut groups =
            vec![of("first", "base", &["base", "ours", "theirs"]), of("second", "theirs", &["theirs"])];
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        narrow(&mut groups, &only, &["idle"])?;
        let names = |group: Group| (group.name, group.subjects.iter().map(|subject| subject.name).collect());
        Ok(groups.into_iter().map(names).collect())
    }

    #[test]
    fn a_group_is_kept_whole_and_a_subject_with_what_it_is_compared_to() {
        assert_eq!(narrowed(&["second"]).unwrap(), [("second", vec!["theirs"])]);
        assert_eq!(narrowed(&["ours"]).unwrap(), [("first", vec!["base", "ours"])]);
        let both = [("first", vec!["base", "ours"]), ("second", vec!["theirs"])];
        assert_eq!(narrowed(&["ours", "second"]).unwrap(), both);
        assert_eq!(narrowed(&["idle"]).unwrap(), []);
    }

    #[test]
    fn who_names_nothing_is_told_every_group_there_is() {
        let told = narrowed(&["ours", "nonsense"]).unwrap_err();
        assert!(told.starts_with("--only nonsense: ") && told.contains("(first; second; idle)"), "{told}");
    }
}
