//! Against `dimpl`'s own client, where `str0m` can't be made to misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn client_certificate(extra_names: usize) -> DtlsCertificate {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = (0..extra_names)
        .map(|i| format!("name-{i:08}.example.com"))
        .collect();
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    DtlsCertificate {
        certificate: certificate.der().to_vec(),
        private_key: key.serialize_der(),
    }
}

fn fingerprint(certificate: &DtlsCertificate) -> Fingerprint {
    Fingerprint::parse(&format!("sha-256 {}", certificate.fingerprint_str())).unwrap()
}

/// A client's and a server's end, and what they told.
struct Pair {
    now: Instant,
    client: Dtls,
    server: DtlsServer,
    client_connected: bool,
    events: Vec<DtlsEvent>,
    to_server: Vec<Vec<u8>>,
    to_client: Vec<Vec<u8>>,
}

impl Pair {
    fn new(
        certificate: DtlsCertificate,
        expected: Vec<Fingerprint>,
        versions: DtlsVersions,
    ) -> Self {
        let now = Instant::now();
        let identity = DtlsIdentity::generate().unwrap();
        let config = Arc::new(
            Config::builder()
                .mtu(1200)
                .max_queue_tx(400)
                .build()
                .unwrap(),
        );
        let mut client = match versions {
            DtlsVersions::Only12 => Dtls::new_12(config, certificate, now),
            _ => Dtls::new_13(config, certificate, now),
        };
        client.set_active(true);
        client.handle_timeout(now).unwrap();
        let server = DtlsServer::new(now, &identity, DtlsVersions::Auto, expected);
        Self {
            now,
            client,
            server,
            client_connected: false,
            events: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Exchanges everything that both sides have to say now.
    fn exchange(&mut self) {
        let mut buffer = vec![0; 1 << 17];
        loop {
            let mut sent: Vec<Vec<u8>> = Vec::new();
            loop {
                match self.client.poll_output(&mut buffer) {
                    Output::Packet(packet) => sent.push(packet.to_vec()),
                    Output::Connected => self.client_connected = true,
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            let mut answers: Vec<Vec<u8>> = Vec::new();
            for datagram in &sent {
                let _ = self.server.handle_datagram(self.now, datagram);
            }
            while let Some(len) = self.server.poll_transmit(&mut buffer) {
                answers.push(buffer[..len].to_vec());
            }
            self.events
                .extend(std::iter::from_fn(|| self.server.poll_event()));
            for datagram in &answers {
                let _ = self.client.handle_packet(datagram);
            }
            if sent.is_empty() && answers.is_empty() {
                return;
            }
            self.to_server.extend(sent);
            self.to_client.extend(answers);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.exchange();
            self.now += Duration::from_millis(10);
            let _ = self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        self.exchange();
    }

    fn connected(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, DtlsEvent::Connected { .. }))
    }
}

#[test]
fn a_certificate_of_many_datagrams_is_taken_or_refused_without_panic() {
    // The DTLS 1.3 client of `dimpl` can't send more than twelve fragments.
    for (versions, names) in [
        (DtlsVersions::Only12, 0),
        (DtlsVersions::Only12, 120),
        (DtlsVersions::Only12, 600),
        (DtlsVersions::Only12, 1800),
        (DtlsVersions::Only13, 0),
        (DtlsVersions::Only13, 120),
        (DtlsVersions::Only13, 300),
    ] {
        let certificate = client_certificate(names);
        let expected = vec![fingerprint(&certificate)];
        let mut pair = Pair::new(certificate, expected, versions);
        pair.run(Duration::from_secs(2));
        assert!(
            pair.connected() || names > 120,
            "{versions:?} with {names} names"
        );
    }
}

#[test]
fn another_certificate_is_refused() {
    for versions in [DtlsVersions::Only12, DtlsVersions::Only13] {
        let expected = vec![fingerprint(&client_certificate(0))];
        let mut pair = Pair::new(client_certificate(0), expected, versions);
        pair.run(Duration::from_secs(1));
        let failed = DtlsEvent::Failed(DtlsFailure::Fingerprint);
        assert_eq!(format!("{:?}", pair.events), format!("{:?}", [failed]));
    }
}

#[test]
fn repeated_handshake_messages_after_connect_are_answered() {
    for versions in [DtlsVersions::Only12, DtlsVersions::Only13] {
        let certificate = client_certificate(0);
        let expected = vec![fingerprint(&certificate)];
        let mut pair = Pair::new(certificate, expected, versions);
        pair.exchange();
        assert!(pair.connected());
        let mut buffer = [0; MTU];
        // The client's last flight again, as if our answer to it had been lost.
        let last_flight = pair.to_server.clone();
        for datagram in last_flight.iter().rev().take(3).rev() {
            pair.server.handle_datagram(pair.now, datagram).unwrap();
        }
        pair.now += Duration::from_secs(1);
        pair.server.handle_timeout(pair.now);
        assert!(
            pair.server.poll_transmit(&mut buffer).is_some(),
            "{versions:?}"
        );
    }
}

#[test]
fn a_handshake_that_stops_half_way_ends_after_ten_seconds() {
    let certificate = client_certificate(0);
    let expected = vec![fingerprint(&certificate)];
    let mut pair = Pair::new(certificate, expected, DtlsVersions::Only13);
    let mut buffer = [0; 4096];
    while let Output::Packet(packet) = pair.client.poll_output(&mut buffer) {
        pair.server.handle_datagram(pair.now, packet).unwrap();
    }
    let started = pair.now;
    let mut failure = None;
    let mut retransmits = 0;
    while failure.is_none() && pair.now < started + Duration::from_secs(20) {
        pair.now = pair.server.poll_timeout().unwrap().max(pair.now);
        pair.server.handle_timeout(pair.now);
        while pair.server.poll_transmit(&mut buffer).is_some() {
            retransmits += 1;
        }
        failure = pair.server.poll_event();
    }
    assert!(
        matches!(failure, Some(DtlsEvent::Failed(DtlsFailure::Timeout))),
        "{failure:?}"
    );
    assert!(pair.now - started <= HANDSHAKE_TIMEOUT + Duration::from_secs(1));
    assert!((4..60).contains(&retransmits), "{retransmits}");
}

#[test]
fn garbage_is_counted_and_harmless() {
    let certificate = client_certificate(0);
    let expected = vec![fingerprint(&certificate)];
    let mut pair = Pair::new(certificate, expected, DtlsVersions::Only13);
    for garbage in [
        &[][..],
        &[22],
        &[22, 0xfe, 0xfd, 0, 0, 0],
        &[0x80; 40],
        &[22; 3000],
    ] {
        assert_eq!(
            pair.server.handle_datagram(pair.now, garbage),
            Err(DtlsInvalid)
        );
    }
    assert_eq!(pair.server.invalid_datagrams(), 5);
    pair.exchange();
    assert!(pair.connected());
}

#[test]
fn fingerprints_are_read_strictly() {
    let der = b"certificate";
    for (name, algorithm) in [
        ("sha-256", &digest::SHA256),
        ("SHA-384", &digest::SHA384),
        ("sha-512", &digest::SHA512),
    ] {
        let digits: Vec<String> = digest::digest(algorithm, der)
            .as_ref()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let text = format!("{name} {}", digits.join(":"));
        let fingerprint = Fingerprint::parse(&text).unwrap();
        assert!(fingerprint.matches(der) && !fingerprint.matches(b"another"));
        let short = &text[..text.len() - 3];
        assert_eq!(Fingerprint::parse(short), Err(FingerprintError::Malformed));
        let signed = text.replacen(&digits[0], "+1", 1);
        assert_eq!(
            Fingerprint::parse(&signed),
            Err(FingerprintError::Malformed)
        );
    }
    assert_eq!(
        Fingerprint::parse("md5 00:00"),
        Err(FingerprintError::UnknownHash)
    );
    assert_eq!(
        Fingerprint::parse("sha-256"),
        Err(FingerprintError::Malformed)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_records_never_panic(
        datagrams in proptest::collection::vec((20u8..64, proptest::collection::vec(any::<u8>(), 0..200)), 1..20),
    ) {
        let identity = DtlsIdentity::generate().unwrap();
        let now = Instant::now();
        let mut server = DtlsServer::new(now, &identity, DtlsVersions::Auto, Vec::new());
        for (kind, body) in datagrams {
            let mut datagram = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
            datagram.extend((body.len() as u16).to_be_bytes());
            datagram.extend(body);
            let _ = server.handle_datagram(now, &datagram);
        }
    }
}
