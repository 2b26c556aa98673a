//! The call machine: from CREATE to exactly one HANGUP_COMPLETE.
