//! The agents that do the work, and the first workflow: the review of a source tree.
//!
//! PROJECT_ORCHESTRATOR reads a tree and runs the plan, LINTER and SECURITY look for what is wrong, ARCHITECT draws the tree, TESTBED runs
//! its tests, DOCGEN writes its reference, DIRECTOR plans and gives the verdict. Each is a pure core (tested by itself) under a
//! thin shell that touches the world through `synod-platform` and talks over `synod-fabric`. The tree is read, never written; code
//! of its own is run by TESTBED, and by LINTER's clippy and ESLint, on a copy or read-only, and in a jail.

pub mod architect;
pub mod director;
pub mod docgen;
pub mod external;
pub mod finding;
pub mod folder;
pub mod language;
pub mod linter;
pub mod orchestrator;
pub mod reading;
pub mod report;
pub mod review;
pub mod sarif;
pub mod security;
pub mod shell;
pub mod survey;
pub mod task;
pub mod testbed;
pub mod tree;
pub mod workflow;

pub use finding::{Finding, Place, Severity, Tally};
pub use review::{Review, ReviewError, Reviewed};
pub use shell::{Agent, Desk, Phase, Post, PostError, WorkError};

/// The agents of this build, by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Plans, and gives the verdict.
    Director,
    /// Reads the tree, and runs the plan.
    Orchestrator,
    /// Finds the parts of the tree, who uses whom, and where that runs in circles.
    Architect,
    /// Finds what is broken or untidy.
    Linter,
    /// Finds secrets, dangerous permissions, weak lock files.
    Security,
    /// Runs the tree's own tests on a copy, in a jail.
    Testbed,
    /// Writes the API reference and the changelog, and holds the README against the tree.
    Docgen,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 7] = [
        Role::Director,
        Role::Orchestrator,
        Role::Architect,
        Role::Linter,
        Role::Security,
        Role::Testbed,
        Role::Docgen,
    ];

    /// The agent's name on the fabric.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Director => task::DIRECTOR,
            Role::Orchestrator => task::ORCHESTRATOR,
            Role::Architect => task::ARCHITECT,
            Role::Linter => task::LINTER,
            Role::Security => task::SECURITY,
            Role::Testbed => task::TESTBED,
            Role::Docgen => task::DOCGEN,
        }
    }

    /// What the agent does, in a few words.
    pub fn does(self) -> &'static str {
        match self {
            Role::Director => "plans, and gives the verdict",
            Role::Orchestrator => "reads the tree, and runs the plan in waves",
            Role::Architect => "draws the parts of the tree, who uses whom, and where that runs in circles",
            Role::Linter => "finds what is broken or untidy",
            Role::Security => "finds secrets, dangerous permissions, weak lock files",
            Role::Testbed => "runs the tree's own tests on a copy, in a jail",
            Role::Docgen => "writes the API reference and the changelog, checks the README",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    pub(crate) async fn work(self, desk: &Desk) -> Result<task::Handoff, WorkError> {
        // Boxed, since DIRECTOR's work waits for others' of the same type of future.
        match self {
            Role::Director => Box::pin(director::work::work(desk)).await,
            Role::Orchestrator => Box::pin(orchestrator::work(desk)).await,
            Role::Architect => Box::pin(architect::work::work(desk)).await,
            Role::Linter => Box::pin(linter::work::work(desk)).await,
            Role::Security => Box::pin(security::work::work(desk)).await,
            Role::Testbed => Box::pin(testbed::work::work(desk)).await,
            Role::Docgen => Box::pin(docgen::work::work(desk)).await,
        }
    }
}
