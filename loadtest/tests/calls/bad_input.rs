//! Malformed HTTP, WebSocket, JSON, SDP and datagrams: a clear refusal or a counted drop, and the gateway goes on.
