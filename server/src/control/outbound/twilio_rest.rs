//! Ends a call at Twilio: `POST /2010-04-01/Accounts/{AccountSid}/Calls/{CallSid}.json` with `Status=completed`.
//!
//! Closing the stream only lets Twilio go on to the call's next verb; this ends the call itself.

use std::time::Duration;

use serde::Deserialize;

use super::http::{self, Answer, Post};
use super::{Connector, Deadline, Endpoint, OutboundError, allow};
use crate::config::{TenantConfig, TwilioConfig, TwilioRest, is_twilio_sid};

/// Twilio's error "Call is not in-progress. Cannot redirect."
const NOT_IN_PROGRESS: u32 = 21_220;
/// The whole exchange.
const WITHIN: Duration = Duration::from_secs(5);

/// Ends `vendor_call`. Without configured credentials nothing is done.
///
/// # Errors
/// Twilio could not be asked, or did not want to.
pub async fn hang_up(
    connector: &Connector,
    tenant: &TenantConfig,
    vendor_call: &str,
) -> Result<(), OutboundError> {
    let Some(twilio) = &tenant.twilio else {
        return Ok(());
    };
    let Some(rest) = &twilio.rest else {
        return Ok(());
    };
    // It becomes a part of a path, and a caller told it.
    if !is_twilio_sid("CA", vendor_call) {
        return Err(OutboundError::NotConfigured("it is no CallSid of Twilio's"));
    }
    let endpoint = endpoint(twilio, rest, vendor_call)?;
    allow(tenant, &endpoint)?;
    let authorization = http::basic(&rest.api_key_sid, rest.api_key_secret.expose());
    let post = Post {
        endpoint: &endpoint,
        ca_file: rest.ca_file.as_deref(),
        authorization,
        content_type: "application/x-www-form-urlencoded",
        body: b"Status=completed".to_vec(),
    };
    let answer = post.send(connector, &Deadline::within(WITHIN)).await?;
    if answer.is_success() || is_over(&answer) {
        return Ok(());
    }
    // 404 too: a call of another account, region or key than ours, which goes on.
    Err(answer.refusal(&endpoint, rest.api_key_secret.expose()))
}

/// The call had ended already, as those do whose TwiML has nothing behind the stream.
fn is_over(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Refused {
        code: u32,
    }
    let code = serde_json::from_slice(&answer.body).map(|Refused { code }| code);
    answer.status == 400 && code.is_ok_and(|code| code == NOT_IN_PROGRESS)
}

fn endpoint(
    twilio: &TwilioConfig,
    rest: &TwilioRest,
    vendor_call: &str,
) -> Result<Endpoint, OutboundError> {
    let (api_url, account_sid) = (&rest.api_url, &twilio.account_sid);
    Endpoint::http(&format!(
        "{api_url}/2010-04-01/Accounts/{account_sid}/Calls/{vendor_call}.json"
    ))
}
