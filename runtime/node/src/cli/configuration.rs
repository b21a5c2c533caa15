//! The file that `--config` names: read, checked, and its paths and identity made good. The same for every command that starts a node.

use std::path::Path;

use synod_platform::net::Credentials;
use synod_platform::{files, process};

use super::Problem;
use crate::config::{self, Identity, NodeConfig};

/// Largest configuration or key file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Reads and checks the configuration in this file, or gives the one that stands without any.
pub async fn read(path: Option<&Path>) -> Result<NodeConfig, Problem> {
    let (text, name) = match path {
        Some(path) => (file(path).await?, path.display().to_string()),
        None => (Vec::new(), "no file".into()),
    };
    let text = String::from_utf8(text)
        .map_err(|_| Problem::usage(format!("{name}: not UTF-8"), "TOML is written in UTF-8"))?;
    let settings = config::parse(&text, &name).map_err(|error| Problem::config(&error, text.clone()))?;
    let mut node = settings.node;
    if let Some(path) = path {
        see_from(path, &mut node);
    }
    if let (Some(links), Some(identity)) = (&mut node.links, &settings.identity) {
        links.credentials = credentials(identity).await?;
        if links.credentials.name() != node.name {
            return Err(Problem::usage(
                format!(
                    "{name}: node.name is `{}`, but the certificate says `{}`",
                    node.name,
                    links.credentials.name()
                ),
                "peers know a node by the name in its certificate: make both equal",
            ));
        }
    }
    Ok(node)
}

/// Makes the directories of programs absolute: they are meant as seen from the configuration's own.
fn see_from(path: &Path, node: &mut NodeConfig) {
    let whole = process::absolute(path);
    let base = whole.parent().unwrap_or(Path::new("/"));
    for program in node.posts.values_mut().filter_map(|post| post.program.as_mut()) {
        program.directory = base.join(&program.directory);
    }
}

async fn credentials(identity: &Identity) -> Result<Credentials, Problem> {
    let certificate = file(Path::new(&identity.certificate)).await?;
    let key = file(Path::new(&identity.key)).await?;
    let authority = file(Path::new(&identity.authority)).await?;
    Credentials::from_pem(&certificate, &key, &authority)
        .map_err(|error| Problem::usage(error.to_string(), "links.identity names three PEM files"))
}

async fn file(path: &Path) -> Result<Vec<u8>, Problem> {
    files::read(path, FILE_MAX)
        .await
        .map_err(|error| Problem::usage(error.to_string(), "name a file that can be read"))
}
