//! The command line, with help that teaches by example.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use synod_agents::Severity;
use synod_control::units;

const EXITS: &str = "\
Exit codes:
  0  done, nothing speaks against it
  1  done, findings at least as bad as --fail-on (or a failed check)
  2  the command line or the configuration is wrong
  3  it could not be done, or not wholly
  4  cancelled by SIGINT or SIGTERM";

const EXAMPLES: &str = "\
Examples:
  synod run review --path .            review this source tree
  synod runs                           what was run here, and what it came to
  synod up                             start a node with all agents on board
  synod pub orders.eu < order.json     publish; `synod sub` and `synod req` listen and ask
  synod up --example-config > node.toml && synod up --config node.toml
  synod selftest                       two agents, six priorities, payloads up to 16 MiB
  synod doctor                         what this machine gives to Synod";

/// The nervous system of a fleet of agents: one node, its agents, and their work.
#[derive(Debug, Parser)]
#[command(name = "synod", version, after_help = EXITS, after_long_help = format!("{EXAMPLES}\n\n{EXITS}"))]
pub struct Arguments {
    /// Which kernels compute checksums, copy, scan and intersect: the best this processor has, or the scalar ones
    #[arg(long, global = true, value_enum, default_value_t = Simd::Auto)]
    pub simd: Simd,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The choice of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Simd {
    /// The best one that runs here.
    Auto,
    /// The scalar one, for comparing and for distrusting hardware.
    Scalar,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job, with the running node or an own one: a workflow, an edited plan, or the rest of an interrupted run
    Run(RunOptions),
    /// Write down the plan of a job, to be read, edited and run with `synod run PLAN.toml`
    #[command(subcommand)]
    Plan(Planned),
    /// List the runs of this machine, show one, compare two, make room again
    #[command(after_help = RUNS_EXAMPLES)]
    Runs(RunsOptions),
    /// Start a node and serve until SIGINT or SIGTERM: work, pages, metrics and an API over HTTP
    #[command(after_help = UP_EXAMPLES)]
    Up(UpOptions),
    /// Check that messages arrive: two agents, six priorities, payloads up to 16 MiB
    Selftest(OutputOptions),
    /// Tell what this machine gives to Synod: kernels, topology, disk, limits, tools; who is attached; how bytes travel; who runs where
    Doctor(DoctorOptions),
    /// List the agents: what each does, where it runs, its restarts and last crash, whose program does its work; and attached processes
    #[command(after_help = AGENTS_EXAMPLES)]
    Agents(AgentsOptions),
    /// Print a token that admits one process to a running node whose configuration says `attach.tokens = true`
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenOptions),
    /// Publish standard input to a subject of a running node
    #[command(after_help = MESSAGES_EXAMPLES)]
    Pub(MessageOptions),
    /// Print what is published to subjects of a running node
    #[command(after_help = MESSAGES_EXAMPLES)]
    Sub(SubOptions),
    /// Show what others publish to subjects that a running node's configuration opens by `attach.tap`, without being a receiver
    #[command(after_help = TAP_HELP)]
    Tap(TapOptions),
    /// Ask whoever serves a subject of a running node, with standard input, and print the answer
    #[command(after_help = MESSAGES_EXAMPLES)]
    Req(MessageOptions),
    /// Look at a store that no node has open and at its streams, or cut it where it is damaged
    #[command(subcommand, after_help = STORE_EXAMPLES)]
    Store(StoreCommand),
    /// Print a script that completes commands and options in your shell
    #[command(
        after_help = "Example:\n  synod completions bash > ~/.local/share/bash-completion/completions/synod"
    )]
    Completions(CompletionsOptions),
}

const RUN_EXAMPLES: &str = "\
Examples:
  synod run review --path .            the workflow that reviews a source tree
  synod plan review --path . --out plan.toml && $EDITOR plan.toml && synod run plan.toml
  synod run --resume last              go on with the newest run where it was killed

A node that is running does it, unless --config or --embedded says otherwise.
What an interrupted run has finished is not done again. Exit codes are those of `synod run review`.";

/// Options of `run`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = RUN_EXAMPLES)]
pub struct RunOptions {
    /// The workflow, if one is named.
    #[command(subcommand)]
    pub job: Option<Run>,
    /// A plan to run, as `synod plan` writes it
    #[arg(value_name = "PLAN.toml")]
    pub plan: Option<PathBuf>,
    /// Go on with an interrupted run: its folder, the beginning of its id, or `last`
    #[arg(long, value_name = "RUN", conflicts_with = "plan")]
    pub resume: Option<String>,
    /// How it is done and told
    #[command(flatten)]
    pub how: HowOptions,
}

/// How a job is done and told.
#[derive(Debug, Args)]
pub struct HowOptions {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Where run folders are made, outside of the tree [default: $XDG_STATE_HOME/synod/runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// List findings of severity info one by one, too
    #[arg(long)]
    pub all: bool,
    /// The configuration of the node that does it, as `synod up` takes it
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    pub config: Option<PathBuf>,
    /// The node that does it if one is running and answers
    #[command(flatten)]
    pub node: NodeOptions,
    /// Do it with an own node, even if one is running
    #[arg(long, conflicts_with = "node")]
    pub embedded: bool,
}

/// The jobs that can be planned.
#[derive(Debug, Subcommand)]
pub enum Planned {
    /// The plan of a review
    #[command(after_help = PLAN_EXAMPLES)]
    Review(PlanOptions),
}

const PLAN_EXAMPLES: &str = "\
Examples:
  synod plan review --path .                       prints the plan
  synod plan review --path . --out plan.toml       writes it, never over another file
  synod run plan.toml                              runs it as it then is";

/// Options of `plan review`.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// The root of the source tree
    #[arg(long, value_name = "TREE")]
    pub path: PathBuf,
    /// The file to write; printed if left out
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Findings of this severity and worse fail the review: info, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    pub fail_on: Severity,
    /// How long the whole run may take
    #[arg(long, value_name = "TIME", default_value = "9m")]
    pub within: units::Duration,
    /// Do not run the tree's own tests
    #[arg(long)]
    pub no_tests: bool,
}

/// The jobs.
#[derive(Debug, Subcommand)]
pub enum Run {
    /// Review a source tree: what is broken, what leaks, what is missing
    ///
    /// Seven agents work over the fabric: PROJECT_ORCHESTRATOR reads the tree and runs the plan, LINTER and SECURITY
    /// look for what is wrong, ARCHITECT draws it, TESTBED runs its tests, DOCGEN writes its reference, DIRECTOR plans
    /// and gives the verdict. The tree is read, never written. Code of its own (tests, and build scripts, which clippy
    /// runs) is run on a copy, in a jail without network; `synod doctor` tells what a jail is worth on this machine.
    /// Nothing is sent anywhere. All they write lies in one run folder, with a manifest of SHA-256 sums.
    #[command(after_help = REVIEW_EXAMPLES)]
    Review(ReviewOptions),
}

const REVIEW_EXAMPLES: &str = "\
Examples:
  synod run review --path .
  synod run review --path ~/src/project --fail-on medium
  synod run review --path . --format json --out /tmp/runs | jq '.verdict.tally'

A line that holds a made-up secret may say so: `synod: not a secret`.
Ends with 0 if no finding is as bad as --fail-on, 1 if one is, 2 for a wrong command line,
3 if there is no verdict or a step was not done, 4 if cancelled.";

/// Options of `run review`.
#[derive(Debug, Args)]
pub struct ReviewOptions {
    /// The root of the source tree
    #[arg(long, value_name = "TREE")]
    pub path: PathBuf,
    /// Findings of this severity and worse fail the review: info, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    pub fail_on: Severity,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "9m")]
    pub within: units::Duration,
    /// Do not run the tree's own tests
    #[arg(long)]
    pub no_tests: bool,
    /// How it is done and told
    #[command(flatten)]
    pub how: HowOptions,
}

const RUNS_EXAMPLES: &str = "\
Examples:
  synod runs                           all runs, the newest first
  synod runs show last                 the newest one again
  synod runs show 3f21 --open          where the report lies of the run whose id ends with 3f21…
  synod runs compare 3f21 last         what is new since then, what is gone, what became slower
  synod runs clean --keep 20 --older-than 30d --dry-run

A RUN is the beginning of an id or of its last part, or `last`.
Ends with 0 if it was done, 2 if there is no such run, 3 if it could not be read.";

/// Options of `runs`.
#[derive(Debug, Args)]
pub struct RunsOptions {
    /// Where the run folders stand [default: $XDG_STATE_HOME/synod/runs]
    #[arg(long, value_name = "DIR", global = true)]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do; without it, all are listed
    #[command(subcommand)]
    pub command: Option<Runs>,
}

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// Show one run: verdict, findings, what was not done
    Show(ShowOptions),
    /// Compare two runs: findings that are new or gone, steps that became slower
    Compare(CompareOptions),
    /// Remove old runs
    Clean(CleanOptions),
}

/// Options of `runs show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// Which run
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print where its report.html lies, for a browser
    #[arg(long)]
    pub open: bool,
    /// List findings of severity info one by one, too
    #[arg(long)]
    pub all: bool,
}

/// Options of `runs compare`.
#[derive(Debug, Args)]
pub struct CompareOptions {
    /// The earlier run
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// The later run
    #[arg(value_name = "AFTER", default_value = "last")]
    pub after: String,
}

/// Options of `runs clean`. A run goes if all that is said of it here holds; one that is under way never goes.
#[derive(Debug, Args)]
pub struct CleanOptions {
    /// Runs that began longer ago than this, as in 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<units::Duration>,
    /// Runs but the newest so many
    #[arg(long, value_name = "COUNT", value_parser = number::<usize>)]
    pub keep: Option<usize>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A number of things.
fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "expected a whole number from 0 on, as in 17".to_owned())
}

/// A length of time that may be told in days.
fn age(text: &str) -> Result<units::Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days.and_then(|days| days.checked_mul(86_400)) {
        Some(seconds) => Ok(units::Duration(std::time::Duration::from_secs(seconds))),
        None => text.parse().map_err(|error| format!("{error}, or days as in \"30d\"")),
    }
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
}

const UP_EXAMPLES: &str = "\
Examples:
  synod up                             then see http://127.0.0.1:7677/runs
  synod up --example-config > node.toml && synod up --config node.toml --check
  synod up --systemd-unit | sudo tee /etc/systemd/system/synod.service
  curl --unix-socket $XDG_RUNTIME_DIR/synod/synod.sock http://synod/readyz

The first SIGTERM lets work that is going end for as long as node.drain says, the second ends at once.
Ends with 0 if drained, 2 if the configuration is wrong, 3 if it cannot start (another node holds its socket), 4 if work was cut off.";

/// Options of `up`.
#[derive(Debug, Args)]
pub struct UpOptions {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print a documented configuration and end
    #[arg(long)]
    pub example_config: bool,
    /// Read the configuration, say whether it is right, and end
    #[arg(long)]
    pub check: bool,
    /// Print a unit file for systemd and end
    #[arg(long)]
    pub systemd_unit: bool,
    /// Say what happens as one JSON object a line
    #[arg(long)]
    pub json: bool,
}

const MESSAGES_EXAMPLES: &str = "\
Examples:
  synod sub 'orders.>' --count 2 &     `*` is one token, `>` all that follow
  synod pub orders.eu --text 'two apples'
  synod pub orders.us --priority high < picture.png
  synod req pulse.work-0 --text ''     a context of the node answers that it is alive

Payloads are bytes and stay as they are. Ends with 0 if it was done, 2 if the subject is wrong or nobody serves it,
3 if no node answers or a receiver refused, 4 if cancelled.";

/// Which node is asked.
#[derive(Debug, Args)]
pub struct NodeOptions {
    /// The node that is asked, by its name or by the path of its Unix socket [default: $SYNOD_NODE, or `synod`]
    #[arg(long, value_name = "NAME|SOCKET")]
    pub node: Option<String>,
}

/// Options of `pub` and `req`.
#[derive(Debug, Args)]
pub struct MessageOptions {
    /// The subject, as in orders.eu.created
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// The payload, instead of standard input
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// How urgent it is: critical, high, normal, low, batch or background
    #[arg(long, value_name = "PRIORITY", default_value = "normal")]
    pub priority: String,
    /// How long to wait for room, or for the answer
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub within: units::Duration,
    /// The node
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `sub`.
#[derive(Debug, Args)]
pub struct SubOptions {
    /// The subjects, as in orders.* or orders.>
    #[arg(value_name = "PATTERN")]
    pub pattern: String,
    /// End after so many messages
    #[arg(long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Print payloads as they are, without a line feed after each
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// The node
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

const TAP_HELP: &str = "\
Examples:
  synod tap 'orders.>'                 who publishes what, on which subject, how long, and how it begins
  synod tap 'orders.*' --count 10 --json

Nobody waits for a tap: what comes faster than it is printed is lost, and told by number. What is asked and answered is not shown.
The node tells in its trace who opens a tap, and when it is closed.";

/// Options of `tap`.
#[derive(Debug, Args)]
pub struct TapOptions {
    /// The subjects, as in orders.* or orders.>
    #[arg(value_name = "PATTERN")]
    pub pattern: String,
    /// End after so many messages
    #[arg(long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// The node
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

const AGENTS_EXAMPLES: &str = "\
Examples:
  synod agents                         how the agents of the running node stand; without one, those on board
  synod agents --config node.toml      who would be on board, where, and whose program does the work
  synod agents --json | jq '.agents[] | select(.restarts > 0) | .crashes[-1]'";

const TOKEN_EXAMPLES: &str = "\
Example:
  SYNOD_TOKEN=$(synod token) my-program     a program that attaches with synod-client shows it by itself";

/// Options of `token`.
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// The node that gives it
    #[command(flatten)]
    pub node: NodeOptions,
}

const STORE_EXAMPLES: &str = "\
Examples:
  synod store check /var/lib/synod/store
  synod store streams /var/lib/synod/store            who wrote how much, and how far its consumers are
  synod store read /var/lib/synod/store orders --from 17 --max 5
  synod store read /var/lib/synod/store orders --since 10m --json | jq -r .payload.text
  synod store repair /var/lib/synod/store --from-store /mnt/replica/store --dry-run
  synod store repair /var/lib/synod/store --truncate-at 00000003.segment:81920 --dry-run
  synod store repair /var/lib/synod/store --truncate-at 00000003.segment:81920 --backup /var/tmp/store";

/// What is done with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read all of it and tell how it is written to, what it holds and what is wrong with it (exit code 1)
    Check(StoreCheck),
    /// Put back what damaged regions had from another store with the same logs, or drop everything from a place on
    Repair(StoreRepair),
    /// List the streams: messages, bytes, consumers and how many messages each has not done
    Streams(StoreStreams),
    /// Print messages of a stream, the oldest first
    Read(StoreRead),
}

/// Options of `store streams`.
#[derive(Debug, Args)]
pub struct StoreStreams {
    /// The store's directory
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `store read`.
#[derive(Debug, Args)]
pub struct StoreRead {
    /// The store's directory
    pub directory: PathBuf,
    /// The stream's name, as `store streams` tells it
    pub stream: String,
    /// Begin with the message of this sequence, or the next that there is
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "since", default_value_t = 1, value_parser = number::<u64>)]
    pub from: u64,
    /// Begin with the first message appended in the last so long, as in 30d or 10m
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub since: Option<units::Duration>,
    /// End after so many messages
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = number::<usize>)]
    pub max: usize,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `store check`.
#[derive(Debug, Args)]
pub struct StoreCheck {
    /// The store's directory
    pub directory: PathBuf,
}

/// Options of `store repair`.
#[derive(Debug, Args)]
pub struct StoreRepair {
    /// The store's directory
    pub directory: PathBuf,
    /// Drop everything from this place on, in the order in which it was written; the place is named as `store check` does
    #[arg(long, value_name = "SEGMENT:BYTE", required_unless_present = "from_store")]
    pub truncate_at: Option<String>,
    /// Take entries that were lost from the store in this directory (a replica, a copy) that no node has open either. Only if all that was
    /// lost are entries, those around are equal in both, and neither store is encrypted (restore a copy of one that is). From a running node it cannot be done yet
    #[arg(long, value_name = "DIR", conflicts_with = "truncate_at")]
    pub from_store: Option<PathBuf>,
    /// Where all segments are copied to first
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub backup: Option<PathBuf>,
    /// Tell what would be left and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `agents`.
#[derive(Debug, Args)]
pub struct AgentsOptions {
    /// The configuration of a node that does not run
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    pub config: Option<PathBuf>,
    /// The node that is asked if one runs
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is looked at instead of the machine as a whole.
#[derive(Debug, Args)]
pub struct DoctorOptions {
    /// Try every way that bytes can take: rings, doorbells, io_uring, sockets, links, kernels, memory for devices
    #[arg(long)]
    pub transports: bool,
    /// Show which processor and NUMA node each context would get, why, and whether the kernel does so
    #[arg(long)]
    pub placement: bool,
    /// The node's configuration, in TOML, that transports and placement are shown for
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of commands that only print.
#[derive(Debug, Args)]
pub struct OutputOptions {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_put_together_right() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_age_may_be_told_in_days() {
        assert_eq!(age("30d").expect("days").get().as_secs(), 30 * 86_400);
        assert_eq!(age("12h").expect("hours").get().as_secs(), 12 * 3600);
        for wrong in ["", "d", "-1d", "30 days", "99999999999999999999d"] {
            assert!(age(wrong).is_err_and(|told| told.contains("30d")), "{wrong}");
        }
    }

    #[test]
    fn a_review_has_sane_defaults_and_refuses_a_wrong_severity() {
        let read = Arguments::try_parse_from(["synod", "run", "review", "--path", "x"]).expect("enough");
        let Command::Run(RunOptions { job: Some(Run::Review(options)), .. }) = read.command else {
            panic!("another command")
        };
        assert_eq!((options.fail_on, options.how.format), (Severity::High, Format::Text));
        let error =
            Arguments::try_parse_from(["synod", "run", "review", "--path", "x", "--fail-on", "severe"]);
        assert!(
            error.expect_err("no such severity").to_string().contains("info, low, medium, high, critical")
        );
    }

    #[test]
    fn a_run_takes_a_workflow_a_plan_or_an_interrupted_run_and_one_of_them_alone() {
        let read = |more: &[&str]| {
            let read = Arguments::try_parse_from(["synod", "run"].iter().chain(more)).ok()?;
            let Command::Run(options) = read.command else { return None };
            Some((options.job.is_some(), options.plan.is_some(), options.resume.is_some()))
        };
        assert_eq!(read(&["review", "--path", "x"]), Some((true, false, false)));
        assert_eq!(read(&["plan.toml", "--format", "json"]), Some((false, true, false)));
        assert_eq!(read(&["--resume", "last"]), Some((false, false, true)));
        assert_eq!(read(&["plan.toml", "--resume", "last"]), None);
    }
}
