//! What went wrong, as it is told to a person: what, where, and what to do.

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};
use synod_control::ConfigError;

use super::Exit;

/// A problem that ends the command.
#[derive(Debug)]
pub struct Problem {
    /// How the program then exits.
    pub exit: Exit,
    report: Report,
}

impl Problem {
    /// The command could not be done.
    pub fn failed(what: impl Into<String>) -> Self {
        Problem { exit: Exit::Failed, report: MietteDiagnostic::new(what.into()).into() }
    }

    /// The command could not be done, and this may help.
    pub fn failed_with(what: impl Into<String>, help: impl Into<String>) -> Self {
        Problem { exit: Exit::Failed, ..Self::usage(what, help) }
    }

    /// The command was not given what it needs.
    pub fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Problem {
            exit: Exit::Usage,
            report: MietteDiagnostic::new(what.into()).with_help(help.into()).into(),
        }
    }

    /// A configuration is wrong; `text` is what stands in it.
    pub fn config(error: &ConfigError, text: String) -> Self {
        Self::placed(
            error,
            text,
            "configuration",
            "`synod up --example-config` prints every key with its meaning",
        )
    }

    /// A plan is wrong; `text` is what stands in it.
    pub fn plan(error: &ConfigError, text: String) -> Self {
        Self::placed(error, text, "plan", "`synod plan review --path .` prints one with its keys explained")
    }

    fn placed(error: &ConfigError, text: String, code: &str, help: &str) -> Self {
        let mut diagnostic = MietteDiagnostic::new(error.to_string())
            .with_label(LabeledSpan::at(error.span.clone(), "here"))
            .with_help(help);
        diagnostic.code = Some(code.into());
        let source = NamedSource::new(&*error.file, text).with_language("toml");
        Problem { exit: Exit::Usage, report: Report::from(diagnostic).with_source_code(source) }
    }

    /// Tells it on standard error.
    pub fn print(&self) {
        eprintln!("{:?}", self.report);
    }
}
