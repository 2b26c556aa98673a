//! What a page does in a call: digits both ways, hold, mute, hang-up from either side, with the exact CallEvents.
