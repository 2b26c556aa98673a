//! The control thread (tokio, current-thread): desk, trunk signalling, admin window, event fan-out.
