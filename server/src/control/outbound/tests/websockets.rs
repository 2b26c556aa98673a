//! The dial of a WebSocket, and each way in which it fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\n";

async fn dial(server: &Server, url: &str, with_ca: bool) -> Result<LiveStream, OutboundError> {
    let ca_file = with_ca.then(|| server.identity.ca_file());
    let token = Secret::new("agent-token");
    let dial = Dial {
        url,
        bearer_token: Some(&token),
        ca_file: ca_file.as_deref(),
        within: Duration::from_millis(500),
    };
    dial.connect(&Connector::default(), &acme()).await
}

/// Dials a server that gives `answer`.
async fn dial_for(answer: &str) -> OutboundError {
    let server = Server::new().await;
    let url = server.url("wss", "/bot");
    let (dialled, _) = tokio::join!(dial(&server, &url, true), server.serve(true, answer));
    dialled.unwrap_err()
}

fn weighed(error: &OutboundError) -> (DialOutcome, Fault, Q850Cause) {
    let failure = error.failure("the agent", Fault::Agent);
    assert!(!failure.refusal.message.contains("agent-token"));
    let refusal = failure.refusal;
    (failure.outcome, refusal.fault, refusal.cause)
}

#[tokio::test]
async fn an_open_socket_is_handed_on_with_what_came_behind_its_head() {
    for (scheme, with_tls) in [("wss", true), ("ws", false)] {
        let server = Server::new().await;
        let url = server.url(scheme, "/bot?room=1");
        let answer = format!("{SWITCHING}early");
        let (dialled, (request, mut peer)) =
            tokio::join!(dial(&server, &url, true), server.serve(with_tls, &answer));
        let live = dialled.unwrap();
        assert_eq!(live.tls.is_some(), with_tls);
        assert_eq!(live.peer, server.address());
        assert!(
            request.starts_with("GET /bot?room=1 HTTP/1.1\r\n"),
            "{request}"
        );
        let authority = format!("localhost:{}", server.address().port());
        assert_eq!(field(&request, "host"), Some(authority));
        let token = field(&request, "authorization");
        assert_eq!(token.as_deref(), Some("Bearer agent-token"));
        assert_eq!(
            field(&request, "sec-websocket-version").as_deref(),
            Some("13")
        );

        let echo = async {
            let mut heard = [0; 5];
            peer.read_exact(&mut heard).await.unwrap();
            peer.write_all(&heard).await.unwrap();
            peer.flush().await.unwrap();
        };
        let (received, ()) = tokio::join!(exchange(live, b"hello", 10), echo);
        assert_eq!(received, b"earlyhello");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_refused() {
    let server = Server::new().await;
    let url = server.url("wss", "/");
    let reject = async {
        let tcp = server.accept_tcp().await;
        server.identity.acceptor.accept(tcp).await.is_err()
    };
    let (dialled, rejected) = tokio::join!(dial(&server, &url, false), reject);
    assert!(rejected);
    let expected = (DialOutcome::Tls, Fault::Agent, Q850Cause(27));
    assert_eq!(weighed(&dialled.unwrap_err()), expected);
}

#[tokio::test]
async fn the_certificate_of_another_name_is_refused() {
    let server = Server::new().await;
    let url = format!("wss://127.0.0.1:{}/", server.address().port());
    let reject = async {
        let tcp = server.accept_tcp().await;
        server.identity.acceptor.accept(tcp).await.is_err()
    };
    let (dialled, rejected) = tokio::join!(dial(&server, &url, true), reject);
    assert!(rejected);
    assert_eq!(weighed(&dialled.unwrap_err()).0, DialOutcome::Tls);
}

#[tokio::test]
async fn who_is_slow_in_tls_or_in_the_upgrade_is_given_up() {
    let server = Server::new().await;
    let url = server.url("wss", "/");
    let expected = (DialOutcome::Timeout, Fault::Agent, Q850Cause(102));

    let (dialled, _held) = tokio::join!(dial(&server, &url, true), server.accept_tcp());
    let error = dialled.unwrap_err();
    assert_eq!(weighed(&error), expected);
    assert!(
        error
            .to_string()
            .ends_with("longer than 500 ms, in the TLS handshake"),
        "{error}"
    );

    let (dialled, _held) = tokio::join!(dial(&server, &url, true), server.accept(true));
    let error = dialled.unwrap_err();
    assert_eq!(weighed(&error), expected);
    assert!(
        error.to_string().ends_with("in the WebSocket handshake"),
        "{error}"
    );

    let half = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";
    assert_eq!(weighed(&dial_for(half).await), expected);
}

#[tokio::test]
async fn who_does_not_want_us_says_why() {
    let cases = [
        ("401 Unauthorized", DialOutcome::Refused, Fault::Config, 21),
        ("404 Not Found", DialOutcome::Refused, Fault::Config, 3),
        (
            "503 Service Unavailable",
            DialOutcome::Refused,
            Fault::Agent,
            42,
        ),
        (
            "500 Internal Server Error",
            DialOutcome::Refused,
            Fault::Agent,
            41,
        ),
        ("302 Found", DialOutcome::Malformed, Fault::Agent, 21),
        ("200 OK", DialOutcome::Malformed, Fault::Agent, 111),
    ];
    for (status, outcome, fault, cause) in cases {
        let answer =
            format!("HTTP/1.1 {status}\r\nLocation: wss://evil.test/\r\nContent-Length: 0\r\n\r\n");
        let error = dial_for(&answer).await;
        assert_eq!(
            weighed(&error),
            (outcome, fault, Q850Cause(cause)),
            "{error}"
        );
        let number = &status[..3];
        assert!(error.to_string().contains(number), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_to_a_websocket_is_refused() {
    let without_accept = SWITCHING.replace("{accept}", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let long = format!(
        "HTTP/1.1 101 Switching Protocols\r\nX: {}",
        "x".repeat(40_000)
    );
    for answer in [
        without_accept.as_str(),
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        &long,
    ] {
        let expected = (DialOutcome::Malformed, Fault::Agent, Q850Cause(111));
        assert_eq!(weighed(&dial_for(answer).await), expected);
    }
}

#[tokio::test]
async fn who_closes_or_is_not_there_is_unreachable() {
    let server = Server::new().await;
    let url = server.url("ws", "/");
    let close = async { drop(server.accept_tcp().await) };
    let (dialled, ()) = tokio::join!(dial(&server, &url, true), close);
    let expected = (DialOutcome::Unreachable, Fault::Agent, Q850Cause(27));
    assert_eq!(weighed(&dialled.unwrap_err()), expected);

    let Server { listener, identity } = server;
    drop(listener);
    let gone = Server {
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        identity,
    };
    assert_eq!(
        weighed(&dial(&gone, &url, true).await.unwrap_err()),
        expected
    );
}

#[tokio::test]
async fn only_allowed_hosts_are_dialled_and_only_protected() {
    let server = Server::new().await;
    let other = format!("wss://localhost.evil.test:{}/", server.address().port());
    let error = dial(&server, &other, true).await.unwrap_err();
    assert!(
        matches!(error, OutboundError::HostNotAllowed { .. }),
        "{error}"
    );
    let expected = (DialOutcome::Misconfigured, Fault::Config, Q850Cause(21));
    assert_eq!(weighed(&error), expected);

    let mut tenant = acme();
    tenant.outbound_hosts = vec![HostPattern::Name("agent.example.com".into())];
    let plain = Dial {
        url: "ws://agent.example.com/",
        bearer_token: None,
        ca_file: None,
        within: PATIENCE,
    };
    let error = plain
        .connect(&Connector::default(), &tenant)
        .await
        .unwrap_err();
    assert!(
        matches!(error, OutboundError::Unprotected { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_ca_file_that_is_not_there_is_our_fault() {
    let server = Server::new().await;
    let url = server.url("wss", "/");
    let no_such = server.identity.directory.path().join("no-such.pem");
    let dial = Dial {
        url: &url,
        bearer_token: None,
        ca_file: Some(&no_such),
        within: PATIENCE,
    };
    let error = dial
        .connect(&Connector::default(), &acme())
        .await
        .unwrap_err();
    assert_eq!(weighed(&error).1, Fault::Config);
}
