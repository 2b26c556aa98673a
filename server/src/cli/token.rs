//! `token`: a SessionAuth token for operators, demos and tests.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use server::auth::session_auth::{LIFETIME_S_MAX, SCOPE_DIAL};
use server::auth::{GatewayKey, TokenRequest, sign};
use server::config::GatewayConfig;
use server::id::TenantId;

use super::CommandError;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// gateway.toml; its [server] token_key_file signs
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The tenant whose calls the token opens
    #[arg(long)]
    tenant: TenantId,
    /// What the bearer may do, separated by spaces
    #[arg(long, default_value = SCOPE_DIAL)]
    scope: String,
    /// Bind the token to pages of this origin, for example `https://app.example.com`
    #[arg(long)]
    origin: Option<String>,
    /// Who the bearer is
    #[arg(long, default_value = "operator")]
    subject: String,
    /// Seconds until the token expires, 1 to 300
    #[arg(long, default_value_t = LIFETIME_S_MAX, value_parser = clap::value_parser!(u64).range(1..=LIFETIME_S_MAX))]
    ttl_s: u64,
}

/// Prints the token alone on one line.
pub(super) fn token(arguments: &TokenArgs) -> Result<(), CommandError> {
    let (config, _) = GatewayConfig::load(&arguments.config)?;
    let file = arguments.config.display();
    let Some(key_file) = &config.server.token_key_file else {
        let message =
            format!("{file}: server.token_key_file is not set: the gateway signs no tokens");
        return Err(CommandError::ConfigLacks(message));
    };
    let Some(tenant) = config.tenants.get(&arguments.tenant) else {
        let message = format!("{file}: there is no tenant \"{}\"", arguments.tenant);
        return Err(CommandError::ConfigLacks(message));
    };
    let Some(browser) = &tenant.browser else {
        let message = format!(
            "{file}: the tenant \"{}\" has no [tenants.browser]: no token helps",
            arguments.tenant
        );
        return Err(CommandError::ConfigLacks(message));
    };
    if let Some(origin) = arguments
        .origin
        .as_ref()
        .filter(|origin| !browser.origins.contains(origin))
    {
        eprintln!("warning: {origin} is not among the tenant's origins: its pages are refused");
    }
    let pem = std::fs::read(key_file)
        .map_err(|error| other(format!("{}: {error}", key_file.display())))?;
    let key = GatewayKey::from_pem(&pem)
        .map_err(|error| other(format!("{}: {error}", key_file.display())))?;
    let request = TokenRequest {
        tenant_id: arguments.tenant.clone(),
        subject: arguments.subject.clone(),
        scope: arguments.scope.clone(),
        origin: arguments.origin.clone(),
        ttl_s: arguments.ttl_s,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| other("the clock is before 1970"))?;
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| other(format!("no random numbers: {error}")))?;
    let token =
        sign(&key, &request, now.as_secs(), entropy).map_err(|error| other(error.to_string()))?;
    println!("{token}");
    Ok(())
}

fn other(message: impl Into<String>) -> CommandError {
    CommandError::Other(message.into())
}
