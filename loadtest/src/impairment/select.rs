//! Datagrams worth losing on purpose.

/// DTLS record: content type handshake (RFC 6347 section 4.1, RFC 9147 section 4).
const RECORD_HANDSHAKE: u8 = 22;
/// Type, version, epoch, sequence number, length.
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_SERVER_HELLO: u8 = 2;
/// Type, length, message sequence, fragment offset and length, then the version before the random.
const RANDOM_OFFSET: usize = RECORD_HEADER_BYTES + 12 + 2;
/// The random of a HelloRetryRequest begins so (RFC 8446 section 4.1.3); it is a ServerHello in name only.
const HELLO_RETRY_RANDOM: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

/// It begins with a DTLS ServerHello, and no HelloRetryRequest.
pub fn is_server_hello(datagram: &[u8]) -> bool {
    let random = datagram.get(RANDOM_OFFSET..RANDOM_OFFSET + HELLO_RETRY_RANDOM.len());
    datagram.first() == Some(&RECORD_HANDSHAKE)
        && datagram.get(RECORD_HEADER_BYTES) == Some(&MESSAGE_SERVER_HELLO)
        && random != Some(&HELLO_RETRY_RANDOM)
}
