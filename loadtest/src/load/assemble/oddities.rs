//! What the generator's legs met that no figure tells: caveats, each where it is not 0.

use super::super::call::CallOutcome;
use super::super::media::LegRecord;
use super::Found;

pub(super) fn oddities(found: &Found) -> Vec<String> {
    let mut told = of_legs(&found.outcomes);
    if found.samples.iter().any(|sample| !sample.real_time) {
        told.push(
            "The generator's media threads were not allowed real time: other programs of this machine make them late.".to_owned(),
        );
    }
    told
}

fn of_legs(outcomes: &[CallOutcome]) -> Vec<String> {
    let sum = |of: fn(&LegRecord) -> u64| -> u64 { legs(outcomes).map(of).sum() };
    let counts = [
        (
            sum(|leg| leg.send_failures),
            "frames could not be sent; the gateway is not to blame for these",
        ),
        (
            sum(|leg| leg.undecryptable),
            "packets had a protection that is not the gateway's of that call, or came twice; they count as not received",
        ),
        (
            sum(|leg| leg.unknown_payload_type),
            "packets had another payload type than was agreed on; they count as not received",
        ),
        (
            sum(|leg| leg.other_datagrams),
            "datagrams were neither RTP, RTCP nor STUN",
        ),
        (
            sum(|leg| leg.streams.saturating_sub(1)),
            "times a stream began anew; what was lost in between is not in the loss",
        ),
        // The last one may be under way.
        (
            sum(|leg| (leg.consent_checks.saturating_sub(leg.consent_answers)).saturating_sub(1)),
            "consent checks were not answered",
        ),
        (
            sum(|leg| leg.unrecorded),
            "packets were too many to be kept for the judge",
        ),
    ];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!("{count} {what}."))
        .collect()
}

fn legs(outcomes: &[CallOutcome]) -> impl Iterator<Item = &LegRecord> {
    outcomes
        .iter()
        .flat_map(|outcome| outcome.at_vendor.iter().chain(&outcome.at_trunk))
}

#[cfg(test)]
mod tests {
    use super::super::super::call::CallNumber;
    use super::*;

    fn outcome(at_vendor: LegRecord) -> CallOutcome {
        CallOutcome {
            number: CallNumber(0),
            call_sid: None,
            setup: None,
            failure: None,
            at_vendor: Some(at_vendor),
            at_trunk: Some(LegRecord::default()),
        }
    }

    #[test]
    fn only_what_is_odd_is_told() {
        let good = LegRecord {
            streams: 1,
            consent_checks: 4,
            consent_answers: 3,
            ..LegRecord::default()
        };
        assert_eq!(of_legs(&[outcome(good.clone())]), Vec::<String>::new());
        let odd = LegRecord {
            send_failures: 2,
            streams: 2,
            consent_answers: 1,
            ..good
        };
        let told = of_legs(&[outcome(odd.clone()), outcome(odd)]);
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with("4 frames could not be sent"));
        assert!(told[1].starts_with("2 times a stream began anew"));
        assert!(told[2].starts_with("4 consent checks"));
    }
}
