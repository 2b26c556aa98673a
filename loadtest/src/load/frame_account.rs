//! Does the gateway's own account explain every frame that differs from what was said?
//!
//! The gateway counts what it makes up (`concealed`), what it blends with that (`crossfaded`), what it leaves out (`dropped`) and
//! what a peer that does not read is not sent (`unsent`). Each of its made-up and blended frames is heard as one that nobody said,
//! and each blended or left-out one is missed, but for those of which that can't be seen: see [`Unseen`].

use super::frames::FrameCounts;
use super::report::{FrameReport, GatewayFrames};

/// So many frames in a row are made up before a pause, whose silence nobody counts.
const CONCEALED_BEFORE_PAUSE: u64 = 5;

/// What the account does not explain, the first thing; none: it explains all. `has_datagrams`: a leg of RTP takes part, whose lost
/// packets are made up for in their place.
pub(super) fn unexplained(
    frames: &FrameReport,
    gateway: &GatewayFrames,
    has_datagrams: bool,
) -> Option<String> {
    let mut counts = frames.counts.a_to_b;
    counts.add(frames.counts.b_to_a);
    never_said(&counts, gateway)
        .or_else(|| missing(&counts, gateway, has_datagrams))
        .or_else(|| {
            let unseen = Unseen::of(&counts, gateway);
            frames
                .is_whole
                .then(|| told_too_much(&counts, gateway, unseen))?
        })
}

/// Frames that nobody said beyond those that were made up or blended.
fn never_said(counts: &FrameCounts, gateway: &GatewayFrames) -> Option<String> {
    let told = gateway.concealed + gateway.crossfaded;
    let has_paused = gateway.concealed >= CONCEALED_BEFORE_PAUSE;
    let heard = match has_paused {
        true => counts.foreign - counts.silent,
        false => counts.foreign,
    };
    (heard > told).then(|| format!("{heard} were never said, {told} made up or blended"))
}

/// Frames that were missed beyond those that were left out or blended, or not sent.
fn missing(counts: &FrameCounts, gateway: &GatewayFrames, has_datagrams: bool) -> Option<String> {
    let lost = if has_datagrams { gateway.concealed } else { 0 };
    let left_out = gateway.dropped + gateway.crossfaded + gateway.unsent;
    let told = left_out + lost + counts.not_sent;
    let missing = counts.missing;
    (missing > told).then(|| format!("{missing} are missing, {told} left out or blended"))
}

/// Frames of the account that may have left no trace in what was heard.
#[derive(Debug, Clone, Copy)]
struct Unseen {
    /// Made up or blended.
    never_said: u64,
    /// Left out or blended.
    missing: u64,
}

impl Unseen {
    fn of(counts: &FrameCounts, gateway: &GatewayFrames) -> Self {
        // Made up as something that the speech has several times, such as silence; or before anybody listened.
        let either = counts.alike + gateway.not_answered + gateway.unsent;
        Self {
            // One leg made it up, the other one left it out.
            never_said: either + gateway.dropped,
            // What was left out was made up; what was blended on one side was blended again on the other.
            missing: either + gateway.concealed + gateway.crossfaded,
        }
    }
}

/// The account has more than what was heard and missed.
fn told_too_much(counts: &FrameCounts, gateway: &GatewayFrames, unseen: Unseen) -> Option<String> {
    let told = gateway.concealed + gateway.crossfaded;
    if told > counts.foreign + unseen.never_said {
        let heard = counts.foreign;
        return Some(format!(
            "{told} made up or blended, of which {heard} were heard"
        ));
    }
    let left_out = gateway.dropped + gateway.crossfaded;
    if left_out > counts.missing + unseen.missing {
        let missing = counts.missing;
        return Some(format!(
            "{left_out} left out or blended, of which {missing} are missing"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::report::BothWays;
    use super::*;

    fn heard(missing: u64, foreign: u64) -> FrameCounts {
        FrameCounts {
            equal: 1_000,
            missing,
            foreign,
            ..FrameCounts::default()
        }
    }

    fn report(counts: FrameCounts) -> FrameReport {
        FrameReport {
            counts: BothWays {
                a_to_b: heard(0, 0),
                b_to_a: counts,
            },
            is_whole: true,
            gateway: None,
        }
    }

    fn told(concealed: u64, crossfaded: u64, dropped: u64) -> GatewayFrames {
        GatewayFrames {
            concealed,
            crossfaded,
            dropped,
            ..GatewayFrames::default()
        }
    }

    #[track_caller]
    fn is_explained(counts: FrameCounts, gateway: GatewayFrames) -> bool {
        unexplained(&report(counts), &gateway, false).is_none()
    }

    #[test]
    fn frames_that_were_never_said_are_those_that_were_made_up_or_blended() {
        assert!(is_explained(heard(0, 0), told(0, 0, 0)));
        // One came late, and its delay was taken out again.
        assert!(is_explained(heard(3, 3), told(1, 2, 1)));
        assert!(!is_explained(heard(3, 4), told(1, 2, 1)));
        assert!(!is_explained(heard(0, 1), told(0, 0, 0)));
        // More than was heard.
        assert!(!is_explained(heard(0, 2), told(3, 0, 0)));
    }

    #[test]
    fn frames_that_are_missing_are_those_that_were_left_out_or_blended() {
        assert!(!is_explained(heard(1, 0), told(0, 0, 0)));
        assert!(is_explained(heard(5, 0), told(0, 0, 5)));
        assert!(!is_explained(heard(6, 0), told(0, 0, 5)));
        assert!(
            !is_explained(heard(4, 0), told(0, 0, 5)),
            "left out and heard"
        );
        // Our own socket refused it.
        let refused = FrameCounts {
            not_sent: 1,
            ..heard(1, 0)
        };
        assert!(is_explained(refused, told(0, 0, 0)));
    }

    #[test]
    fn a_datagram_that_was_lost_is_missing_and_was_made_up_for() {
        let (counts, gateway) = (report(heard(2, 2)), told(1, 1, 0));
        assert_eq!(unexplained(&counts, &gateway, true), None);
        let told = unexplained(&counts, &gateway, false);
        assert_eq!(
            told.as_deref(),
            Some("2 are missing, 1 left out or blended")
        );
    }

    #[test]
    fn silence_is_explained_by_a_pause_alone() {
        let silent = FrameCounts {
            silent: 30,
            ..heard(0, 35)
        };
        assert!(is_explained(silent, told(5, 0, 0)));
        assert!(!is_explained(silent, told(4, 0, 0)));
    }

    #[test]
    fn what_can_not_be_seen_is_allowed_for_and_no_more() {
        let alike = FrameCounts {
            alike: 2,
            ..heard(0, 1)
        };
        assert!(is_explained(alike, told(3, 0, 0)));
        assert!(!is_explained(alike, told(4, 0, 0)));
        let mut part = report(heard(0, 0));
        part.is_whole = false;
        assert_eq!(unexplained(&part, &told(9, 0, 9), false), None);
    }
}
