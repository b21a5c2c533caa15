//! `synod token`: a token that admits one process to a running node.

use synod_fabric::Priority;
use synod_platform::task;

use super::arguments::TokenOptions;
use super::{Exit, Problem, client, text};
use crate::attach::token_subject;

pub fn main(options: &TokenOptions) -> Result<Exit, Problem> {
    let token = task::block_on(async {
        let client = client::running(&options.node).await?;
        let subject = token_subject(&client::name(&client));
        let asked = client.request(&subject, Priority::High, Vec::new(), client::WITHIN).await;
        asked.map_err(client::problem)
    })?;
    text::print(&format!("{}\n", String::from_utf8_lossy(&token)))
}
