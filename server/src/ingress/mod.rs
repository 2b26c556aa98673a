//! Accept, TLS, HTTP head, limits, route, hand-off, WebSocket sessions.
