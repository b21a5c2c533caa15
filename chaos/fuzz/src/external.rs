//! What a program that does an agent's work may write: lines of the protocol, read strictly and in one way.

use synod_agents::external::line::{LINE_MAX, Said};

/// One line of such a program.
pub fn external(bytes: &[u8]) {
    match Said::read(bytes) {
        Ok(said) => {
            assert!(bytes.len() <= LINE_MAX);
            let text = serde_json::to_vec(&said).expect("what was read can be written");
            let again = Said::read(&text).unwrap_or_else(|error| panic!("{said:?}: {error}"));
            assert_eq!(but_for_metrics(again), but_for_metrics(said.clone()), "one meaning");
            if let Said::Handoff(given) = said {
                for path in given.outputs.iter().chain(given.findings.iter().map(|f| &f.place.path)) {
                    let out = path.starts_with('/') || path.split('/').any(|part| part == "..");
                    assert!(!out, "{path} leads out of its folder");
                }
            }
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && !told.contains('\n'), "{told:?} is one line");
        }
    }
}

/// Decimal fractions come back to within their last digit, so measures are not compared.
fn but_for_metrics(mut said: Said) -> Said {
    if let Said::Handoff(given) = &mut said {
        given.metrics.values_mut().for_each(|measure| *measure = 0.0);
    }
    said
}
