//! Limits: one token opens one session, a tenant gets its calls and no more, every slot comes back.
