//! Any text as `gateway.toml`: a configuration, or problems that name their place in the text.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use server::config::{ConfigError, GatewayConfig};

fuzz_target!(|text: &str| {
    // Files that the text names are looked for where there are none.
    let path = Path::new("/nonexistent/gateway.toml");
    match GatewayConfig::parse(text, path) {
        Ok((config, _)) => {
            for (id, trunk) in &config.trunks {
                assert!(config.tenants.contains_key(&trunk.tenant_id), "{id}");
            }
        }
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let lines = text.lines().count().max(1) + 1;
                assert!(
                    problem
                        .position
                        .is_none_or(|position| (1..=lines).contains(&position.line))
                );
                assert!(!problem.to_string().is_empty());
            }
        }
        Err(error) => panic!("not about the text: {error}"),
    }
});
