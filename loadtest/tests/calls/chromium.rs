//! Chromium calls the echo and hears itself: codecs, DTLS versions, a lost ServerHello.
