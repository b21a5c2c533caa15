//! `synod pub`, `synod sub`, `synod req`: messages of a running node's fabric, with any bytes as payload.

use std::io::{IsTerminal, Read};

use serde_json::{Value, json};
use synod_fabric::{PAYLOAD_MAX, Priority};
use synod_platform::signals::Signals;
use synod_platform::task;

use super::arguments::{MessageOptions, SubOptions};
use super::client::{self, problem};
use super::{Exit, Problem, text};

/// `synod pub`.
pub fn publish(options: &MessageOptions) -> Result<Exit, Problem> {
    let (priority, payload) = (priority(options)?, payload(options)?);
    let published = task::block_on(async {
        let node = client::running(&options.node).await?;
        node.publish(&options.subject, priority, payload, options.within.get()).await.map_err(problem)
    })?;
    if options.json {
        text::print_json(&published)?;
    } else if published.accepted.is_empty() && published.refused.is_empty() {
        eprintln!("nobody subscribes to {}", options.subject);
    } else {
        let mut out = String::new();
        published.accepted.iter().for_each(|who| out.push_str(&format!("accepted by {who}\n")));
        published.refused.iter().for_each(|no| out.push_str(&format!("refused by {}: {}\n", no.who, no.why)));
        text::print(&out)?;
    }
    Ok(if published.refused.is_empty() { Exit::Fine } else { Exit::Failed })
}

/// `synod req`.
pub fn request(options: &MessageOptions) -> Result<Exit, Problem> {
    let (priority, payload) = (priority(options)?, payload(options)?);
    let answer = task::block_on(async {
        let node = client::running(&options.node).await?;
        node.request(&options.subject, priority, payload, options.within.get()).await.map_err(problem)
    })?;
    if options.json {
        return text::print_json(&json!({ "subject": options.subject, "answer": told(&answer) }));
    }
    let mut answer = answer;
    if std::io::stdout().is_terminal() && !answer.ends_with(b"\n") {
        answer.push(b'\n');
    }
    text::print_bytes(&answer)
}

/// `synod sub`.
pub fn subscribe(options: &SubOptions) -> Result<Exit, Problem> {
    task::block_on(async {
        let mut signals = Signals::listen().map_err(|error| Problem::failed(error.to_string()))?;
        let node = client::running(&options.node).await?;
        let mut messages = node.subscribe(&options.pattern, options.count).await.map_err(problem)?;
        eprintln!("listens to {}; ends with SIGINT", options.pattern);
        let mut seen = 0;
        loop {
            let message = tokio::select! {
                biased;
                _ = signals.next() => return Ok(Exit::Cancelled),
                message = messages.next() => message.map_err(problem)?,
            };
            let Some((header, mut payload)) = message else { break };
            seen += 1;
            if options.json {
                let line = json!({
                    "subject": header.subject,
                    "source": header.source,
                    "priority": header.priority,
                    "payload": told(&payload),
                });
                text::print(&format!("{line}\n"))?;
            } else {
                if !options.raw {
                    payload.push(b'\n');
                }
                text::print_bytes(&payload)?;
            }
        }
        if options.count.is_some_and(|count| seen >= count) {
            return Ok(Exit::Fine);
        }
        Err(Problem::failed(format!("the node ended after {seen} messages")))
    })
}

/// A payload in JSON: as text if it is UTF-8, else in hexadecimal.
pub fn told(payload: &[u8]) -> Value {
    match std::str::from_utf8(payload) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "hex": payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn priority(options: &MessageOptions) -> Result<Priority, Problem> {
    Priority::from_name(&options.priority).ok_or_else(|| {
        let words = Priority::ALL.map(|priority| priority.name().to_ascii_lowercase());
        Problem::usage(
            format!("`{}` is no priority", options.priority),
            format!("one of {}", words.join(", ")),
        )
    })
}

/// The payload: what --text says, or all of standard input.
fn payload(options: &MessageOptions) -> Result<Vec<u8>, Problem> {
    if let Some(text) = &options.text {
        return Ok(text.clone().into_bytes());
    }
    if std::io::stdin().is_terminal() {
        eprintln!("reads the payload from the terminal; Ctrl-D ends it");
    }
    let mut payload = Vec::new();
    std::io::stdin()
        .lock()
        .take(PAYLOAD_MAX as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Problem::failed(format!("cannot read the payload: {error}")))?;
    if payload.len() > PAYLOAD_MAX {
        let what = format!("the payload is longer than {PAYLOAD_MAX} bytes, the most of one message");
        return Err(Problem::usage(what, "send it in parts"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_no_text_is_told_in_hexadecimal() {
        assert_eq!(told(b"a\n"), json!({ "text": "a\n" }));
        assert_eq!(told(&[0xff, 0, 10]), json!({ "hex": "ff000a" }));
    }
}
