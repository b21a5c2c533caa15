//! `synod plan`, and `synod run` with a plan or with what is left of a run: plans as files that people edit.

use std::path::{Path, PathBuf};

use synod_agents::Role;
use synod_agents::director::{self, Wish};
use synod_agents::review::Job;
use synod_agents::workflow::Plan;
use synod_platform::{files, process, task};

use super::arguments::{PlanOptions, Planned, RunOptions};
use super::review;
use super::{Exit, Problem, place, runs, text};

/// The longest plan that is read, in bytes.
const PLAN_MAX: u64 = 16 << 20;

/// `synod plan`.
pub fn main(planned: &Planned) -> Result<Exit, Problem> {
    let Planned::Review(options) = planned;
    task::block_on(write(options))
}

async fn write(options: &PlanOptions) -> Result<Exit, Problem> {
    let tree = files::canonical(&process::absolute(&options.path)).await.map_err(|error| {
        Problem::usage(error.to_string(), "--path names the root of a source tree that can be read")
    })?;
    let wish = Wish {
        tree: tree.to_string_lossy().into_owned(),
        fail_on: options.fail_on,
        within: options.within.get(),
        tests: !options.no_tests,
    };
    let plan = director::review(&wish, &names()).to_toml();
    let Some(out) = &options.out else { return text::print(&plan) };
    let out = process::absolute(out);
    let failed = |error: files::FilesError| Problem::failed(error.to_string());
    if files::exists(&out).await.map_err(failed)? {
        let what = format!("{}: it is there already, and may be edited", out.display());
        return Err(Problem::usage(what, "name another file with --out, or remove this one"));
    }
    files::write(&out, plan).await.map_err(failed)?;
    text::print(&format!("edit {0} as you like, then: synod run {0}\n", out.display()))
}

/// `synod run PLAN.toml` and `synod run --resume RUN`.
pub fn run(options: &RunOptions) -> Result<Exit, Problem> {
    let out = options.how.out.as_deref();
    task::block_on(async {
        let job = match (&options.plan, &options.resume) {
            (Some(plan), _) => Job::Plan(Box::new(read(plan).await?), place::runs(out)?),
            (None, Some(run)) => Job::Rest(folder(run, out).await?),
            (None, None) => {
                return Err(Problem::usage(
                    "what to run was not said",
                    "a workflow, as in `synod run review --path .`, a plan, as in `synod run plan.toml`, or `--resume last`",
                ));
            }
        };
        review::perform(&job, &options.how).await
    })
}

async fn read(path: &Path) -> Result<Plan, Problem> {
    let text = files::read(&process::absolute(path), PLAN_MAX).await.map_err(|error| {
        Problem::usage(
            error.to_string(),
            "`synod plan review --path . --out plan.toml` writes a plan; the workflow is `synod run review --path .`",
        )
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| Problem::usage(format!("{}: not UTF-8", path.display()), "TOML is written in UTF-8"))?;
    Plan::read(&text, &path.to_string_lossy(), &names()).map_err(|error| Problem::plan(&error, text))
}

/// The folder of a run: named by its path, or by its id among the runs.
async fn folder(run: &str, out: Option<&Path>) -> Result<PathBuf, Problem> {
    let path = process::absolute(Path::new(run));
    let is_folder = run.contains('/') && files::exists(&path).await.unwrap_or(false);
    if is_folder {
        return Ok(path);
    }
    let runs = place::runs(out)?;
    Ok(runs.join(runs::find(&runs, run).await?))
}

fn names() -> [&'static str; Role::ALL.len()] {
    Role::ALL.map(Role::name)
}
