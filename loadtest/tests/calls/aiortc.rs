//! aiortc as the caller: another implementation of WebRTC than ours and than Chromium.
