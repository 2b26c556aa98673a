//! Twilio's REST API, and webhooks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn with_rest(server: &Server) -> TenantConfig {
    let rest = TwilioRest {
        api_url: server.url("http", ""),
        ca_file: None,
        api_key_sid: "SK1".into(),
        api_key_secret: Secret::new("api-secret"),
    };
    TenantConfig {
        twilio: Some(TwilioConfig {
            rest: Some(rest),
            ..TwilioConfig::with_defaults(ACCOUNT_SID.into(), None)
        }),
        ..acme()
    }
}

async fn hang_up(tenant: &TenantConfig, vendor_call: &str) -> Result<(), OutboundError> {
    twilio_rest::hang_up(&Connector::default(), tenant, vendor_call).await
}

#[tokio::test]
async fn a_call_is_completed_by_its_sid() {
    let server = Server::new().await;
    let tenant = with_rest(&server);
    let answer = json_answer("200 OK", "{}");
    let (told, (request, _)) =
        tokio::join!(hang_up(&tenant, CALL_SID), server.serve(false, &answer));
    told.unwrap();
    let line =
        format!("POST /2010-04-01/Accounts/{ACCOUNT_SID}/Calls/{CALL_SID}.json HTTP/1.1\r\n");
    assert!(request.starts_with(&line), "{request}");
    assert!(request.ends_with("\r\n\r\nStatus=completed"), "{request}");
    let authorization = field(&request, "authorization");
    assert_eq!(authorization.as_deref(), Some("Basic U0sxOmFwaS1zZWNyZXQ="));
    let content_type = field(&request, "content-type");
    assert_eq!(
        content_type.as_deref(),
        Some("application/x-www-form-urlencoded")
    );
}

#[tokio::test]
async fn what_twilio_answers_decides() {
    let over =
        r#"{"code":21220,"message":"Call is not in-progress. Cannot redirect.","status":400}"#;
    let unknown = r#"{"code":20404,"message":"The requested resource was not found","status":404}"#;
    for (status, body, told) in [
        ("400 Bad Request", over, None),
        (
            "400 Bad Request",
            r#"{"code":21201,"message":"no"}"#,
            Some("400: no"),
        ),
        ("400 Bad Request", "no json", Some("400")),
        // The call may go on under another account than ours.
        (
            "404 Not Found",
            unknown,
            Some("404: The requested resource was not found"),
        ),
        (
            "404 Not Found",
            over,
            Some("404: Call is not in-progress. Cannot redirect."),
        ),
        (
            "401 Unauthorized",
            r#"{"message":"not api-secret"}"#,
            Some("401"),
        ),
    ] {
        let server = Server::new().await;
        let tenant = with_rest(&server);
        let answer = json_answer(status, body);
        let (heard, _) = tokio::join!(hang_up(&tenant, CALL_SID), server.serve(false, &answer));
        let port = server.address().port();
        let told = told.map(|told| format!("localhost:{port} answered {told}"));
        assert_eq!(heard.err().map(|error| error.to_string()), told);
    }
}

#[tokio::test]
async fn without_credentials_or_permission_nobody_is_asked() {
    let server = Server::new().await;
    assert!(hang_up(&acme(), CALL_SID).await.is_ok());
    let mut tenant = with_rest(&server);
    let error = hang_up(&tenant, "../../evil").await.unwrap_err();
    assert!(matches!(error, OutboundError::NotConfigured(_)), "{error}");
    tenant.outbound_hosts.clear();
    let error = hang_up(&tenant, CALL_SID).await.unwrap_err();
    assert!(
        matches!(error, OutboundError::HostNotAllowed { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn whoever_signed_its_certificate_may_stand_in_a_file() {
    let server = Server::new().await;
    let mut tenant = with_rest(&server);
    let rest = tenant
        .twilio
        .as_mut()
        .and_then(|twilio| twilio.rest.as_mut())
        .unwrap();
    rest.api_url = server.url("https", "");
    rest.ca_file = Some(server.identity.ca_file());
    let answer = json_answer("200 OK", "{}");
    let (told, _) = tokio::join!(hang_up(&tenant, CALL_SID), server.serve(true, &answer));
    told.unwrap();
}
