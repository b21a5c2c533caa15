//! `synod agents`: who is on board of this build.

use synod_agents::Role;

use super::{Exit, Problem, text};

pub fn main() -> Result<Exit, Problem> {
    let mut out = String::new();
    for role in Role::ALL {
        out.push_str(&format!("{:<21} {}\n", role.name().to_uppercase(), role.does()));
    }
    text::print(&out)
}
