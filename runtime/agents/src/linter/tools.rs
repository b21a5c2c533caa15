//! The outside tools LINTER may call, and how their output is read.
//!
//! Only tools that parse: none of these runs, imports or builds anything of the tree. This file is pure: it says what
//! to call for which files and turns output into findings; the shell calls. A missing tool is told once by name.

use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Parses, and never runs, each file named on its standard input (names end in NUL); prints one JSON line for each that
/// does not parse. To be started with `-I -S`, which keep the interpreter from importing anything but itself.
pub const PYTHON_PARSER: &str = r#"
import ast, json, sys, warnings
warnings.simplefilter("ignore")
who = "Python %d.%d" % sys.version_info[:2]
def tell(path, line, column, message):
    print(json.dumps({"path": path, "line": line or 1, "column": column or 1, "message": "%s cannot parse this: %s" % (who, message)}))
for path in sys.stdin.buffer.read().decode("utf-8").split("\0"):
    if not path:
        continue
    try:
        with open(path, "rb") as file:
            ast.parse(file.read(), path)
    except SyntaxError as error:
        tell(path, error.lineno, error.offset, error.msg)
    except ValueError as error:
        tell(path, 1, 1, str(error))
    except (OSError, RecursionError, MemoryError):
        pass
"#;

/// Reads the YAML of each file named on its standard input (names end in NUL) as far as its events, which makes no objects; prints one JSON line
/// for each that is none. To be started with `-I`; it needs PyYAML, and says so.
pub const YAML_PARSER: &str = r#"
import json, sys
try:
    import yaml
except ImportError:
    sys.exit("unavailable: needs the Python module yaml (the syntax of YAML)")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
for path in sys.stdin.buffer.read().decode("utf-8").split("\0"):
    if not path:
        continue
    try:
        with open(path, "rb") as file:
            for event in yaml.parse(file, Loader):
                pass
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or str(error)
        print(json.dumps({"path": path, "line": mark.line + 1 if mark else 1, "column": mark.column + 1 if mark else 1, "message": "not valid YAML: %s" % message}))
    except (OSError, RecursionError, MemoryError):
        pass
"#;

/// Compiles, and never runs, each file named on its standard input (names end in NUL): as a CommonJS module, else as an
/// ECMAScript module. Prints one JSON line for each that is neither. JSX and Flow, which Node cannot read, are passed
/// over. To be started with `--experimental-vm-modules`.
pub const NODE_PARSER: &str = r##"
const fs = require("fs"), vm = require("vm");
for (const path of fs.readFileSync(0, "utf8").split("\0")) {
  if (!path) continue;
  let source;
  try { source = fs.readFileSync(path, "utf8"); } catch { continue; }
  source = source.replace(/^\uFEFF/, "").replace(/^#!.*/, "");
  if (/@flow|@jsx/.test(source.slice(0, 2000))) continue;
  const asScript = () => new vm.Script("(function(exports, require, module, __filename, __dirname){" + source + "\n})", { filename: path });
  const asModule = () => new vm.SourceTextModule(source, { identifier: path });
  const order = /\.mjs$/.test(path) ? [asModule] : /\.cjs$/.test(path) ? [asScript] : /^\s*(import|export)\b/m.test(source) ? [asModule, asScript] : [asScript, asModule];
  let first = null, good = false, line = null;
  for (const attempt of order) {
    try { attempt(); good = true; break; } catch (error) {
      if (!(error instanceof SyntaxError)) { good = true; break; }
      first = first || error;
      // Errors of modules carry no line; a script's does, and serves where both complain of the same.
      const at = /:(\d+)$/.exec(String(error.stack).split("\n")[0]);
      if (at && error.message === first.message) line = Number(at[1]);
    }
  }
  if (good || /Unexpected token '<'/.test(first.message)) continue;
  if (line === null && /\.mjs$/.test(path)) {
    const said = require("child_process").spawnSync(process.execPath, ["--check", path], { encoding: "utf8" }).stderr || "";
    const at = /:(\d+)$/.exec(said.split("\n")[0]);
    if (at) line = Number(at[1]);
  }
  const message = "Node.js " + process.versions.node.split(".")[0] + " cannot parse this: " + first.message;
  console.log(JSON.stringify({ path, line, column: null, message }));
}
"##;

#[derive(Deserialize)]
struct ParserLine {
    path: String,
    line: Option<u32>,
    column: Option<u32>,
    message: String,
}

/// Turns the lines of [`PYTHON_PARSER`], [`NODE_PARSER`] or [`YAML_PARSER`] into findings. `relative` maps an absolute path back.
pub fn from_parser(rule: &str, output: &str, relative: &dyn Fn(&str) -> String) -> Vec<Finding> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<ParserLine>(line).ok())
        .map(|line| {
            let path = relative(&line.path);
            let message = line.message.split_whitespace().collect::<Vec<_>>().join(" ");
            Finding::new(
                rule,
                Severity::Medium,
                Place { path, line: line.line, column: line.column },
                message,
                "correct the line; if another version of the language is meant, say so in the manifest",
            )
        })
        .collect()
}

/// Turns `bash -n`'s complaints (`FILE: line N: syntax error …`) into a finding at the first one.
pub fn from_bash(path: &str, stderr: &str) -> Option<Finding> {
    let complaint = stderr.lines().find(|line| line.contains(": line ") && line.contains("syntax error"))?;
    let (_, rest) = complaint.split_once(": line ")?;
    let (number, message) = rest.split_once(": ")?;
    Some(Finding::new(
        "lint.shell-syntax",
        Severity::Medium,
        Place::line(path, number.parse().ok()?),
        format!("bash cannot parse this: {message}"),
        "correct the line; if another shell is meant, name it in the first line",
    ))
}

/// Turns `rustfmt --check -l`'s list of files that differ into one finding for a package.
pub fn from_rustfmt(package: &str, stdout: &str, relative: &dyn Fn(&str) -> String) -> Option<Finding> {
    let mut files: Vec<String> =
        stdout.lines().filter(|line| line.ends_with(".rs")).map(|line| relative(line.trim())).collect();
    files.sort();
    files.dedup();
    let first = files.first()?.clone();
    let message = match files.len() {
        1 => "differs from rustfmt's formatting".to_string(),
        n => format!("{n} files of {package} differ from rustfmt's formatting; this is the first"),
    };
    Some(Finding::new("lint.rustfmt", Severity::Info, Place::file(first), message, "run `cargo fmt`"))
}

/// Turns rustfmt's parse errors (`error: …` followed by ` --> FILE:LINE:COLUMN`) into findings.
pub fn from_rustfmt_errors(stderr: &str, relative: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut message: Option<&str> = None;
    for line in stderr.lines() {
        if let Some(text) = line.strip_prefix("error: ") {
            message = Some(text);
        } else if let Some(place) = line.trim_start().strip_prefix("--> ")
            && let Some(text) = message.take()
            && let [column, number, path] = place.rsplitn(3, ':').collect::<Vec<_>>()[..]
            && let (Ok(number), Ok(column)) = (number.parse(), column.parse())
        {
            findings.push(Finding::new(
                "lint.rust-syntax",
                Severity::Medium,
                Place::at(relative(path), number, column),
                format!("rustfmt cannot parse this: {text}"),
                "correct the line; if another edition is meant, say so in Cargo.toml",
            ));
        }
    }
    findings
}

#[derive(Deserialize)]
struct Ruff {
    code: Option<String>,
    filename: String,
    message: String,
    location: RuffLocation,
}

#[derive(Deserialize)]
struct RuffLocation {
    row: u32,
    column: u32,
}

/// Turns `ruff check --output-format json` into findings.
pub fn from_ruff(stdout: &str, relative: &dyn Fn(&str) -> String) -> Result<Vec<Finding>, serde_json::Error> {
    let all: Vec<Ruff> = serde_json::from_str(stdout)?;
    let finding = |one: Ruff| {
        let code = one.code.unwrap_or_else(|| "syntax".into());
        Finding::new(
            format!("ruff.{code}"),
            Severity::Low,
            Place::at(relative(&one.filename), one.location.row, one.location.column),
            one.message,
            format!("`ruff rule {code}` explains it"),
        )
    };
    Ok(all.into_iter().map(finding).collect())
}

#[derive(Deserialize)]
struct ShellCheck {
    file: String,
    line: u32,
    column: u32,
    level: String,
    code: u32,
    message: String,
}

/// Turns `shellcheck --format json` into findings.
pub fn from_shellcheck(
    stdout: &str,
    relative: &dyn Fn(&str) -> String,
) -> Result<Vec<Finding>, serde_json::Error> {
    let all: Vec<ShellCheck> = serde_json::from_str(stdout)?;
    let finding = |one: ShellCheck| {
        let severity = match one.level.as_str() {
            "error" => Severity::Medium,
            "warning" => Severity::Low,
            _ => Severity::Info,
        };
        Finding::new(
            format!("shellcheck.SC{}", one.code),
            severity,
            Place::at(relative(&one.file), one.line, one.column),
            one.message,
            format!("see https://www.shellcheck.net/wiki/SC{}", one.code),
        )
    };
    Ok(all.into_iter().map(finding).collect())
}

/// The Rust edition a file is written in: from the nearest `Cargo.toml` above it that says one.
/// `manifest` gives the text of a `Cargo.toml` by its path in the tree.
pub fn edition(path: &str, manifest: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut inherits = false;
    for directory in tree::ancestors(tree::parent(path)) {
        let Some(text) = manifest(&tree::join(directory, "Cargo.toml")) else { continue };
        let Ok(table) = toml::from_str::<toml::Table>(&text) else { return None };
        if !inherits && let Some(package) = table.get("package") {
            match package.get("edition") {
                Some(toml::Value::String(edition)) => return Some(edition.clone()),
                Some(_) => inherits = true,
                None => return Some("2015".into()),
            }
        }
        if inherits
            && let Some(edition) =
                table.get("workspace").and_then(|w| w.get("package")?.get("edition")?.as_str())
        {
            return Some(edition.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(path: &str) -> String {
        path.trim_start_matches("/t/").to_string()
    }

    #[test]
    fn a_parsers_lines_become_findings_and_noise_does_not() {
        let output = "{\"path\":\"/t/a.py\",\"line\":3,\"column\":7,\"message\":\"Python 3.11 cannot parse this: invalid syntax\"}\nwarning: x\n";
        let findings = from_parser("lint.python-syntax", output, &relative);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, Place::at("a.py", 3, 7));
        assert_eq!(findings[0].message, "Python 3.11 cannot parse this: invalid syntax");
    }

    #[test]
    fn bash_rustfmt_ruff_and_shellcheck_are_read() {
        let finding = from_bash(
            "a.sh",
            "/t/a.sh: line 4: syntax error near unexpected token `fi'\n/t/a.sh: line 4: `fi'\n",
        );
        assert_eq!(finding.map(|f| f.place), Some(Place::line("a.sh", 4)));
        assert_eq!(from_bash("a.sh", ""), None);

        let finding = from_rustfmt("x", "/t/src/b.rs\n/t/src/a.rs\n", &relative).expect("two files differ");
        assert_eq!(finding.place, Place::file("src/a.rs"));
        assert!(finding.message.starts_with("2 files of x"));

        let stderr = "error: expected one of `!` or `::`, found `main`\n --> /t/src/a.rs:2:5\n  |\n";
        assert_eq!(from_rustfmt_errors(stderr, &relative)[0].place, Place::at("src/a.rs", 2, 5));

        let ruff = r#"[{"code":"F401","filename":"/t/a.py","message":"unused","location":{"row":1,"column":8},"fix":null}]"#;
        assert_eq!(from_ruff(ruff, &relative).expect("well-formed")[0].rule, "ruff.F401");

        let shellcheck =
            r#"[{"file":"/t/a.sh","line":2,"column":3,"level":"error","code":1009,"message":"m"}]"#;
        assert_eq!(
            from_shellcheck(shellcheck, &relative).expect("well-formed")[0].severity,
            Severity::Medium
        );
    }

    #[test]
    fn an_edition_comes_from_the_nearest_manifest_or_its_workspace() {
        let manifest = |path: &str| match path {
            "Cargo.toml" => Some("[workspace.package]\nedition = \"2024\"\n".to_string()),
            "a/Cargo.toml" => Some("[package]\nname = \"a\"\nedition.workspace = true\n".into()),
            "b/Cargo.toml" => Some("[package]\nname = \"b\"\nedition = \"2018\"\n".into()),
            "c/Cargo.toml" => Some("[package]\nname = \"c\"\n".into()),
            _ => None,
        };
        assert_eq!(edition("a/src/lib.rs", &manifest).as_deref(), Some("2024"));
        assert_eq!(edition("b/src/x/y.rs", &manifest).as_deref(), Some("2018"));
        assert_eq!(edition("c/build.rs", &manifest).as_deref(), Some("2015"));
        assert_eq!(edition("loose.rs", &manifest), None);
    }
}
