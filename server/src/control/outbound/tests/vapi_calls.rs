//! A call to Vapi: the request, the socket that it names, and what must not come of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn with_vapi(server: &Server) -> TenantConfig {
    TenantConfig {
        vapi: Some(VapiConfig {
            api_key: Some(Secret::new("vapi-api-key")),
            api_url: server.url("https", ""),
            assistant_id: Some("assistant-1".into()),
            ca_file: Some(server.identity.ca_file()),
            connect_timeout_ms: 500,
            ..VapiConfig::with_defaults()
        }),
        ..acme()
    }
}

async fn dial(tenant: &TenantConfig) -> Result<LiveStream, OutboundError> {
    let call = VapiCall {
        call_sid: call(0, 1),
        from: "+15550100".into(),
        to: "+15550199".into(),
    };
    let connector = Connector::default();
    let created = vapi::create(&connector, tenant, &call).await?;
    vapi::connect(&connector, tenant, &created).await
}

/// Dials while the API gives this answer.
async fn dial_for(answer: &str) -> (OutboundError, String) {
    let server = Server::new().await;
    let tenant = with_vapi(&server);
    let (dialled, _) = tokio::join!(dial(&tenant), server.serve(true, answer));
    (dialled.unwrap_err(), server.address().port().to_string())
}

#[tokio::test]
async fn a_call_is_made_and_its_socket_dialled() {
    let server = Server::new().await;
    let tenant = with_vapi(&server);
    let url = server.url("wss", "/call-id-that-is-secret/transport");
    let created = format!(
        r#"{{"id":"1","type":"vapi.websocketCall","transport":{{"provider":"vapi.websocket","websocketCallUrl":"{url}"}}}}"#
    );
    let serve = async {
        let (post, _) = server
            .serve(true, &json_answer("201 Created", &created))
            .await;
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\n";
        let (upgrade, peer) = server.serve(true, switching).await;
        (post, upgrade, peer)
    };
    let (dialled, (post, upgrade, _peer)) = tokio::join!(dial(&tenant), serve);
    assert!(dialled.unwrap().tls.is_some());
    assert!(post.starts_with("POST /call HTTP/1.1\r\n"), "{post}");
    let authorization = field(&post, "authorization");
    assert_eq!(authorization.as_deref(), Some("Bearer vapi-api-key"));
    let (_, body) = post.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["assistantId"], "assistant-1");
    assert_eq!(
        body["transport"],
        serde_json::json!({
            "provider": "vapi.websocket",
            "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 16_000},
        })
    );
    let values = &body["assistantOverrides"]["variableValues"];
    assert_eq!(values["from"], "+15550100");
    assert_eq!(values["to"], "+15550199");
    assert!(upgrade.starts_with("GET /call-id-that-is-secret/transport HTTP/1.1\r\n"));
    assert_eq!(field(&upgrade, "authorization"), None);
}

#[tokio::test]
async fn a_socket_elsewhere_is_not_dialled_and_its_url_not_shown() {
    for url in [
        "wss://evil.test/secret-id/transport",
        "ws://evil.test/secret-id/transport",
        "https://localhost/secret-id/transport",
        "wss://user:secret-id@localhost/",
        "not a url: secret-id",
    ] {
        let created = format!(r#"{{"transport":{{"websocketCallUrl":"{url}"}}}}"#);
        let (error, _) = dial_for(&json_answer("201 Created", &created)).await;
        let failure = error.failure("Vapi", Fault::Vendor);
        // Where it leads is the operator's to allow; what is no URL is Vapi's.
        let (outcome, fault) = match url.contains("//evil.test") {
            true => (DialOutcome::Misconfigured, Fault::Config),
            false => (DialOutcome::Malformed, Fault::Vendor),
        };
        assert_eq!(failure.outcome, outcome, "{error}");
        assert_eq!(failure.refusal.fault, fault, "{error}");
        assert!(
            !format!("{error} {error:?}").contains("secret-id"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_vapi_says_against_it_is_told_on_without_the_key() {
    let cases = [
        (
            r#"{"message":"assistantId must be a UUID","error":"Bad Request"}"#,
            ": assistantId must be a UUID",
        ),
        (r#"{"message":["a","b"]}"#, ": a; b"),
        (r#"{"message":"wrong key vapi-api-key"}"#, ""),
        ("no json", ""),
    ];
    for (body, detail) in cases {
        let (error, port) = dial_for(&json_answer("400 Bad Request", body)).await;
        let told = format!("localhost:{port} answered 400{detail}");
        assert_eq!(error.to_string(), told);
        // The assistant is of our configuration.
        let refusal = error.failure("Vapi", Fault::Vendor).refusal;
        assert_eq!((refusal.fault, refusal.cause.0), (Fault::Config, 21));
    }
    let (error, _) = dial_for(&json_answer("401 Unauthorized", "{}")).await;
    let refusal = error.failure("Vapi", Fault::Vendor).refusal;
    assert_eq!((refusal.fault, refusal.cause.0), (Fault::Config, 21));
}

#[tokio::test]
async fn an_answer_without_a_socket_or_without_end_is_refused() {
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(http::BODY_LEN_MAX));
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://evil.test/call\r\nContent-Length: 0\r\n\r\n";
    for answer in [
        json_answer("201 Created", "{}"),
        json_answer("201 Created", r#"{"transport":{"provider":"daily"}}"#),
        json_answer("201 Created", "[1"),
        json_answer("201 Created", &long),
        elsewhere.to_owned(),
    ] {
        let (error, _) = dial_for(&answer).await;
        let failure = error.failure("Vapi", Fault::Vendor);
        assert_eq!(failure.outcome, DialOutcome::Malformed, "{error}");
        assert_eq!(failure.refusal.fault, Fault::Vendor);
    }
}

#[tokio::test]
async fn a_call_is_ended_at_its_control_url() {
    let server = Server::new().await;
    let tenant = with_vapi(&server);
    let control_url = Secret::new(&server.url("https", "/secret-id/control"));
    let connector = Connector::default();
    for status in ["200 OK", "404 Not Found"] {
        let answer = json_answer(status, r#"{"message":"no call secret-id"}"#);
        let (told, (request, _)) = tokio::join!(
            vapi::hang_up(&connector, &tenant, &control_url),
            server.serve(true, &answer)
        );
        assert!(
            request.starts_with("POST /secret-id/control HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.ends_with("\r\n\r\n{\"type\":\"end-call\"}"),
            "{request}"
        );
        assert_eq!(
            field(&request, "authorization"),
            None,
            "the key is for the API"
        );
        match told {
            Ok(()) => assert_eq!(status, "200 OK"),
            Err(error) => {
                let address = format!("localhost:{}", server.address().port());
                assert_eq!(error.to_string(), format!("{address} answered 404"));
            }
        }
    }
    let elsewhere = Secret::new("https://evil.test/secret-id/control");
    let error = vapi::hang_up(&connector, &tenant, &elsewhere)
        .await
        .unwrap_err();
    assert!(
        matches!(error, OutboundError::HostNotAllowed { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn what_vapi_says_of_its_control_is_kept() {
    let url = "https://localhost/secret-id/control";
    let named = format!(r#"{{"id":"secret-id","monitor":{{"controlUrl":"{url}"}}}}"#);
    for (body, control) in [
        (named.as_str(), VapiControl::Url(Secret::new(url))),
        ("{}", VapiControl::Unnamed),
        (
            r#"{"monitor":{"listenUrl":"wss://localhost/"}}"#,
            VapiControl::Unnamed,
        ),
    ] {
        let server = Server::new().await;
        let tenant = with_vapi(&server);
        let call = VapiCall {
            call_sid: call(0, 1),
            from: String::new(),
            to: String::new(),
        };
        let answer = json_answer("201 Created", body);
        let connector = Connector::default();
        let (created, _) = tokio::join!(
            vapi::create(&connector, &tenant, &call),
            server.serve(true, &answer)
        );
        let created = created.unwrap();
        assert_eq!(created.control, control);
        assert!(!format!("{created:?}").contains("secret-id"));
        // A call without a socket is no less a call.
        let error = vapi::connect(&connector, &tenant, &created)
            .await
            .unwrap_err();
        let failure = error.failure("Vapi", Fault::Vendor);
        assert_eq!(failure.outcome, DialOutcome::Malformed);
    }
}

#[tokio::test]
async fn who_is_not_configured_or_not_allowed_is_not_asked() {
    let server = Server::new().await;
    let without = acme();
    let error = dial(&without).await.unwrap_err();
    assert_eq!(
        error.failure("Vapi", Fault::Vendor).refusal.fault,
        Fault::Config
    );
    let mut elsewhere = with_vapi(&server);
    elsewhere.outbound_hosts.clear();
    let error = dial(&elsewhere).await.unwrap_err();
    assert!(
        matches!(error, OutboundError::HostNotAllowed { .. }),
        "{error}"
    );
}

/// Vapi answers with sockets at `phone-call-websocket.<region>.vapi.ai`, which `api.vapi.ai` alone does not allow.
#[tokio::test]
async fn a_socket_beside_the_api_needs_the_wildcard() {
    let created = json_answer(
        "201 Created",
        r#"{"transport":{"websocketCallUrl":"wss://phone-call-websocket.aws.example.invalid/id/transport"}}"#,
    );
    let pattern = |text: &str| HostPattern::parse(text).unwrap();
    for (hosts, is_allowed) in [
        (vec![pattern("localhost")], false),
        (
            vec![pattern("localhost"), pattern("*.example.invalid")],
            true,
        ),
    ] {
        let server = Server::new().await;
        let mut tenant = with_vapi(&server);
        tenant.outbound_hosts = hosts;
        let (dialled, _) = tokio::join!(dial(&tenant), server.serve(true, &created));
        let OutboundError::NamedSocket(error) = dialled.unwrap_err() else {
            panic!("the call was made");
        };
        let refused = matches!(*error, OutboundError::HostNotAllowed { .. });
        assert_eq!(refused, !is_allowed, "{error}");
    }
}
